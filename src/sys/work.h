#pragma once

/* Work that blocks, off the loop's thread. A job owns what it works on until it is done; nothing
 * else is shared, so there are no locks outside this room. */

#include "sys/loop.h"

struct work {
    void (*run)(struct work *work);                  /* on a thread of the pool */
    void (*done)(struct work *work, bool cancelled); /* back on the loop */
    void *state;
};

int work_start(struct loop *loop, struct work *work) must_check;
bool work_cancel(struct work *work); /* true when it had not begun; done() still comes */
