#include "sys/work.h"

#include "base/mem.h"
#include "sys/loop_int.h"

#include <stdlib.h>

struct work_state {
    uv_work_t request;
    struct work *work;
};

static void
on_thread(uv_work_t *request)
{
    struct work_state *state = request->data;
    state->work->run(state->work);
}

static void
on_done(uv_work_t *request, int status)
{
    struct work_state *state = request->data;
    struct work *work = state->work;
    work->state = NULL;
    free(state);
    work->done(work, status == UV_ECANCELED);
}

void
work_start(struct loop *loop, struct work *work)
{
    assert(!work->state);
    work->state = mem_new(struct work_state);
    work->state->work = work;
    work->state->request.data = work->state;
    int r = uv_queue_work(&loop->uv, &work->state->request, on_thread, on_done);
    assert(r == 0);
}

bool
work_cancel(struct work *work)
{
    return work->state && uv_cancel((uv_req_t *)&work->state->request) == 0;
}
