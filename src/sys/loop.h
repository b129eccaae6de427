#pragma once

/* The event loop of a process: descriptors, timers, signals, work on threads. One thread runs it
 * and owns all state; callbacks run on that thread, one at a time, never from inside the call that
 * set them up.
 *
 * Watches are plain structs inside their owner's struct: *_start() arms, *_stop() disarms at once
 * (no callback after it returns, the memory may go) and both may be called again in any order,
 * also from their own callback. A zeroed watch is a stopped one. */

#include "base/err.h"

struct loop;

int loop_new(struct loop **ret_loop, struct err *reterr) must_check;
/* Every watch must be stopped. Work that still runs is waited for and told, then what is deferred
 * is run. */
void loop_free(struct loop *loop);
/* Whether all work has ended, waiting so long for it at most. Where it has not, the loop cannot be
 * freed, and whoever must end does so without. */
bool loop_drain(struct loop *loop, uint64_t limit_us) must_check;
void loop_run(struct loop *loop); /* until loop_stop(), or until nothing is watched */
void loop_stop(struct loop *loop);
/* Read once a pass: monotonic, and by the calendar. */
uint64_t loop_now_us(struct loop *loop);
uint64_t loop_wall_us(struct loop *loop);

enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_HANGUP = 4 };

/* A descriptor that poll() understands (socket, pipe, pidfd, eventfd, sd-bus); it becomes
 * non-blocking, stays the caller's and must outlive the watch. Level-triggered.
 * events: LOOP_READ, LOOP_WRITE and LOOP_HANGUP (the peer will write no more, though it may still
 * read) as wanted; 0 pauses the watch. A broken descriptor is told as all that is wanted and
 * LOOP_HANGUP: the next read or write finds the error. One watch a descriptor (-EEXIST);
 * a regular file is -EPERM. */
struct loop_fd {
    void (*ready)(struct loop_fd *watch, unsigned events);
    struct loop_fd_state *state;
};
int loop_fd_start(struct loop *loop, struct loop_fd *watch, int fd, unsigned events) must_check;
void loop_fd_stop(struct loop_fd *watch);
void loop_fd_change(struct loop_fd *watch, unsigned events); /* of a started watch */

/* Never early, and late by a millisecond or two. A timer that repeats keeps its beat: it does not
 * drift, and beats that were missed are not made up for. */
struct loop_timer {
    void (*expired)(struct loop_timer *timer);
    struct loop_timer_state *state;
};
/* Fires once after after_us, then every every_us (0: once). Starting it again moves it. */
void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t after_us,
                      uint64_t every_us);
void loop_timer_stop(struct loop_timer *timer);
bool loop_timer_is_set(const struct loop_timer *timer);

struct loop_signal {
    void (*received)(struct loop_signal *watch, int signo);
    struct loop_signal_state *state;
};
int loop_signal_start(struct loop *loop, struct loop_signal *watch, int signo) must_check;
void loop_signal_stop(struct loop_signal *watch);

/* Runs once at the end of this pass, before the loop waits again or returns: where objects that
 * callbacks may still be using are freed. Deferring what is deferred already changes nothing; what
 * is deferred by a deferred call waits for the next pass. */
struct loop_defer {
    void (*run)(struct loop_defer *defer);
    struct loop_defer *next;
    bool queued;
};
void loop_defer(struct loop *loop, struct loop_defer *defer);
void loop_defer_cancel(struct loop *loop, struct loop_defer *defer);
