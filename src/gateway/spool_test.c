#include "gateway/spool.h"

#include "loop_rig.h"
#include "sys/work.h"
#include "tap.h"

#include <semaphore.h>

#define PATIENCE_US UINT64_C(100000)

/* One that ends when it may. */
struct task {
    struct spool_job job;
    sem_t may_end;
    unsigned done, late;
};

static void
run(struct spool_job *job)
{
    struct task *t = container_of(job, struct task, job);
    while (sem_wait(&t->may_end) < 0)
        ;
}

static void
on_done(struct spool_job *job)
{
    container_of(job, struct task, job)->done++;
}

static void
on_late(struct spool_job *job)
{
    container_of(job, struct task, job)->late++;
}

static void
begin(struct spool *s, struct task *t)
{
    *t = (struct task){.job = {.run = run, .done = on_done, .late = on_late}};
    CHECK_EQ(sem_init(&t->may_end, 0, 0), 0);
    spool_start(s, &t->job);
}

static void
end(struct task *t)
{
    CHECK_EQ(sem_post(&t->may_end), 0);
}

TEST(spool_tells_of_one_that_hangs_while_the_others_go_on)
{
    struct loop_rig rig;
    struct task hung, others[3];
    REQUIRE(loop_rig_open(&rig));
    struct spool *s = spool_new(rig.loop, PATIENCE_US);
    begin(s, &hung);
    for (unsigned i = 0; hung.late == 0; i++) {
        struct task *t = &others[i % ARRAY_SIZE(others)];
        begin(s, t);
        end(t);
        REQUIRE(LOOP_WAIT(&rig, t->done == 1));
        REQUIRE(i < 100000); /* some seconds */
    }
    CHECK(!spool_hangs(s));
    CHECK_EQ(hung.job.state, SPOOL_RUNS);
    loop_rig_run(&rig, 2 * PATIENCE_US);
    CHECK_EQ(hung.late, 1);
    end(&hung);
    CHECK(LOOP_WAIT(&rig, hung.done == 1));
    spool_close(s);
    loop_rig_close(&rig);
}

/* Who waits is told when nobody could have him any more, and not before. */
TEST(spool_tells_those_who_wait_behind_jobs_that_all_hang)
{
    struct loop_rig rig;
    struct task hung[SPOOL_WORKERS], waits, next;
    REQUIRE(loop_rig_open(&rig));
    struct spool *s = spool_new(rig.loop, PATIENCE_US);
    for (size_t i = 0; i < SPOOL_WORKERS; i++)
        begin(s, &hung[i]);
    begin(s, &waits);
    CHECK(!spool_hangs(s));
    REQUIRE(LOOP_WAIT(&rig, waits.late == 1));
    CHECK(spool_hangs(s));
    CHECK_EQ(waits.job.state, SPOOL_IDLE);
    for (size_t i = 0; i < SPOOL_WORKERS; i++)
        CHECK_EQ(hung[i].late, 1);
    begin(s, &next);
    CHECK_EQ(next.late, 0); /* it has its own time */
    REQUIRE(LOOP_WAIT(&rig, next.late == 1));
    begin(s, &next);
    end(&next);
    end(&hung[0]);
    CHECK(LOOP_WAIT(&rig, next.done == 1 && next.late == 0));
    CHECK(!spool_hangs(s));
    end(&hung[1]);
    CHECK(LOOP_WAIT(&rig, hung[1].done == 1));
    spool_close(s);
    loop_rig_close(&rig);
}

/* ---- the pool ---- */

#define POOL_MANY 8 /* more than libuv's has threads */

static sem_t gate;

static void
hang(struct work *work unused_arg)
{
    while (sem_wait(&gate) < 0)
        ;
}

static void
on_hung(struct work *work unused_arg, bool cancelled unused_arg)
{
}

/* Usage is asked for there, and resolvers wait. */
TEST(spool_waits_for_nobody_in_the_pool)
{
    struct loop_rig rig;
    struct work works[POOL_MANY] = {0};
    struct task t;
    REQUIRE(loop_rig_open(&rig) && sem_init(&gate, 0, 0) == 0);
    struct spool *s = spool_new(rig.loop, SPOOL_PATIENCE_US);
    for (size_t i = 0; i < ARRAY_SIZE(works); i++) {
        works[i] = (struct work){.run = hang, .done = on_hung};
        work_start(rig.loop, &works[i]);
    }
    begin(s, &t);
    end(&t);
    CHECK(LOOP_WAIT(&rig, t.done == 1));
    for (size_t i = 0; i < ARRAY_SIZE(works); i++)
        CHECK_EQ(sem_post(&gate), 0);
    spool_close(s);
    loop_rig_close(&rig);
}
