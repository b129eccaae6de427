#include "gateway/spool.h"

#include "base/mem.h"
#include "sys/work.h"

#include <stdlib.h>

/* A thread of the pool, while a job is on it. */
struct spool_work {
    struct spool *spool;
    struct work work;
    struct spool_job *job; /* NULL: it is free */
};

struct spool {
    struct loop *loop;
    unsigned holders;
    struct spool_work works[SPOOL_WORKERS];
    struct spool_job *first, *last; /* that wait */
    struct loop_timer patience;     /* since a job has ended last, while there are any */
    bool hangs, is_closed;
};

static void on_late(struct loop_timer *timer);

struct spool *
spool_new(struct loop *loop)
{
    struct spool *s = mem_new(struct spool);
    s->loop = loop;
    s->holders = 1;
    s->patience.expired = on_late;
    return s;
}

struct spool *
spool_hold(struct spool *s)
{
    s->holders++;
    return s;
}

void
spool_drop(struct spool *s)
{
    if (!s || --s->holders > 0)
        return;
    assert(!s->first);
    free(s);
}

void
spool_close(struct spool *s)
{
    if (!s)
        return;
    s->is_closed = true;
    loop_timer_stop(&s->patience);
    spool_drop(s);
}

bool
spool_hangs(const struct spool *s)
{
    return s->hangs;
}

/* ---- jobs that wait ---- */

static void
put_on(struct spool *s, struct spool_job *job)
{
    job->state = SPOOL_WAITS;
    job->next = NULL;
    job->previous = s->last;
    *(s->last ? &s->last->next : &s->first) = job;
    s->last = job;
}

static void
take_off(struct spool *s, struct spool_job *job)
{
    *(job->previous ? &job->previous->next : &s->first) = job->next;
    *(job->next ? &job->next->previous : &s->last) = job->previous;
    job->next = job->previous = NULL;
    job->state = SPOOL_IDLE;
}

/* ---- jobs that run ---- */

static void
on_run(struct work *work)
{
    struct spool_job *job = container_of(work, struct spool_work, work)->job;
    job->run(job);
}

static void start_next(struct spool *s);

static void
on_done(struct work *work, bool cancelled unused_arg)
{
    struct spool_work *w = container_of(work, struct spool_work, work);
    struct spool *s = spool_hold(w->spool);
    struct spool_job *job = take_ptr(w->job);
    s->hangs = false;
    loop_timer_stop(&s->patience);
    start_next(s);
    job->state = SPOOL_IDLE;
    job->done(job);
    spool_drop(s);
}

static bool
runs_any(const struct spool *s)
{
    bool any = false;
    for (size_t i = 0; i < SPOOL_WORKERS; i++)
        any |= s->works[i].job != NULL;
    return any;
}

static void
start_next(struct spool *s)
{
    for (size_t i = 0; i < SPOOL_WORKERS && s->first; i++) {
        struct spool_work *w = &s->works[i];
        if (w->job)
            continue;
        struct spool_job *job = s->first;
        take_off(s, job);
        job->state = SPOOL_RUNS;
        *w = (struct spool_work){.spool = s, .work = {.run = on_run, .done = on_done}, .job = job};
        work_start(s->loop, &w->work);
    }
    if (!s->is_closed && runs_any(s) && !loop_timer_is_set(&s->patience))
        loop_timer_start(s->loop, &s->patience, SPOOL_PATIENCE_US, 0);
}

/* What is told may lead to others that are started: those wait for their own time. */
static void
on_late(struct loop_timer *timer)
{
    struct spool *s = spool_hold(container_of(timer, struct spool, patience));
    size_t waiting = 0;
    s->hangs = true;
    for (const struct spool_job *job = s->first; job; job = job->next)
        waiting++;
    for (size_t i = 0; i < SPOOL_WORKERS; i++)
        if (s->works[i].job)
            s->works[i].job->late(s->works[i].job);
    for (; waiting > 0 && s->first; waiting--) {
        struct spool_job *job = s->first;
        take_off(s, job);
        job->late(job);
    }
    spool_drop(s);
}

void
spool_start(struct spool *s, struct spool_job *job)
{
    assert(job->state == SPOOL_IDLE);
    put_on(s, job);
    start_next(s);
}

bool
spool_forget(struct spool *s, struct spool_job *job)
{
    if (job->state != SPOOL_WAITS)
        return false;
    take_off(s, job);
    return true;
}
