#pragma once

/* Inside the shim. A life in this order, each part in a file of its own:
 *
 *   place.c    which GPUs
 *   room.c     the start lock, the lease, free memory: before a start and before a wake
 *   start.c    the engine's process and its log; until it answers
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
#include "gpu/nvml_abi.h"
#include "http/client.h"
#include "http/server.h"
#include "run/look.h"
#include "run/record.h"
#include "run/relay.h"
#include "run/run.h"
#include "run/state.h"
#include "run/vigil.h"
#include "sys/loop.h"
#include "sys/notify.h"
#include "sys/proc.h"

#define SHIM_GPUS_MAX GPU_LEASE_PARTS_MAX
#define SHIM_ASKERS_MAX 8
#define SHIM_DRAIN_BEAT_US UINT64_C(500000) /* of the tick, while running answers are waited for */

struct shim;

/* The start lock, and GPU memory under it. */
struct room {
    struct gpu_start start;
    struct loop_fd start_wait;
    struct loop_timer lock_again;   /* its holder had not told yet who it is */
    void (*there)(struct shim *s);  /* what was waited for is */
    void (*locked)(struct shim *s); /* the lock is had; then memory */
    void (*nowhere)(struct shim *s, const struct err *why);
    uint64_t short_since; /* memory is; 0: it is not */
    struct loop_timer memory_again;
    struct look look;
    struct gpu_lease lease;
    bool has_lease;
    unsigned gpus[SHIM_GPUS_MAX];
    char gpu_name[NVML_NAME_BYTES]; /* of the first */
    uint64_t gpu_bytes;
    uint64_t used_before[SHIM_GPUS_MAX]; /* bytes of each, before the engine started */
};

struct shim {
    const struct config *config;
    struct config
        *latest; /* read since, of which only what takes effect at once is used; or NULL */
    const struct config_model *model;
    const struct engine *kind;
    struct arena arena;            /* of the command and all that lives as long as the shim */
    const char *dir;               /* RUN/models/NAME */
    const char *note;              /* the engine's, for the next shim */
    const char *marks[2];          /* likewise, in its environment: without and with a supervisor */
    char address[RUN_ADDRESS_MAX]; /* the engine's */

    struct loop *loop;
    struct loop_timer tick;
    uint64_t seen_at, absent_us; /* what the clock of the loop said last; and what does not count */
    struct loop_signal terminate, interrupt, hangup, child;
    struct notify notify;
    struct loop_timer sign; /* of life, for a watchdog */
    uint64_t sign_us;       /* 0: nobody wants any */
    uint64_t extended_at;
    struct relay relay;
    struct run_state state;
    struct run_record record;

    struct room room;

    struct engine_version version;
    bool has_version;
    struct proc engine;
    struct proc_watch ended;
    bool runs;     /* the engine's first process */
    pid_t session; /* the engine's; 0: it was never started */
    int lock;      /* of this model, for life */
    bool alone;    /* we have it */
    int log_fd;
    struct loop_fd log;
    struct engine_lines lines;
    struct engine_progress progress;
    char last_line[200];
    uint64_t started_at, news_at, news;
    uint64_t verdict_at; /* when its log last said what would be the reason; 0: it has not */

    bool stranger;         /* somebody else listens where the engine should */
    uint64_t strangers_at; /* when it was last looked for them */
    char hindrance[200];   /* what is between an engine that is there and its answer; "": nothing */

    struct http_client *client;
    struct http_call *health, *metrics, *canary;
    struct loop_timer poll; /* of /health, while it starts */
    struct buf canary_body;
    enum engine_kind answers;         /* what it was seen to answer; AUTO: not yet */
    size_t attempt;                   /* at what it may answer */
    unsigned broken;                  /* trials in a row that failed */
    uint64_t asked_at;                /* while it starts or wakes; 0: all is answered */
    void (*on_trial)(struct shim *s); /* it has answered */
    struct vigil vigil;
    uint64_t healthy_since;

    struct http_server *server;
    const char *socket_path;
    struct http_request *askers[SHIM_ASKERS_MAX]; /* who wait for sleep or wake; NULL: nobody */
    struct http_call *step;
    const struct engine_step *steps;
    unsigned level;        /* of the sleep that it goes to, is in, or comes from */
    uint64_t until;        /* which what runs may end, before it sleeps */
    bool drains;           /* waits for what runs, before it sleeps */
    bool changes;          /* between the first step and the last */
    struct err broken_off; /* what a step ends in, unless the engine itself has ended */
    struct loop_timer broken_off_later;

    bool leaving, asked; /* it ends; because somebody asked it to */
    struct err why;      /* id ERR_NONE: all is well */
    uint64_t leave_at, grace_us;
    uint64_t killed_at, gone_at; /* 0: not yet */
    bool stuck;                  /* a process of it cannot be killed */
    struct look proof;           /* that its memory is free */
    struct loop_timer proof_again;
};

/* Monotonic, without the time in which this process could not look. */
uint64_t shim_now(struct shim *s);

/* A new phase: told to everybody. */
void shim_phase(struct shim *s, enum run_phase phase, const char *fmt, ...) printf_like(3, 4);
/* Only the line for people. */
void shim_status(struct shim *s, const char *fmt, ...) printf_like(2, 3);
/* What is wrong while it goes on; NULL: nothing. */
void shim_trouble(struct shim *s, const struct err *why);
void shim_beat(struct shim *s, uint64_t every_us); /* of the tick, from now on */

/* Takes the start lock, then the GPUs and sees that their memory is free; waits for either. */
void room_take(struct shim *s, void (*then)(struct shim *s),
               void (*otherwise)(struct shim *s, const struct err *why));
/* The lock alone. */
void room_lock(struct shim *s, void (*then)(struct shim *s),
               void (*otherwise)(struct shim *s, const struct err *why));
void room_unlock(struct shim *s);
void room_stop(struct shim *s);                    /* whatever is waited for; the lock is kept */
void room_give_lease(struct shim *s);              /* back; the GPUs stay known */
bool room_is_ours(unsigned pid, const void *shim); /* of the engine's session */

void start_begin(struct shim *s);
void start_listens(struct shim *s); /* somebody answers where the engine should */
void start_tick(struct shim *s, uint64_t now);
void start_tell_port(struct shim *s, struct err *ret_why); /* that somebody else has it, and who */
bool start_has_verdict(struct shim *s); /* its log says why it ends, and not long ago */

int watch_open(struct shim *s, struct err *reterr) must_check;
void watch_close(struct shim *s);
void watch_poll(struct shim *s); /* asks /health now */
void watch_ask_metrics(struct shim *s);
/* Asks a request of its kind until it is answered; then() is told. */
void watch_try(struct shim *s, void (*then)(struct shim *s));
void watch_tick(struct shim *s, uint64_t now);
void watch_stop(struct shim *s); /* cancels what is asked */

/* Both answer r, at once or when it is done. */
void sleep_begin(struct shim *s, struct http_request *r, unsigned level);
void sleep_wake(struct shim *s, struct http_request *r);
void sleep_tick(struct shim *s, uint64_t now);
void sleep_stop(struct shim *s);

int control_open(struct shim *s, struct err *reterr) must_check;
void control_close(struct shim *s);
void control_answer_state(struct shim *s, struct http_request *r);

/* why: NULL when it was asked to. The first reason stays. */
void leave(struct shim *s, const struct err *why);
void leave_drained(struct shim *s); /* first lets running requests end */
void leave_engine_ended(struct shim *s, const struct proc_end *end);
void leave_tick(struct shim *s, uint64_t now);
void leave_now(struct shim *s); /* a second signal: what is waited for is not waited for */
