#include "sys/loop.h"

#include "base/mem.h"
#include "sys/clock.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* A loop that fails its test instead of waiting for ever. */
struct bench {
    struct loop *loop;
    struct loop_timer guard;
};

static void
on_guard(struct loop_timer *timer unused_arg)
{
    tap_fail(__FILE__, __LINE__, "nothing happened for 20 s");
    abort();
}

static void
bench_init(struct bench *b)
{
    *b = (struct bench){.guard.expired = on_guard};
    int r = loop_new(&b->loop, NULL);
    assert(r == 0);
    loop_timer_start(b->loop, &b->guard, 20 * 1000000, 0);
}

static void
bench_finish(struct bench *b)
{
    loop_timer_stop(&b->guard);
    loop_free(b->loop);
}

/* A watch that counts, and stops the loop or itself when it has seen enough. */
struct counter {
    struct loop_fd watch;
    struct loop *loop;
    unsigned seen; /* every event that was told */
    int calls;
    int enough;
};

static void
on_counted(struct loop_fd *watch, unsigned events)
{
    struct counter *c = (struct counter *)watch;
    c->seen |= events;
    if (++c->calls >= c->enough)
        loop_stop(c->loop);
}

static void
counter_init(struct counter *c, struct loop *loop, int enough)
{
    *c = (struct counter){.watch.ready = on_counted, .loop = loop, .enough = enough};
}

TEST(readiness_is_a_level)
{
    struct bench b;
    struct counter c;
    int fds[2];
    bench_init(&b);
    counter_init(&c, b.loop, 3);
    REQUIRE(pipe(fds) == 0);
    REQUIRE(loop_fd_start(b.loop, &c.watch, fds[0], LOOP_READ) == 0);
    REQUIRE(write(fds[1], "x", 1) == 1);
    loop_run(b.loop);
    CHECK_EQ(c.calls, 3);
    CHECK_EQ(c.seen, LOOP_READ);
    loop_fd_stop(&c.watch);
    loop_fd_stop(&c.watch);
    (void)close(fds[0]);
    (void)close(fds[1]);
    bench_finish(&b);
}

TEST(odd_descriptors_are_errors)
{
    struct bench b;
    struct counter c, second;
    int fds[2];
    bench_init(&b);
    counter_init(&c, b.loop, 1);
    counter_init(&second, b.loop, 1);
    REQUIRE(pipe(fds) == 0);
    _cleanup_close_ int file = open(tap_source("meson.build"), O_RDONLY | O_CLOEXEC);
    CHECK_EQ(loop_fd_start(b.loop, &c.watch, file, LOOP_READ), -EPERM);
    CHECK_EQ(loop_fd_start(b.loop, &c.watch, 1000, LOOP_READ), -EBADF);
    CHECK_EQ(loop_fd_start(b.loop, &c.watch, -1, LOOP_READ), -EBADF);
    CHECK_EQ(loop_fd_start(b.loop, &c.watch, fds[0], LOOP_READ), 0);
    CHECK_EQ(loop_fd_start(b.loop, &second.watch, fds[0], LOOP_READ), -EEXIST);
    loop_fd_stop(&c.watch);
    CHECK_EQ(loop_fd_start(b.loop, &second.watch, fds[0], LOOP_READ), 0);
    loop_fd_stop(&second.watch);
    (void)close(fds[0]);
    (void)close(fds[1]);
    bench_finish(&b);
}

TEST(a_half_closed_peer_is_told_to_those_who_ask)
{
    struct bench b;
    struct counter c;
    int fds[2];
    bench_init(&b);
    counter_init(&c, b.loop, 3);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    REQUIRE(shutdown(fds[1], SHUT_WR) == 0);
    REQUIRE(loop_fd_start(b.loop, &c.watch, fds[0], LOOP_WRITE) == 0);
    loop_run(b.loop);
    CHECK_EQ(c.seen, LOOP_WRITE);
    c.calls = 0;
    loop_fd_change(&c.watch, LOOP_HANGUP);
    loop_run(b.loop);
    CHECK_EQ(c.seen, LOOP_WRITE | LOOP_HANGUP);
    loop_fd_stop(&c.watch);
    (void)close(fds[0]);
    (void)close(fds[1]);
    bench_finish(&b);
}

