#pragma once

/* For tests that share a loop with what they test: it runs for a while, or until something holds. */

#include "sys/loop.h"

#define LOOP_PATIENCE_US (20 * 1000000)

struct loop_rig {
    struct loop *loop;
    struct loop_timer beat;
};

static inline void
loop_rig_on_beat(struct loop_timer *timer)
{
    loop_stop(container_of(timer, struct loop_rig, beat)->loop);
}

static inline bool
loop_rig_open(struct loop_rig *r)
{
    *r = (struct loop_rig){.beat.expired = loop_rig_on_beat};
    return loop_new(&r->loop, NULL) == 0;
}

static inline void
loop_rig_close(struct loop_rig *r)
{
    loop_timer_stop(&r->beat);
    loop_free(r->loop);
}

/* Something else may stop the loop before. */
static inline void
loop_rig_run(struct loop_rig *r, uint64_t us)
{
    loop_timer_start(r->loop, &r->beat, us, 0);
    loop_run(r->loop);
}

/* Whether the condition came to hold in time. */
#define LOOP_WAIT(rig_, condition)                                         \
    ({                                                                     \
        uint64_t until_us_ = loop_now_us((rig_)->loop) + LOOP_PATIENCE_US; \
        while (!(condition) && loop_now_us((rig_)->loop) < until_us_)      \
            loop_rig_run((rig_), 1000);                                    \
        (condition);                                                       \
    })
