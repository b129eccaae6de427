#pragma once

/* What every role has: a loop, a supervisor that hears how it is, and an end that is asked for. */

#include "sys/loop.h"
#include "sys/notify.h"

struct life {
    struct loop *loop;
    struct notify notify;
    /* SIGTERM or SIGINT has come; perhaps more than once. */
    void (*end)(struct life *life);

    /* the rest is its own */
    struct loop_signal terminate, interrupt, hangup;
    struct loop_timer watchdog;
};

/* On failure, too, it is to be left and closed where there is a loop. */
int life_open(struct life *life, void (*end)(struct life *life), struct err *reterr) must_check;
/* Hears no more signals, and says no more that it lives: who is told twice to end still writes what
 * he has to write, and that has a bound. */
void life_leave(struct life *life);
void life_close(struct life *life); /* every other watch has stopped */
