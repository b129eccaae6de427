#pragma once

/* Work that blocks, off the loop's thread. A job owns what it works on until it is done; nothing
 * else is shared, so there are no locks outside this room. The struct lives until done(); from
 * there on it may go, or be started again. */

#include "sys/loop.h"

struct work {
    void (*run)(struct work *work);                  /* on another thread */
    void (*done)(struct work *work, bool cancelled); /* back on the loop */
    const char
        *writes; /* a path, and what it writes there is lost if it does not end; NULL: nothing is */
    struct work_state *state;
};

void work_start(struct loop *loop, struct work *work); /* one that is not under way */
/* On a thread made for it, so that it waits for nothing else that hangs, and behind the loop where both
 * want the same core; one that cannot be made leaves it to the pool. It is not cancelled. */
void work_start_alone(struct loop *loop, struct work *work);
/* For run(), every now and then while it computes: a loop that waits for the same core goes on at once.
 * Behind it by priority alone it would wait for milliseconds. */
void work_let_others(void);
/* As many threads as this process may use cores, and a few at least. Before the first work; returns how
 * many cores. */
unsigned work_use_all_cores(void);

/* What the i-th writes of those under way that write; NULL behind the last. */
const char *work_unwritten(const struct loop *loop, size_t i) must_check;
/* Runs until there is none of these, or for so long: whether there is none. */
bool work_write_out(struct loop *loop, uint64_t limit_us) must_check;

bool work_cancel(struct work *work); /* true when it had not begun; done() still comes */
