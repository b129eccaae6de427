/* The loop on libuv.
 *
 * libuv closes a handle only in a later pass, but our watches may go at once. So what libuv holds
 * is a state on the heap of which the watch has a pointer: stopping cuts the two apart, and the
 * state frees itself when libuv has let go.
 *
 * libuv's own timers repeat from when they were served, and start from a clock that was read when
 * the pass began; ours are due at a time of the real clock, and libuv only wakes us. */

#include "base/mem.h"
#include "sys/clock.h"
#include "sys/loop_int.h"

#include <errno.h>
#include <stdlib.h>

/* Later than any machine will run; added to a time it cannot overflow. */
#define NEVER_US (UINT64_MAX / 4)

struct loop_fd_state {
    uv_poll_t poll;
    struct loop_fd *watch;
    unsigned events;
};

struct loop_timer_state {
    uv_timer_t timer;
    struct loop *loop;
    struct loop_timer *watch;
    uint64_t due_us;
    uint64_t every_us;
};

struct loop_signal_state {
    uv_signal_t signal;
    struct loop_signal *watch;
};

/* Runs what was deferred before this call: what a deferred call defers comes behind that. */
static void
run_deferred(struct loop *loop)
{
    size_t count = 0;
    for (struct loop_defer *d = loop->deferred; d; d = d->next)
        count++;
    for (; count > 0 && loop->deferred; count--) {
        struct loop_defer *d = loop->deferred;
        loop_defer_cancel(loop, d);
        d->run(d);
    }
    if (!loop->deferred)
        (void)uv_idle_stop(&loop->awake);
}

void
loop_forget_time(struct loop *loop)
{
    loop->now_us = loop->wall_us = 0;
}

static void
on_before_wait(uv_prepare_t *prepare)
{
    struct loop *loop = prepare->data;
    run_deferred(loop);
    loop_forget_time(loop);
}

/* Timers are served after this, and after the end of work that had a thread of its own, which forgets
 * the time, too: they must not see one before that they were due at. */
static void
on_after_wait(uv_check_t *check)
{
    struct loop *loop = check->data;
    loop_forget_time(loop);
}

static void
on_awake(uv_idle_t *idle unused_arg)
{
}

int
loop_new(struct loop **ret_loop, struct err *reterr)
{
    struct loop *loop = mem_new(struct loop);
    int r = uv_loop_init(&loop->uv);
    if (r < 0) {
        free(loop);
        return err_set_errno(reterr, -r, "cannot make an event loop");
    }
    loop->deferred_end = &loop->deferred;
    (void)uv_prepare_init(&loop->uv, &loop->before_wait);
    (void)uv_check_init(&loop->uv, &loop->after_wait);
    (void)uv_idle_init(&loop->uv, &loop->awake);
    loop->before_wait.data = loop->after_wait.data = loop;
    (void)uv_prepare_start(&loop->before_wait, on_before_wait);
    (void)uv_check_start(&loop->after_wait, on_after_wait);
    uv_unref((uv_handle_t *)&loop->before_wait);
    uv_unref((uv_handle_t *)&loop->after_wait);
    *ret_loop = loop;
    return 0;
}

void
loop_run(struct loop *loop)
{
    assert(!loop->running);
    loop_forget_time(loop);
    loop->running = true;
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    run_deferred(loop);
    loop->running = false;
}

void
loop_stop(struct loop *loop)
{
    uv_stop(&loop->uv);
}

uint64_t
loop_now_us(struct loop *loop)
{
    if (!loop->running)
        return clock_now_us();
    if (loop->now_us == 0)
        loop->now_us = clock_now_us();
    return loop->now_us;
}

uint64_t
loop_wall_us(struct loop *loop)
{
    if (!loop->running)
        return clock_wall_us();
    if (loop->wall_us == 0)
        loop->wall_us = clock_wall_us();
    return loop->wall_us;
}

