#include "sys/work.h"

#include "base/mem.h"
#include "sys/loop_int.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS_MIN 4
#define NICE_ALONE 5

struct work_state {
    uv_work_t request; /* of the pool; or */
    bool is_alone;
    uv_thread_t thread;
    uv_async_t ended; /* which keeps the loop alive */
    struct work *work;
    struct loop *loop;
    struct work_state *next, *previous; /* of that loop */
};

static void
on_thread(uv_work_t *request)
{
    struct work_state *state = request->data;
    state->work->run(state->work);
}

static void
tell(struct work_state *state, bool cancelled)
{
    struct work *work = state->work;
    work->state = NULL;
    *(state->previous ? &state->previous->next : &state->loop->works) = state->next;
    if (state->next)
        state->next->previous = state->previous;
    free(state);
    work->done(work, cancelled);
}

static void
on_done(uv_work_t *request, int status)
{
    tell(request->data, status == UV_ECANCELED);
}

static struct work_state *
new_state(struct loop *loop, struct work *work)
{
    assert(!work->state);
    struct work_state *state = work->state = mem_new(struct work_state);
    state->work = work;
    state->loop = loop;
    state->next = loop->works;
    if (state->next)
        state->next->previous = state;
    loop->works = state;
    return state;
}

static void
queue(struct work_state *state)
{
    state->request.data = state;
    int r = uv_queue_work(&state->loop->uv, &state->request, on_thread, on_done);
    assert(r == 0);
}

void
work_start(struct loop *loop, struct work *work)
{
    queue(new_state(loop, work));
}

const char *
work_unwritten(const struct loop *loop, size_t i)
{
    for (const struct work_state *state = loop->works; state; state = state->next)
        if (state->work->writes && i-- == 0)
            return state->work->writes;
    return NULL;
}

static bool
is_written(const struct loop *loop)
{
    return !work_unwritten(loop, 0);
}

bool
work_write_out(struct loop *loop, uint64_t limit_us)
{
    return loop_run_until(loop, is_written, limit_us);
}

bool
work_cancel(struct work *work)
{
    return work->state && !work->state->is_alone &&
           uv_cancel((uv_req_t *)&work->state->request) == 0;
}

/* ---- alone ---- */

static void
on_own_thread(void *arg)
{
    struct work_state *state = arg;
    (void)!nice(NICE_ALONE); /* in Linux this thread's; where it may not, it works all the same */
    state->work->run(state->work);
    (void)uv_async_send(&state->ended);
}

/* Timers are served next, in the same pass. */
static void
on_closed(uv_handle_t *ended)
{
    struct work_state *state = ended->data;
    struct loop *loop = state->loop;
    tell(state, false);
    loop_forget_time(loop);
}

static void
on_closed_unused(uv_handle_t *ended)
{
    queue(ended->data);
}

static void
on_ended(uv_async_t *ended)
{
    struct work_state *state = ended->data;
    (void)uv_thread_join(&state->thread);
    uv_close((uv_handle_t *)ended, on_closed);
}

void
work_start_alone(struct loop *loop, struct work *work)
{
    struct work_state *state = new_state(loop, work);
    int r = uv_async_init(&loop->uv, &state->ended, on_ended);
    assert(r == 0);
    state->ended.data = state;
    state->is_alone = uv_thread_create(&state->thread, on_own_thread, state) == 0;
    if (!state->is_alone)
        uv_close((uv_handle_t *)&state->ended, on_closed_unused);
}

void
work_let_others(void)
{
    (void)sched_yield();
}

unsigned
work_use_all_cores(void)
{
    char threads[16];
    cpu_set_t cores;
    unsigned count = 1;
    if (sched_getaffinity(0, sizeof(cores), &cores) == 0)
        count = (unsigned)MAX(CPU_COUNT(&cores), 1);
    (void)snprintf(threads, sizeof(threads), "%u", MAX(count, (unsigned)THREADS_MIN));
    (void)setenv("UV_THREADPOOL_SIZE", threads, 0); /* where libuv reads it */
    return count;
}