TEST(a_broken_descriptor_is_told_until_it_is_dealt_with)
{
    struct bench b;
    struct counter c;
    int fds[2];
    bench_init(&b);
    counter_init(&c, b.loop, 3);
    REQUIRE(pipe(fds) == 0);
    (void)close(fds[0]); /* poll() answers POLLERR */
    REQUIRE(loop_fd_start(b.loop, &c.watch, fds[1], LOOP_WRITE) == 0);
    loop_run(b.loop);
    CHECK_EQ(c.calls, 3);
    CHECK_EQ(c.seen, LOOP_WRITE | LOOP_HANGUP);
    loop_fd_stop(&c.watch);
    (void)close(fds[1]);
    bench_finish(&b);
}

static void
on_stop(struct loop_timer *timer unused_arg)
{
    loop_stop(((struct bench *)((char *)timer - offsetof(struct bench, guard)))->loop);
}

TEST(a_paused_watch_says_nothing)
{
    struct bench b;
    struct counter c;
    int fds[2];
    bench_init(&b);
    counter_init(&c, b.loop, 1);
    REQUIRE(pipe(fds) == 0);
    REQUIRE(write(fds[1], "x", 1) == 1);
    REQUIRE(loop_fd_start(b.loop, &c.watch, fds[0], 0) == 0);
    b.guard.expired = on_stop;
    loop_timer_start(b.loop, &b.guard, 2000, 0);
    loop_run(b.loop);
    CHECK_EQ(c.calls, 0);
    b.guard.expired = on_guard;
    loop_timer_start(b.loop, &b.guard, 20 * 1000000, 0);
    loop_fd_change(&c.watch, LOOP_READ);
    loop_run(b.loop);
    CHECK_EQ(c.calls, 1);
    loop_fd_stop(&c.watch);
    (void)close(fds[0]);
    (void)close(fds[1]);
    bench_finish(&b);
}

/* Two descriptors are ready in one pass. Whoever is told first takes the other's descriptor away
 * and watches another pipe, an empty one, under the same number. */
struct thief {
    struct loop_fd watch;
    struct thief *other;
    struct loop *loop;
    struct counter *replacement;
    int fd;
    int writer; /* of the replacement */
    int told;
};

static void
on_thief(struct loop_fd *watch, unsigned events unused_arg)
{
    struct thief *t = (struct thief *)watch, *other = t->other;
    int fds[2];
    t->told++;
    loop_fd_stop(&t->watch);
    loop_fd_stop(&other->watch);
    (void)close(other->fd);
    int r = pipe(fds);
    assert(r == 0 && fds[0] == other->fd);
    t->writer = fds[1];
    r = loop_fd_start(t->loop, &t->replacement->watch, fds[0], LOOP_READ);
    assert(r == 0);
    memset(other, 0xA5, sizeof(*other)); /* its memory goes at once */
}

static void
on_write(struct loop_timer *timer)
{
    struct bench *b = (struct bench *)((char *)timer - offsetof(struct bench, guard));
    loop_stop(b->loop);
}

TEST(a_descriptor_reused_at_once_is_a_new_one)
{
    struct bench b;
    struct counter replacement;
    struct thief *thieves[2];
    int fds[2][2];
    bench_init(&b);
    counter_init(&replacement, b.loop, 1);
    for (int i = 0; i < 2; i++) {
        REQUIRE(pipe(fds[i]) == 0);
        REQUIRE(write(fds[i][1], "x", 1) == 1);
        thieves[i] = mem_new(struct thief);
    }
    for (int i = 0; i < 2; i++) {
        *thieves[i] = (struct thief){.watch.ready = on_thief,
                                     .other = thieves[!i],
                                     .loop = b.loop,
                                     .replacement = &replacement,
                                     .fd = fds[i][0],
                                     .writer = -1};
        REQUIRE(loop_fd_start(b.loop, &thieves[i]->watch, fds[i][0], LOOP_READ) == 0);
    }
    b.guard.expired = on_write;
    loop_timer_start(b.loop, &b.guard, 3000, 0);
    loop_run(b.loop);
    CHECK_EQ(replacement.calls, 0);
    struct thief *won = thieves[0]->told == 1 ? thieves[0] : thieves[1];
    CHECK_EQ(won->told, 1);
    REQUIRE(write(won->writer, "x", 1) == 1);
    b.guard.expired = on_guard;
    loop_timer_start(b.loop, &b.guard, 20 * 1000000, 0);
    loop_run(b.loop);
    CHECK_EQ(replacement.calls, 1);
    loop_fd_stop(&replacement.watch);
    (void)close(won->writer);
    for (int i = 0; i < 2; i++) {
        (void)close(fds[i][0]);
        (void)close(fds[i][1]);
        free(thieves[i]);
    }
    bench_finish(&b);
}

