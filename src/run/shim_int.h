#pragma once

/* Inside the shim. A life in this order, each part in a file of its own:
 *
 *   start.c    lock, GPUs, memory, the engine's process; until it answers
 *   watch.c    health, metrics, canaries, verdicts
 *   sleep.c    asleep and awake again
 *   control.c  what others ask
 *   leave.c    drained, ended, proven gone
 *
 * shim.c holds them together: phases, the tick, what is told. */

#include "base/mem.h"
#include "config/config.h"
#include "engine/engine.h"
#include "engine/lines.h"
#include "engine/progress.h"
#include "engine/version.h"
#include "gpu/lease.h"
#include "http/client.h"
#include "http/server.h"
#include "run/look.h"
#include "run/record.h"
#include "run/state.h"
#include "run/vigil.h"
#include "sys/loop.h"
#include "sys/notify.h"
#include "sys/proc.h"

#define SHIM_TICK_US (2 * 1000000ULL)
#define SHIM_GPUS_MAX GPU_LEASE_PARTS_MAX

struct shim {
    const struct config *config;
    const struct config_model *model;
    const struct engine *kind;
    struct arena arena; /* of the command and all that lives as long as the shim */
    const char *dir;    /* RUN/models/NAME */
    const char *note;   /* the engine's, for the next shim */
    char address[64];   /* the engine's */

    struct loop *loop;
    struct loop_timer tick;
    struct loop_signal terminate, interrupt, child;
    struct notify notify;
    struct run_state state;
    struct run_record record;

    struct gpu_start start;
    bool has_start;
    struct loop_fd start_wait;
    struct loop_timer retry; /* of what is not free yet */
    uint64_t memory_since;
    struct look look;
    struct gpu_lease lease;
    bool has_lease;
    unsigned gpus[SHIM_GPUS_MAX];
    uint64_t used_before[SHIM_GPUS_MAX]; /* bytes of each, before the engine started */

    struct engine_version version;
    bool has_version;
    struct proc engine;
    struct proc_watch ended;
    bool runs;     /* the engine's first process */
    pid_t session; /* the engine's; 0: it was never started */
    int log_fd;
    struct loop_fd log;
    struct engine_lines lines;
    struct engine_progress progress;
    char last_line[200];
    uint64_t started_at, news_at, news;

    struct http_client *quick;   /* questions that are answered at once, or not */
    struct http_client *patient; /* those that wait behind others */
    struct http_call *health, *metrics, *canary;
    struct loop_timer poll; /* of /health, while it starts */
    struct buf canary_body;
    enum engine_kind answers; /* what it was seen to answer; AUTO: not yet */
    size_t attempt;
    struct vigil vigil;
    uint64_t healthy_since;

    struct http_server *server;
    const char *socket_path;
    struct http_request *asker; /* who waits for sleep or wake; NULL: nobody, or gone */
    struct http_call *step;
    const struct engine_step *steps;
    unsigned level; /* of the sleep that it goes to, is in, or comes from */

    bool leaving;
    struct err why; /* id ERR_NONE: it was asked to */
    uint64_t leave_at, killed_at;
    bool forced; /* a second signal: at once */
};

uint64_t shim_now(struct shim *s);

/* A new phase: told to everybody. */
void shim_phase(struct shim *s, enum run_phase phase, const char *fmt, ...) printf_like(3, 4);
/* Only the line for people. */
void shim_status(struct shim *s, const char *fmt, ...) printf_like(2, 3);
/* What is wrong while it goes on; NULL: nothing. */
void shim_trouble(struct shim *s, const struct err *why);

void start_begin(struct shim *s);
void start_tick(struct shim *s, uint64_t now);
void start_finish(struct shim *s);

void watch_poll(struct shim *s); /* asks /health now */
void watch_tick(struct shim *s, uint64_t now);
void watch_ask_canary(struct shim *s);
void watch_stop(struct shim *s); /* cancels what is asked */
int watch_open(struct shim *s, struct err *reterr) must_check;
void watch_close(struct shim *s);

/* Both answer r, at once or when it is done. */
void sleep_begin(struct shim *s, struct http_request *r, unsigned level);
void sleep_wake(struct shim *s, struct http_request *r);
void sleep_stop(struct shim *s);

int control_open(struct shim *s, struct err *reterr) must_check;
void control_close(struct shim *s);
void control_answer_error(struct http_request *r, const struct err *err);
void control_answer_state(struct shim *s, struct http_request *r);

/* why: NULL when it was asked to. The first reason stays. */
void leave(struct shim *s, const struct err *why);
void leave_drained(struct shim *s); /* first lets running requests end */
void leave_engine_ended(struct shim *s, const struct proc_end *end);
void leave_tick(struct shim *s, uint64_t now);
void leave_now(struct shim *s); /* a second signal */
