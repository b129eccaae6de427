#include "sys/work.h"

#include "base/mem.h"
#include "sys/clock.h"
#include "tap.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/resource.h>

/* More than libuv's pool has threads, unless UV_THREADPOOL_SIZE says otherwise. */
#define JOBS 8

struct job {
    struct work work;
    sem_t *gate;
    pthread_t thread;
    int priority;
    bool ran, done, cancelled;
};

static void
on_run(struct work *work)
{
    struct job *job = (struct job *)work;
    if (job->gate)
        while (sem_wait(job->gate) < 0)
            ;
    job->thread = pthread_self();
    job->priority = getpriority(PRIO_PROCESS, 0);
    job->ran = true;
}

static void
on_done(struct work *work, bool cancelled)
{
    struct job *job = (struct job *)work;
    job->done = true;
    job->cancelled = cancelled;
    CHECK(!job->work.state);
}

TEST(work_runs_elsewhere_and_ends_here)
{
    struct loop *loop;
    REQUIRE(loop_new(&loop, NULL) == 0);
    struct job job = {.work = {.run = on_run, .done = on_done}};
    for (int i = 0; i < 2; i++) {
        job.ran = job.done = false;
        work_start(loop, &job.work);
        CHECK(!job.done);
        loop_run(loop);
        CHECK(job.ran && job.done && !job.cancelled);
        CHECK(!pthread_equal(job.thread, pthread_self()));
    }
    CHECK(!work_cancel(&job.work));
    loop_free(loop);
}

TEST(work_that_has_not_begun_can_be_cancelled)
{
    struct loop *loop;
    struct job jobs[JOBS] = {0};
    sem_t gate;
    int cancelled = 0;
    REQUIRE(loop_new(&loop, NULL) == 0);
    REQUIRE(sem_init(&gate, 0, 0) == 0);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct job){.work = {.run = on_run, .done = on_done}, .gate = &gate};
        work_start(loop, &jobs[i].work);
    }
    for (int i = JOBS - 1; i >= 0; i--)
        cancelled += work_cancel(&jobs[i].work);
    CHECK(cancelled >= 1);
    for (int i = 0; i < JOBS; i++)
        (void)sem_post(&gate);
    loop_run(loop);
    for (int i = 0; i < JOBS; i++) {
        CHECK(jobs[i].done);
        CHECK(jobs[i].ran != jobs[i].cancelled);
        cancelled -= jobs[i].cancelled;
    }
    CHECK_EQ(cancelled, 0);
    (void)sem_destroy(&gate);
    loop_free(loop);
}

TEST(who_must_end_does_not_wait_for_work_that_hangs)
{
    struct loop *loop;
    sem_t gate;
    REQUIRE(loop_new(&loop, NULL) == 0 && sem_init(&gate, 0, 0) == 0);
    struct job job = {.work = {.run = on_run, .done = on_done, .writes = "/a"}, .gate = &gate},
               alone = {.work = {.run = on_run, .done = on_done}, .gate = &gate};
    CHECK(!work_unwritten(loop, 0));
    work_start(loop, &job.work);
    work_start_alone(loop, &alone.work);
    CHECK(!loop_drain(loop, 20000));
    CHECK(!job.done && !alone.done);
    CHECK_STR(work_unwritten(loop, 0), "/a");
    CHECK(!work_unwritten(loop, 1));
    CHECK(!work_write_out(loop, 20000));
    CHECK_EQ(sem_post(&gate), 0);
    CHECK_EQ(sem_post(&gate), 0);
    CHECK(loop_drain(loop, 60 * UINT64_C(1000000)));
    CHECK(job.ran && job.done && alone.done);
    CHECK(!work_unwritten(loop, 0));
    CHECK(loop_drain(loop, 0)); /* there is none */
    loop_free(loop);
    (void)sem_destroy(&gate);
}