struct beat {
    struct loop_timer timer;
    struct loop *loop;
    struct loop_timer *victim;
    uint64_t due_us;
    uint64_t every_us;
    int *order;
    int number;
    int calls;
    int enough;
    bool early;
};

static void
on_beat(struct loop_timer *timer)
{
    struct beat *beat = (struct beat *)timer;
    if (loop_now_us(beat->loop) < beat->due_us)
        beat->early = true;
    beat->due_us += beat->every_us;
    if (beat->order)
        *beat->order = *beat->order * 10 + beat->number;
    if (beat->victim)
        loop_timer_stop(beat->victim);
    if (++beat->calls >= beat->enough)
        loop_timer_stop(&beat->timer);
}

TEST(timers_fire_in_order_and_never_early)
{
    static const uint64_t after_us[] = {5000, 1, 2500, 4001, 0};
    struct bench b;
    struct beat beats[ARRAY_SIZE(after_us)];
    int order = 0;
    bench_init(&b);
    loop_timer_stop(&b.guard); /* the loop ends by itself: nothing is watched */
    for (size_t i = 0; i < ARRAY_SIZE(after_us); i++) {
        beats[i] = (struct beat){.timer.expired = on_beat,
                                 .loop = b.loop,
                                 .order = &order,
                                 .number = (int)i,
                                 .enough = 1};
        loop_timer_start(b.loop, &beats[i].timer, after_us[i], 0);
        beats[i].due_us = clock_now_us() - 1000 + after_us[i];
    }
    loop_run(b.loop);
    for (size_t i = 0; i < ARRAY_SIZE(after_us); i++) {
        tap_note("timer %zu", i);
        CHECK_EQ(beats[i].calls, 1);
        CHECK(!beats[i].early);
        CHECK(!loop_timer_is_set(&beats[i].timer));
    }
    CHECK(order == 14230 || order == 41230); /* 0 and 1 us are the same millisecond */
    bench_finish(&b);
}

TEST(a_timer_keeps_its_beat_and_may_be_moved)
{
    struct bench b;
    struct beat beat, moved, victim;
    bench_init(&b);
    beat = (struct beat){.timer.expired = on_beat, .loop = b.loop, .enough = 5, .every_us = 1500};
    moved = victim = (struct beat){.timer.expired = on_beat, .loop = b.loop, .enough = 1};
    moved.victim = &b.guard;
    beat.victim = &victim.timer;
    loop_timer_start(b.loop, &moved.timer, 0, 0);
    loop_timer_start(b.loop, &moved.timer, 12000, 0);
    loop_timer_start(b.loop, &victim.timer, 10000, 0);
    moved.due_us = clock_now_us() - 1000 + 12000;
    beat.due_us = clock_now_us() + 1500;
    loop_timer_start(b.loop, &beat.timer, 1500, 1500);
    loop_run(b.loop);
    CHECK_EQ(beat.calls, 5);
    CHECK(!beat.early);
    CHECK_EQ(moved.calls, 1);
    CHECK(!moved.early);
    CHECK_EQ(victim.calls, 0);
    bench_finish(&b);
}

struct restless {
    struct loop_timer timer;
    struct loop *loop;
    int calls;
};

static void
on_restless(struct loop_timer *timer)
{
    struct restless *r = (struct restless *)timer;
    r->calls++;
    loop_timer_start(r->loop, &r->timer, 0, 0);
}

TEST(a_timer_that_restarts_itself_lets_others_live)
{
    struct bench b;
    struct counter c;
    int fds[2];
    bench_init(&b);
    counter_init(&c, b.loop, 1);
    struct restless r = {.timer.expired = on_restless, .loop = b.loop};
    loop_timer_start(b.loop, &r.timer, 0, 0);
    REQUIRE(pipe(fds) == 0);
    REQUIRE(write(fds[1], "x", 1) == 1);
    REQUIRE(loop_fd_start(b.loop, &c.watch, fds[0], LOOP_READ) == 0);
    loop_run(b.loop);
    CHECK_EQ(c.calls, 1);
    loop_fd_stop(&c.watch);
    loop_timer_stop(&r.timer);
    (void)close(fds[0]);
    (void)close(fds[1]);
    bench_finish(&b);
}