static void
assert_stopped(uv_handle_t *handle, void *arg)
{
    struct loop *loop = arg;
    bool own = handle == (uv_handle_t *)&loop->before_wait ||
               handle == (uv_handle_t *)&loop->after_wait || handle == (uv_handle_t *)&loop->awake;
    bool is_work = handle->type == UV_ASYNC; /* of which the end is waited for */
    assert(own || is_work || uv_is_closing(handle));
}

static void
on_drain_limit(uv_timer_t *timer)
{
    bool *is_over = timer->data;
    *is_over = true;
}

bool
loop_run_until(struct loop *loop, bool (*is_done)(const struct loop *loop), uint64_t limit_us)
{
    uv_timer_t timer;
    bool is_over = false;
    assert(!loop->running);
    run_deferred(loop);
    int r = uv_timer_init(&loop->uv, &timer);
    assert(r == 0);
    timer.data = &is_over;
    uv_update_time(&loop->uv);
    r = uv_timer_start(&timer, on_drain_limit, limit_us / 1000, 0);
    assert(r == 0);
    uv_unref((uv_handle_t *)&timer);
    while (!is_over && !is_done(loop))
        (void)uv_run(&loop->uv, UV_RUN_ONCE);
    bool done = is_done(loop);
    uv_close((uv_handle_t *)&timer, NULL);
    (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
    return done;
}

static bool
is_drained(const struct loop *loop)
{
    return !uv_loop_alive(&loop->uv);
}

bool
loop_drain(struct loop *loop, uint64_t limit_us)
{
    return loop_run_until(loop, is_drained, limit_us);
}

void
loop_free(struct loop *loop)
{
    if (!loop)
        return;
    assert(!loop->running);
    run_deferred(loop);
    uv_walk(&loop->uv, assert_stopped, loop);
    while (uv_loop_alive(&loop->uv))
        (void)uv_run(&loop->uv, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&loop->before_wait, NULL);
    uv_close((uv_handle_t *)&loop->after_wait, NULL);
    uv_close((uv_handle_t *)&loop->awake, NULL);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    int r = uv_loop_close(&loop->uv);
    assert(r == 0);
    free(loop);
}

static void
free_state(uv_handle_t *handle)
{
    free(handle->data);
}

static int
to_uv(unsigned events)
{
    return (events & LOOP_READ ? UV_READABLE : 0) | (events & LOOP_WRITE ? UV_WRITABLE : 0) |
           (events & LOOP_HANGUP ? UV_DISCONNECT : 0);
}

static unsigned
from_uv(int events)
{
    return (events & UV_READABLE ? LOOP_READ : 0) | (events & UV_WRITABLE ? LOOP_WRITE : 0) |
           (events & UV_DISCONNECT ? LOOP_HANGUP : 0);
}

static void on_fd(uv_poll_t *poll, int status, int uv_events);

static void
arm_fd(struct loop_fd_state *state)
{
    int r = state->events ? uv_poll_start(&state->poll, to_uv(state->events), on_fd)
                          : uv_poll_stop(&state->poll);
    assert(r == 0);
}

static void
on_fd(uv_poll_t *poll, int status, int uv_events)
{
    struct loop_fd_state *state = poll->data;
    unsigned events = from_uv(uv_events);
    if (status < 0) {
        /* libuv has given the descriptor up; we tell it again until the owner has dealt with it. */
        arm_fd(state);
        events = state->events | LOOP_HANGUP;
    }
    state->watch->ready(state->watch, events);
}

int
loop_fd_start(struct loop *loop, struct loop_fd *watch, int fd, unsigned events)
{
    loop_fd_stop(watch);
    struct loop_fd_state *state = mem_new(struct loop_fd_state);
    int r = uv_poll_init(&loop->uv, &state->poll, fd);
    if (r < 0) {
        free(state);
        return r;
    }
    state->poll.data = state;
    state->watch = watch;
    state->events = events;
    watch->state = state;
    arm_fd(state);
    return 0;
}

void
loop_fd_stop(struct loop_fd *watch)
{
    if (watch->state)
        uv_close((uv_handle_t *)&take_ptr(watch->state)->poll, free_state);
}

void
loop_fd_change(struct loop_fd *watch, unsigned events)
{
    assert(watch->state);
    if (watch->state->events == events)
        return;
    watch->state->events = events;
    arm_fd(watch->state);
}

static void on_timer(uv_timer_t *timer);

/* libuv counts from a clock in whole milliseconds that it read when the pass began: rounded up from
 * that, the timer is never early. At least 1: a timer of 0 that starts itself again would keep
 * libuv in its timers for ever. */
static void
arm_timer(struct loop_timer_state *state)
{
    uint64_t due_ms = (state->due_us + 999) / 1000, base_ms = uv_now(&state->loop->uv);
    (void)uv_timer_start(&state->timer, on_timer, due_ms > base_ms ? due_ms - base_ms : 1, 0);
}

static void
on_timer(uv_timer_t *timer)
{
    struct loop_timer_state *state = timer->data;
    struct loop_timer *watch = state->watch;
    if (state->every_us) {
        uint64_t late_us = loop_now_us(state->loop) - state->due_us;
        state->due_us += (late_us / state->every_us + 1) * state->every_us;
        arm_timer(state);
    } else {
        loop_timer_stop(watch);
    }
    watch->expired(watch);
}

void
loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t after_us, uint64_t every_us)
{
    if (timer->state && timer->state->loop != loop)
        loop_timer_stop(timer);
    if (!timer->state) {
        timer->state = mem_new(struct loop_timer_state);
        timer->state->loop = loop;
        timer->state->watch = timer;
        (void)uv_timer_init(&loop->uv, &timer->state->timer);
        timer->state->timer.data = timer->state;
    }
    timer->state->due_us = clock_now_us() + MIN(after_us, NEVER_US);
    timer->state->every_us = MIN(every_us, NEVER_US);
    arm_timer(timer->state);
}

