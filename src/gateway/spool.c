#include "gateway/spool.h"

#include "base/mem.h"
#include "sys/work.h"

#include <stdlib.h>

/* A thread, while a job is on it. */
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
    uint64_t patience_us;
    struct loop_timer patience; /* with the oldest job that may be told of */
    bool is_closed;
};

static void on_late(struct loop_timer *timer);

struct spool *
spool_new(struct loop *loop, uint64_t patience_us)
{
    struct spool *s = mem_new(struct spool);
    s->loop = loop;
    s->patience_us = patience_us;
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
    bool all = true;
    for (size_t i = 0; i < SPOOL_WORKERS; i++)
        all &= s->works[i].job && s->works[i].job->is_late;
    return all;
}

/* ---- patience ---- */

static uint64_t
late_us(const struct spool *s, const struct spool_job *job)
{
    return job->since_us + s->patience_us;
}

/* When somebody is to be told: of a job that runs; or of the first that waits where all hang. */
static uint64_t
next_us(const struct spool *s)
{
    uint64_t next = s->first && spool_hangs(s) ? late_us(s, s->first) : UINT64_MAX;
    for (size_t i = 0; i < SPOOL_WORKERS; i++)
        if (s->works[i].job && !s->works[i].job->is_late)
            next = MIN(next, late_us(s, s->works[i].job));
    return next;
}

static void
be_patient(struct spool *s)
{
    uint64_t next = next_us(s), now_us = loop_now_us(s->loop);
    if (s->is_closed || next == UINT64_MAX)
        loop_timer_stop(&s->patience);
    else
        loop_timer_start(s->loop, &s->patience, next > now_us ? next - now_us : 0, 0);
}

/* ---- jobs that wait ---- */

static void
put_on(struct spool *s, struct spool_job *job)
{
    job->state = SPOOL_WAITS;
    job->since_us = loop_now_us(s->loop);
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
    start_next(s);
    job->state = SPOOL_IDLE;
    job->done(job);
    spool_drop(s);
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
        job->since_us = loop_now_us(s->loop);
        job->is_late = false;
        *w = (struct spool_work){
            .spool = s,
            .work = {.run = on_run, .done = on_done},
            .job = job,
        };
        work_start_alone(s->loop, &w->work);
    }
    be_patient(s);
}

/* What is told may lead to others that are started: those wait for their own time. */
static void
on_late(struct loop_timer *timer)
{
    struct spool *s = spool_hold(container_of(timer, struct spool, patience));
    uint64_t now_us = loop_now_us(s->loop);
    for (size_t i = 0; i < SPOOL_WORKERS; i++) {
        struct spool_job *job = s->works[i].job;
        if (job && !job->is_late && late_us(s, job) <= now_us) {
            job->is_late = true;
            job->late(job);
        }
    }
    for (struct spool_job *job; spool_hangs(s) && (job = s->first) && late_us(s, job) <= now_us;) {
        take_off(s, job);
        job->late(job);
    }
    be_patient(s);
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
    be_patient(s);
    return true;
}
