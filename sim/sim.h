#pragma once

/* citadel-sim: vLLM as a client sees it, without a GPU. What it says can be predicted: the answer to
 * a prompt is "Simulated answer to: " and the prompt, a word a token.
 *
 *   settings   what is said of the run; flags.def, options.def
 *   boot       the way to readiness, with its log; boot.def
 *   life       the ends: told to stop, or the engine dies
 *   rest       memory given up for a while, and taken back
 *   cores      the processes behind the server, which hold GPU memory
 *   batch      the scheduler; every request that needs the model goes through it
 *   faults     what goes wrong, and when; faults.def
 *   call       requests and answers; routes.def has the endpoints, a family of them a file
 *   metrics, traffic   what /metrics tells, of the engine and of HTTP */

#include "http/server.h"
#include "sim/batch.h"
#include "sim/boot.h"
#include "sim/cores.h"
#include "sim/faults.h"
#include "sim/memory.h"
#include "sim/metrics.h"
#include "sim/prefix.h"
#include "sim/settings.h"
#include "sim/traffic.h"
#include "sim/words.h"

enum sim_state {
    SIM_LOADING,
    SIM_READY,
    SIM_DEAD,     /* the engine; the server still answers */
    SIM_STOPPING, /* told to; running requests may end */
    SIM_ENDED,
};

/* Sleep: what the engine has given up, and a change of that under way. */
struct sim_rest {
    unsigned level;    /* 0: awake */
    unsigned parts;    /* that are asleep; see rest.c */
    unsigned wanted;   /* to be woken */
    bool weights_lost; /* level 2, and not loaded again: it talks nonsense */
    bool changing;
    uint64_t begun_us;
    struct call *call; /* who asked for it; NULL: has left */
    struct loop_timer timer;
};

struct sim {
    struct settings settings;
    struct loop *loop;
    struct http_server *server;
    enum sim_state state;
    int exit_code;
    uint64_t started_s; /* wall clock */
    uint64_t ids;       /* given so far */

    struct faults faults;
    struct boot boot;
    struct cores cores;
    unsigned ranks; /* GPUs of the engine */
    struct memory memory;
    struct metrics metrics;
    struct batch batch;
    struct prefix prefix;
    struct words words;
    struct traffic traffic;

    struct sim_rest rest;

    struct call *spare_calls;
    unsigned in_flight; /* calls */
    struct loop_timer stats, end;
    struct loop_defer strike; /* control.c */
    struct sim_signal {
        struct loop_signal watch;
        struct sim *sim;
    } signals[2];
    double told_prompt, told_made; /* what the log has told of tokens */
    bool told_quiet;
};

/* A model's name as requests may use it: the main one, another, or a LoRA's. */
bool sim_has_model(const struct sim *sim, const char *name);
const char *sim_model(const struct sim *sim);

/* life.c */
extern const struct http_service life_service;
int life_begin(struct sim *sim, struct err *reterr) must_check; /* watches for all below */
void life_ready(struct sim *sim);
void life_finish(struct sim *sim); /* stops what it has begun */
void life_mend(struct sim *sim);   /* nothing is wrong any more */
/* The engine has failed, for this reason; what said it was written. */
void life_engine_died(struct sim *sim, const char *why);
void life_end(struct sim *sim, int exit_code);

/* rest.c: the engine's processes have done what they were told. */
void rest_told(struct sim *sim);
