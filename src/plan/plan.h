#pragma once

/* Which models are kept in GPU memory, on which GPUs, and why: what a configuration comes to on one
 * machine. Pure: all that a plan depends on is given, nobody is asked and nothing is written.
 *
 * A plan always comes out. That a model does not fit is told in its sentence; where its residency is
 * `always` it is a conflict, which a deployment refuses.
 *
 * A model claims a share of each of its GPUs, and no GPU is promised beyond its memory. Whether the
 * share suffices is predicted from what is known of the model; what is not known makes nothing
 * impossible. */

#include "base/budget.h"
#include "base/err.h"
#include "base/hash.h"

struct arena;
struct buf;
struct config;
struct config_model;
struct gpu_inventory;
struct json_writer;
struct model_catalogue;
struct value;

/* FATE(NAME, "word", "what it means") */
#define PLAN_FATES(FATE)                                                                  \
    FATE(RESIDENT, "resident", "started with the machine, and has its memory for itself") \
    FATE(ON_DEMAND, "on-demand", "loaded when it is asked for, where others leave room")  \
    FATE(MANUAL, "manual", "loaded when a person starts it, where others leave room")     \
    FATE(DISABLED, "disabled", "not deployed")                                            \
    FATE(BROKEN, "broken", "its files or its engine are missing or incomplete")           \
    FATE(IMPOSSIBLE, "impossible", "never works on these GPUs as it is configured")

enum plan_fate {
#define FATE(name, word, help) PLAN_##name,
    PLAN_FATES(FATE)
#undef FATE
        PLAN_FATE_COUNT
};
const char *plan_fate_word(enum plan_fate fate);
bool
plan_fate_is_possible(enum plan_fate fate); /* a service is made for it: one of the first three */

#define PLAN_UNKNOWN UINT64_MAX
#define PLAN_NO_MINOR UINT32_MAX

/* What models on vLLM run in: a directory, without links. */
struct plan_engine {
    const char *env;     /* "/opt/citadel/vllm-env-0.14.1"; "": there is none, or it is not known */
    const char *version; /* "0.14.1"; "" */
    const char *trouble; /* why it cannot be used; "" */
};
bool plan_engine_runs(const struct plan_engine *vllm, const struct config_model *model);
/* "/opt/citadel/vllm-env-0.14.1: vllm 0.14.1"; of one that runs something. */
void plan_engine_print(const struct plan_engine *vllm, struct buf *out);

struct plan_input {
    const struct config *config;
    const struct model_catalogue
        *catalogue;                        /* the configured models by the path of their directory;
                                                of one that is not in it, nothing is known */
    const struct gpu_inventory *inventory; /* NULL: no GPU can be seen */
    const char *no_inventory;              /* then, why: "the NVIDIA driver is not installed" */
    bool fake_driver;               /* the GPUs are made up, and the simulator may have them */
    const struct plan_engine *vllm; /* NULL: no model runs in it, or nothing is known */
};

struct plan_gpu {
    unsigned index;
    unsigned minor; /* of /dev/nvidiaMINOR; PLAN_NO_MINOR: not told */
    const char *uuid, *name;
    const char *trouble; /* why it is given to nobody; "" */
    uint64_t total_bytes;
    uint64_t promised_bytes; /* to residents */
};

struct plan_part {
    const struct plan_gpu *gpu;
    uint64_t bytes;
};

struct plan_model {
    const char *name;
    enum plan_fate fate;
    bool conflict; /* it is to be kept loaded always, and is not resident */
    unsigned priority;
    const struct plan_part
        *parts;        /* its GPUs in the order of rank, of one that is not resident, too */
    size_t part_count; /* 0: it runs without GPUs, or not at all */

    uint64_t claim_bytes;    /* of each GPU: the smallest of its parts; 0: none */
    uint64_t weights_bytes;  /* predicted, of each GPU, likewise the next two; or PLAN_UNKNOWN */
    uint64_t kv_bytes;       /* one request of full length */
    uint64_t overhead_bytes; /* what its engine takes beside */
    uint64_t kv_tokens;      /* that fit into what the claim leaves; or PLAN_UNKNOWN */
    double full_length_requests; /* at once, likewise; negative: not known */

    uint64_t start_bound_us;    /* the longest that restarts go on when it always fails */
    const char *reason;         /* a sentence, always there */
    const char *fix;            /* what would change that; "" */
    const char *const *held_by; /* residents that have the memory it would take */
    size_t held_by_count;
};

struct plan {
    const struct plan_gpu *gpus;
    size_t gpu_count;
    const char *no_gpus;             /* why there are none; "" */
    struct plan_engine vllm;         /* all texts "": no model runs in it, or nothing is known */
    const struct plan_model *models; /* in the order of the configuration */
    size_t model_count;
    size_t resident_count, on_demand_count, conflict_count;
    char fingerprint[HASH_SHA256_HEX]; /* of all that the plan depends on */
};

/* Whether a model is given GPUs. The simulator may have those of a made-up driver only. */
enum plan_gpus {
    PLAN_GPUS_NEVER,    /* it needs none, and is given none */
    PLAN_GPUS_IF_THERE, /* it uses what there is */
    PLAN_GPUS_ALWAYS,   /* without them it will never work */
};
enum plan_gpus plan_gpus_of(const struct config_model *model, bool fake_driver);
unsigned plan_gpu_count(const struct config_model *model); /* then, how many */

/* How a model is kept running, by whoever does that; and likewise gateway and monitor. */
struct plan_times {
    struct budget budget;
    uint64_t stop_us;     /* from being told to end to being killed */
    uint64_t watchdog_us; /* it says that it lives more often than that */
};
struct plan_times plan_times_of(const struct config_model *model);
#define PLAN_KEEPER_STOP_US UINT64_C(30000000) /* stop_us, without what is drained */
struct plan_times plan_times_of_keeper(void);
struct plan_times plan_times_of_gateway(const struct config *config);

/* All of it lives in the arena, and nothing in it points to the input; 4 MiB are enough for any. */
int plan_make(const struct plan_input *input, struct arena *arena, struct plan *ret_plan,
              struct err *reterr) must_check;

const struct plan_model *plan_find_model(const struct plan *plan, const char *name);

/* plan.json: the same bytes for the same plan. */
void plan_print(const struct plan *plan, struct json_writer *w);
void plan_print_members(const struct plan *plan, struct json_writer *w); /* of an open map */
/* What of it is asked for later, in the arena: the engine, which may have gone since; */
int plan_read_engine(const struct value *plan, struct arena *arena, struct plan_engine *ret,
                     struct err *reterr) must_check;
/* and the models that wait for memory of others, with whom they wait for. */
struct plan_waiting {
    const char *name;
    const char *const *held_by;
    size_t held_by_count;
};
int plan_read_waiting(const struct value *plan, struct arena *arena,
                      struct plan_waiting **ret_items, size_t *ret_count, struct err *reterr)
    must_check;