struct caught {
    struct loop_signal watch;
    struct loop *loop;
    int signo;
};

static void
on_caught(struct loop_signal *watch, int signo)
{
    struct caught *c = (struct caught *)watch;
    c->signo = signo;
    loop_signal_stop(watch);
    loop_stop(c->loop);
}

TEST(signals_arrive_on_the_loop)
{
    struct bench b;
    bench_init(&b);
    struct caught c = {.watch.received = on_caught, .loop = b.loop};
    CHECK_EQ(loop_signal_start(b.loop, &c.watch, SIGKILL), -EINVAL);
    REQUIRE(loop_signal_start(b.loop, &c.watch, SIGUSR1) == 0);
    REQUIRE(raise(SIGUSR1) == 0);
    CHECK_EQ(c.signo, 0);
    loop_run(b.loop);
    CHECK_EQ(c.signo, SIGUSR1);
    loop_signal_stop(&c.watch);
    bench_finish(&b);
}

struct late {
    struct loop_defer defer;
    struct loop *loop;
    struct late *cancels;
    int *order;
    int number;
    int again; /* defers itself so many times */
};

static void
on_late(struct loop_defer *defer)
{
    struct late *late = (struct late *)defer;
    *late->order = *late->order * 10 + late->number;
    if (late->cancels)
        loop_defer_cancel(late->loop, &late->cancels->defer);
    if (late->again-- > 0)
        loop_defer(late->loop, &late->defer);
}

TEST(deferred_calls_run_once_in_order)
{
    struct bench b;
    struct late lates[5];
    int order = 0;
    bench_init(&b);
    loop_timer_stop(&b.guard);
    for (int i = 0; i < 5; i++)
        lates[i] =
            (struct late){.defer.run = on_late, .loop = b.loop, .order = &order, .number = i + 1};
    lates[0].cancels = &lates[3];
    lates[1].again = 2;
    for (int i = 0; i < 5; i++)
        loop_defer(b.loop, &lates[i].defer);
    loop_defer(b.loop, &lates[0].defer);
    loop_defer_cancel(b.loop, &lates[2].defer);
    CHECK_EQ(order, 0);
    loop_run(b.loop);
    CHECK_EQ(order, 12522);
    bench_finish(&b);
}

static void
on_defer_then_stop(struct loop_timer *timer)
{
    struct late *late = *(struct late **)(timer + 1);
    loop_defer(late->loop, &late->defer);
    loop_stop(late->loop);
}

TEST(what_is_deferred_runs_before_the_loop_ends)
{
    struct bench b;
    int order = 0;
    bench_init(&b);
    struct late late = {.defer.run = on_late, .loop = b.loop, .order = &order, .number = 1};
    struct {
        struct loop_timer timer;
        struct late *late;
    } stopper = {.timer.expired = on_defer_then_stop, .late = &late};
    loop_timer_start(b.loop, &stopper.timer, 0, 0);
    loop_run(b.loop);
    CHECK_EQ(order, 1);
    loop_defer(b.loop, &late.defer);
    late.number = 2;
    late.again = 1;
    bench_finish(&b);
    CHECK_EQ(order, 122);
}

struct timekeeper {
    struct loop_timer timer;
    struct loop *loop;
    bool constant;
};

static void
on_timekeeper(struct loop_timer *timer)
{
    struct timekeeper *k = (struct timekeeper *)timer;
    uint64_t before_us = loop_now_us(k->loop), real_us = clock_now_us();
    while (clock_now_us() == real_us)
        ;
    k->constant = loop_now_us(k->loop) == before_us;
}

TEST(time_stands_still_during_a_pass)
{
    struct bench b;
    bench_init(&b);
    loop_timer_stop(&b.guard);
    struct timekeeper k = {.timer.expired = on_timekeeper, .loop = b.loop};
    loop_timer_start(b.loop, &k.timer, 0, 0);
    loop_run(b.loop);
    CHECK(k.constant);
    CHECK(loop_now_us(b.loop) <= clock_now_us());
    bench_finish(&b);
}