void
loop_timer_stop(struct loop_timer *timer)
{
    if (timer->state)
        uv_close((uv_handle_t *)&take_ptr(timer->state)->timer, free_state);
}

bool
loop_timer_is_set(const struct loop_timer *timer)
{
    return timer->state != NULL;
}

static void
on_signal(uv_signal_t *signal, int signo)
{
    struct loop_signal_state *state = signal->data;
    state->watch->received(state->watch, signo);
}

int
loop_signal_start(struct loop *loop, struct loop_signal *watch, int signo)
{
    loop_signal_stop(watch);
    struct loop_signal_state *state = mem_new(struct loop_signal_state);
    int r = uv_signal_init(&loop->uv, &state->signal);
    if (r < 0) {
        free(state);
        return r;
    }
    state->signal.data = state;
    state->watch = watch;
    r = uv_signal_start(&state->signal, on_signal, signo);
    if (r < 0) {
        uv_close((uv_handle_t *)&state->signal, free_state);
        return r;
    }
    watch->state = state;
    return 0;
}

void
loop_signal_stop(struct loop_signal *watch)
{
    if (watch->state)
        uv_close((uv_handle_t *)&take_ptr(watch->state)->signal, free_state);
}

void
loop_defer(struct loop *loop, struct loop_defer *defer)
{
    if (defer->queued)
        return;
    defer->next = NULL;
    defer->queued = true;
    *loop->deferred_end = defer;
    loop->deferred_end = &defer->next;
    (void)uv_idle_start(&loop->awake, on_awake);
}

void
loop_defer_cancel(struct loop *loop, struct loop_defer *defer)
{
    for (struct loop_defer **at = &loop->deferred; *at; at = &(*at)->next) {
        if (*at == defer) {
            *at = defer->next;
            if (!*at)
                loop->deferred_end = at;
            defer->queued = false;
            return;
        }
    }
}
