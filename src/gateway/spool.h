#pragma once

/* The disk that large bodies lie on: what is done on it, off the loop, by SPOOL_WORKERS threads
 * that are its own. A job that has not come back after a while is told of, whatever the others do:
 * one that hangs stops those whose bodies are on it, and nobody else. Who waits behind jobs that
 * all hang is told likewise. */

#include "base/err.h"

struct loop;
struct spool;

#define SPOOL_WORKERS 2
#define SPOOL_PATIENCE_US UINT64_C(5000000) /* what takes longer hangs */

enum spool_state { SPOOL_IDLE, SPOOL_WAITS, SPOOL_RUNS };

/* Within the caller's struct, zeroed; one at a time. */
struct spool_job {
    void (*run)(struct spool_job *job);  /* on another thread */
    void (*done)(struct spool_job *job); /* back on the loop */
    /* It hangs, and done() comes when it does no more; or it waits behind those
     * that do, and is forgotten. */
    void (*late)(struct spool_job *job);

    /* the rest is the spool's own */
    enum spool_state state;
    uint64_t since_us; /* in that state */
    bool is_late;      /* while it runs */
    struct spool_job *next, *previous;
};

struct spool *spool_new(struct loop *loop, uint64_t patience_us) must_check;
/* Nobody is told of anything any more: what is under way ends by itself. */
void spool_close(struct spool *s);
/* By each body that is there. */
struct spool *spool_hold(struct spool *s);
void spool_drop(struct spool *s);

bool spool_hangs(const struct spool *s); /* each of its threads does */
void spool_start(struct spool *s, struct spool_job *job);
/* True: it had not begun, and is forgotten. */
bool spool_forget(struct spool *s, struct spool_job *job);
