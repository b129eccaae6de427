#pragma once

/* How one model process is, as its shim tells on its control socket (GET /state), and as whoever
 * asks reads it back. */

#include "base/err.h"
#include "base/text.h"

struct buf;
struct value;

/* PHASE(NAME, "word", healthy, "what it means") */
#define RUN_PHASES(PHASE)                                                                     \
    PHASE(WAITING_START, "waiting-for-start", false, "another model is being started")        \
    PHASE(WAITING_MEMORY, "waiting-for-memory", false, "GPU memory is not free yet")          \
    PHASE(STARTING, "starting", false, "the engine loads the model")                          \
    PHASE(READY, "ready", true, "it answers")                                                 \
    PHASE(DEGRADED, "degraded", false, "it runs, and something is wrong")                     \
    PHASE(FALLING_ASLEEP, "falling-asleep", true, "it is giving up GPU memory")               \
    PHASE(SLEEPING, "sleeping", true, "it has given up GPU memory, and can be woken")         \
    PHASE(WAKING, "waking", true, "it is taking GPU memory back")                             \
    PHASE(DRAINING, "draining", false, "it is being stopped, and finishes what it has begun") \
    PHASE(STOPPING, "stopping", false, "it is being stopped")                                 \
    PHASE(ENDED, "ended", false, "it has ended")

enum run_phase {
#define PHASE(name, word, healthy, help) RUN_##name,
    RUN_PHASES(PHASE)
#undef PHASE
        RUN_PHASE_COUNT
};

const char *run_phase_word(enum run_phase phase);
bool run_phase_is_healthy(enum run_phase phase);

#define RUN_STATE_GPUS_MAX 32
#define RUN_STATE_MAX (16 * KIB) /* printed; more is refused */

struct run_state {
    char name[TEXT_NAME_MAX + 1];
    enum run_phase phase;
    uint64_t since_us; /* since 1970: of the phase */
    char status[256];  /* a line for people */
    struct err why;    /* of what is not as it should be; id ERR_NONE: all is well */
    char engine[32];   /* "vllm" */
    char version[96];  /* "" when not known */
    char address[128]; /* "127.0.0.1:11400" */
    char model[128];   /* as clients ask for it */
    unsigned pid;      /* of the engine; 0: none */
    unsigned sleep_level;
    uint32_t failures;
    unsigned slots;          /* requests that the engine works on at a time; 0: nobody knows */
    double running, waiting; /* requests */
    double kv_usage;
    size_t gpu_count;
    unsigned gpus[RUN_STATE_GPUS_MAX];
};

/* What cannot be is refused, as a phase that there is not, or read as 0, as less than nothing running.
 * The id of an error of another release is read as ERR_SYSTEM. */
void run_state_print(const struct run_state *state, struct buf *out);
int run_state_parse(const char *text, size_t len, struct run_state *ret_state, struct err *reterr)
    must_check;
