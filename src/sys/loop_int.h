#pragma once

/* What loop and work share: the libuv loop inside. */

#include "sys/loop.h"

#include <uv.h>

struct loop {
    uv_loop_t uv;
    uv_prepare_t before_wait;
    uv_check_t after_wait;
    uv_idle_t awake; /* active while something is deferred: then the loop does not wait */
    struct loop_defer *deferred;
    struct loop_defer **deferred_end;
    struct work_state *works; /* under way */
    uint64_t now_us, wall_us; /* 0: to be read */
    bool running;
};

/* It is read anew when it is asked for next. */
void loop_forget_time(struct loop *loop);

/* Whether that came to be, waiting so long for it at most; where the loop does not run. */
bool loop_run_until(struct loop *loop, bool (*is_done)(const struct loop *loop), uint64_t limit_us)
    must_check;
