#pragma once

/* Inside the plan: what is known of each model, and the question that the solver answers, which is
 * one of numbers alone. */

#include "base/buf.h"
#include "base/mem.h"
#include "config/config.h"
#include "gpu/inventory.h"
#include "plan/need.h"
#include "plan/plan.h"

/* ---- solve.c: the question and its answer ---- */

enum solve_wish { SOLVE_NONE, SOLVE_MUST, SOLVE_MAY, SOLVE_LATER };

struct solve_model {
    enum solve_wish wish; /* resident before all others; if it fits; never; NONE: no GPUs at all */
    unsigned priority;
    unsigned count;                     /* GPUs */
    uint64_t claims[GPU_INVENTORY_MAX]; /* of each GPU; 0: not this one */
    bool fits, resident;                /* the answer: alone at least; beside the others */
    unsigned gpus[GPU_INVENTORY_MAX];   /* where it fits: so many as count, ascending */
    bool short_of[GPU_INVENTORY_MAX];   /* where residents have what it would take */
};

struct solve {
    size_t gpu_count;
    uint64_t room_bytes[GPU_INVENTORY_MAX];   /* that may be promised; less what is, afterwards */
    uint64_t wanted_bytes[GPU_INVENTORY_MAX]; /* by models whose turn will come; the solver's own */
    uint8_t distance[GPU_INVENTORY_MAX][GPU_INVENTORY_MAX]; /* 0: the best link */
    struct solve_model *models;
    size_t model_count;
};

void solve(struct solve *s);

/* ---- make.c ---- */

/* What is known of a model before anybody has looked where it goes. */
struct fact {
    const struct config_model *config;
    const struct model *files; /* NULL: nothing is known of them */
    struct plan_need need;
    uint64_t kept_bytes; /* that it takes of each GPU, if its share is less */
};

struct making {
    const struct plan_input *input;
    struct arena *arena;
    struct plan_gpu *gpus;
    const char *no_gpus;
    struct plan_engine vllm;
    struct plan_model *models;
    struct fact *facts; /* of each model */
    struct solve solve;
};

/* What a model takes of a GPU. */
uint64_t making_claim(const struct fact *fact, const struct plan_gpu *gpu);
uint64_t making_room(const struct plan_gpu *gpu); /* that may be promised */

size_t making_count_usable(const struct making *mk); /* GPUs */
/* Whether kv_cache_memory, where it is given, holds one request. */
bool making_cache_is_enough(const struct fact *fact);
/* Whether a model may be given the GPU: it is named, or none is. */
bool making_is_named(const struct making *mk, const struct config_list *names, unsigned gpu);

/* ---- tell.c: the sentences ---- */

/* Where it goes; its fate, its parts and who holds their memory are known. */
void tell_place(const struct making *mk, const struct fact *fact, struct plan_model *m);
/* Why it fits on no GPUs, and what would change that. */
void tell_no_place(const struct making *mk, const struct fact *fact,
                   const struct solve_model *asked, struct plan_model *m);

/* ---- fingerprint.c ---- */

int fingerprint_make(const struct making *mk, char ret_text[HASH_SHA256_HEX], struct err *reterr)
    must_check;
