#include "role/life.h"

#include <signal.h>
#include <stdlib.h>

static void
on_terminate(struct loop_signal *watch, int signo unused_arg)
{
    struct life *life = container_of(watch, struct life, terminate);
    life->end(life);
}

static void
on_interrupt(struct loop_signal *watch, int signo unused_arg)
{
    struct life *life = container_of(watch, struct life, interrupt);
    life->end(life);
}

/* Its terminal has gone. */
static void
on_hangup(struct loop_signal *watch, int signo unused_arg)
{
    struct life *life = container_of(watch, struct life, hangup);
    life->end(life);
}

static void
on_watchdog(struct loop_timer *timer)
{
    struct life *life = container_of(timer, struct life, watchdog);
    (void)notify_send(&life->notify, "WATCHDOG=1");
    notify_again(&life->notify);
}

static void
open_watchdog(struct life *life)
{
    const char *text = getenv("WATCHDOG_USEC");
    uint64_t us = text ? strtoull(text, NULL, 10) : 0;
    life->watchdog.expired = on_watchdog;
    if (us >= 4)
        loop_timer_start(life->loop, &life->watchdog, us / 4, us / 4);
}

/* Unless nohup says otherwise. */
static bool
hears_hangup(void)
{
    struct sigaction now;
    return sigaction(SIGHUP, NULL, &now) == 0 && now.sa_handler != SIG_IGN;
}

static int
open_signals(struct life *life, struct err *reterr)
{
    life->terminate.received = on_terminate;
    life->interrupt.received = on_interrupt;
    life->hangup.received = on_hangup;
    int r = loop_signal_start(life->loop, &life->terminate, SIGTERM);
    if (r == 0)
        r = loop_signal_start(life->loop, &life->interrupt, SIGINT);
    if (r == 0 && hears_hangup())
        r = loop_signal_start(life->loop, &life->hangup, SIGHUP);
    return r < 0 ? err_set_errno(reterr, -r, "signals") : 0;
}

int
life_open(struct life *life, void (*end)(struct life *life), struct err *reterr)
{
    *life = (struct life){.end = end};
    int r = notify_open(&life->notify, reterr);
    if (r == 0)
        r = loop_new(&life->loop, reterr);
    if (r == 0)
        r = open_signals(life, reterr);
    if (r == 0)
        open_watchdog(life);
    return r;
}

void
life_leave(struct life *life)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    loop_timer_stop(&life->watchdog);
    loop_signal_stop(&life->terminate);
    loop_signal_stop(&life->interrupt);
    loop_signal_stop(&life->hangup);
    (void)sigaction(SIGTERM, &ignore, NULL);
    (void)sigaction(SIGINT, &ignore, NULL);
    (void)sigaction(SIGHUP, &ignore, NULL);
}

void
life_close(struct life *life)
{
    loop_free(take_ptr(life->loop));
    notify_close(&life->notify);
}
