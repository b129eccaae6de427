#pragma once

/* What an engine's log tells: how far a start has come, the figures in it, and, when it ends badly,
 * why and what mends it. progress_vllm.def and progress_llama.def are the tables of lines. */

#include "engine/engine.h"

struct buf;

/* PHASE(NAME, "for people") */
#define ENGINE_PHASES(PHASE)                  \
    PHASE(STARTING, "starting")               \
    PHASE(IMPORTING, "importing")             \
    PHASE(LOADING, "loading weights")         \
    PHASE(COMPILING, "compiling")             \
    PHASE(PROFILING, "measuring memory")      \
    PHASE(CAPTURING, "capturing CUDA graphs") \
    PHASE(WARMING, "warming up")              \
    PHASE(READY, "ready")                     \
    PHASE(SERVING, "serving")                 \
    PHASE(STOPPING, "shutting down")

enum engine_phase {
#define PHASE(name, text) ENGINE_##name,
    ENGINE_PHASES(PHASE)
#undef PHASE
        ENGINE_PHASE_COUNT
};

/* The figures that lines tell, by the names that the tables use; NAN while untold. */
#define ENGINE_FIGURES(FIGURE)                                            \
    FIGURE(done) /* of the phase: shards, graphs */                       \
    FIGURE(total)                                                         \
    FIGURE(weights_gib)                                                   \
    FIGURE(kv_gib) /* may be negative */                                  \
    FIGURE(kv_needed_gib)                                                 \
    FIGURE(kv_tokens)                                                     \
    FIGURE(concurrency) /* requests of request_tokens each */             \
    FIGURE(request_tokens)                                                \
    FIGURE(graphs_gib)                                                    \
    FIGURE(init_seconds)                                                  \
    FIGURE(max_len) /* the longest that fits, or that the model has */    \
    FIGURE(asked_len)                                                     \
    FIGURE(free_gib)                                                      \
    FIGURE(total_gib)                                                     \
    FIGURE(wanted_gib)                                                    \
    FIGURE(tried_gib)                                                     \
    FIGURE(own_gib)                                                       \
    FIGURE(others_gib) /* worked out: total - free - own */               \
    FIGURE(fraction)                                                      \
    FIGURE(fits) /* worked out: the fraction that free of total allows */ \
    FIGURE(seqs)                                                          \
    FIGURE(heads)                                                         \
    FIGURE(tensor_parallel)                                               \
    FIGURE(capability)                                                    \
    FIGURE(min_capability)                                                \
    FIGURE(device)                                                        \
    FIGURE(port)

struct engine_figures {
#define FIGURE(name) double name;
    ENGINE_FIGURES(FIGURE)
#undef FIGURE
};

#define ENGINE_SURE_IT_FAILED 1

struct engine_progress {
    enum engine_dialect dialect;
    enum engine_phase phase;
    struct engine_figures figures;
    uint64_t news;  /* grows while the engine shows that it moves: no news for long is a stall */
    struct err why; /* should it end now; ENGINE_CONFIG, ENGINE_NOT_NOW or ENGINE_CRASHED */
    uint8_t sure;   /* of why: 3 the cause, in words of ours; 2 in its own; 1 only that it failed */
    bool lost_port; /* why: somebody else listens where it should */
};

void engine_progress_init(struct engine_progress *progress, enum engine_dialect dialect);
void engine_progress_line(struct engine_progress *progress, const char *line);
/* What was wrong was survived: the next reason counts, however sure the last one was. */
void engine_progress_forgive(struct engine_progress *progress);

const char *engine_phase_name(enum engine_phase phase);
/* "loading weights, 3 of 5" */
void engine_progress_print(const struct engine_progress *progress, struct buf *out);
