#pragma once

/* What an engine's /metrics page says about its load, whatever its release calls things. Figures
 * are summed over the engines behind one server (data parallelism); counters start again at zero
 * with the process. */

#include "engine/engine.h"

struct engine_sum {
    double sum; /* seconds */
    double count;
};

enum engine_finish { ENGINE_STOP, ENGINE_LENGTH, ENGINE_ABORT, ENGINE_ERROR, ENGINE_OTHER };
#define ENGINE_FINISH_COUNT (ENGINE_OTHER + 1)

enum engine_sleep {
    ENGINE_SLEEP_UNKNOWN, /* the release does not say */
    ENGINE_AWAKE,
    ENGINE_ASLEEP_1, /* weights in host memory */
    ENGINE_ASLEEP_2, /* weights gone */
};

struct engine_load {
    bool told; /* false: the page holds nothing of the engine; vLLM's statistics are disabled */
    unsigned engines;
    double running, waiting; /* requests */
    double kv_usage;         /* 0..1, of the fullest engine */
    double kv_tokens;        /* room in all engines; 0: not told */
    double steps;            /* the heartbeat: grows with every step of an engine that works */
    double tokens_in, tokens_out;
    double prefix_queries, prefix_hits; /* tokens */
    double preemptions;
    double finished[ENGINE_FINISH_COUNT];
    enum engine_sleep sleep;
    struct engine_sum ttft, itl, e2e, queue, prefill, decode;
};

/* Fails with SYNTAX when the text is no metrics page at all. */
int engine_load_read(enum engine_dialect dialect, const char *text, size_t len,
                     struct engine_load *ret_load, struct err *reterr) must_check;

enum engine_pulse {
    ENGINE_IDLE,    /* nothing to do */
    ENGINE_WORKING, /* it moved, or was restarted */
    ENGINE_STILL,   /* work was there both times, and nothing moved: hung, if it lasts */
};

enum engine_pulse engine_load_pulse(const struct engine_load *before,
                                    const struct engine_load *now);