/* A name server that is gone is no reason to stay. */
TEST(who_must_end_waits_for_work_that_writes_only)
{
    struct loop *loop;
    sem_t hangs;
    REQUIRE(loop_new(&loop, NULL) == 0 && sem_init(&hangs, 0, 0) == 0);
    struct job asks = {.work = {.run = on_run, .done = on_done}, .gate = &hangs},
               writes = {.work = {.run = on_run, .done = on_done, .writes = "/a"}};
    work_start_alone(loop, &asks.work);
    work_start_alone(loop, &writes.work);
    CHECK(work_write_out(loop, 600 * UINT64_C(1000000)));
    CHECK(writes.done && !asks.done);
    CHECK(work_write_out(loop, 0));
    CHECK_EQ(sem_post(&hangs), 0);
    loop_free(loop);
    CHECK(asks.done);
    (void)sem_destroy(&hangs);
}

TEST(work_alone_waits_for_none_that_hangs)
{
    struct loop *loop;
    struct job jobs[JOBS] = {0};
    sem_t gate;
    REQUIRE(loop_new(&loop, NULL) == 0 && sem_init(&gate, 0, 0) == 0);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct job){.work = {.run = on_run, .done = on_done}, .gate = &gate};
        work_start(loop, &jobs[i].work);
    }
    struct job alone = {.work = {.run = on_run, .done = on_done}};
    for (int i = 0; i < 2; i++) {
        alone.ran = alone.done = false;
        work_start_alone(loop, &alone.work);
        CHECK(!work_cancel(&alone.work));
        for (int k = 0; k < 500 && !alone.done; k++)
            (void)!loop_drain(loop, 20000);
        CHECK(alone.ran && alone.done && !alone.cancelled);
    }
    for (int i = 0; i < JOBS; i++) {
        CHECK(!jobs[i].done);
        (void)sem_post(&gate);
    }
    work_start_alone(loop, &alone.work);
    alone.done = false;
    loop_free(loop);
    CHECK(alone.done);
    (void)sem_destroy(&gate);
}

/* Nobody waits for it as long as the loop has something to answer. */
TEST(work_alone_goes_behind_the_loop)
{
    struct loop *loop;
    REQUIRE(loop_new(&loop, NULL) == 0);
    int own = getpriority(PRIO_PROCESS, 0);
    struct job pooled = {.work = {.run = on_run, .done = on_done}}, alone = pooled;
    work_start_alone(loop, &alone.work);
    loop_run(loop);
    work_start(loop, &pooled.work);
    loop_run(loop);
    CHECK_EQ(alone.priority, MIN(own + 5, 19));
    CHECK_EQ(pooled.priority, own);
    CHECK_EQ(getpriority(PRIO_PROCESS, 0), own);
    loop_free(loop);
}

/* A timer that is due while the end of a work takes its time, after it had asked what time it is. */
struct beat {
    struct work work;
    struct loop_timer timer;
    struct loop *loop;
    uint64_t due_us, seen_us;
};

static void
on_beat(struct loop_timer *timer)
{
    struct beat *b = container_of(timer, struct beat, timer);
    b->seen_us = loop_now_us(b->loop);
}

static void
on_nothing(struct work *work unused_arg)
{
}

static void
on_long_end(struct work *work, bool cancelled unused_arg)
{
    struct beat *b = container_of(work, struct beat, work);
    uint64_t now_us = loop_now_us(b->loop);
    b->due_us = now_us + 2000;
    loop_timer_start(b->loop, &b->timer, 2000, 0);
    while (clock_now_us() < now_us + 5000)
        ;
}

TEST(a_timer_sees_no_time_before_its_own_behind_work)
{
    for (int alone = 0; alone < 2; alone++) {
        struct beat b = {.work = {.run = on_nothing, .done = on_long_end},
                         .timer.expired = on_beat};
        REQUIRE(loop_new(&b.loop, NULL) == 0);
        (alone ? work_start_alone : work_start)(b.loop, &b.work);
        loop_run(b.loop);
        CHECK(b.due_us > 0 && b.seen_us >= b.due_us);
        loop_free(b.loop);
    }
}

TEST(the_end_of_the_loop_waits_for_work)
{
    struct loop *loop;
    REQUIRE(loop_new(&loop, NULL) == 0);
    struct job job = {.work = {.run = on_run, .done = on_done}};
    work_start(loop, &job.work);
    loop_free(loop);
    CHECK(job.ran && job.done);
}
