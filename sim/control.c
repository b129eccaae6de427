/* Faults on command: POST /sim/fault {"fault": "NAME[@WHEN][*TIMES]"}, GET to ask, DELETE to mend. */

#include "sim/ask.h"
#include "sim/routes.h"
#include "sim/sim.h"

void
control_tell(struct call *call, const struct value *body unused_arg)
{
    struct json_writer w;
    buf_clear(&call->out);
    json_init(&w, &call->out, false);
    json_open_map(&w, NULL);
    faults_print(&call->sim->faults, &w);
    json_close_map(&w);
    call_answer_out(call);
}

/* The answer is on its way before the fault strikes: it may be the last thing that we do. */
static void
on_time(struct loop_timer *timer)
{
    struct call *call = container_of(timer, struct call, delay);
    struct err err;
    if (faults_add(&call->sim->faults, call->work, &err) < 0)
        call_fail(call, 400, "BadRequestError", "fault", "%s", err.what);
    else if (!call->status)
        control_tell(call, NULL);
}

void
control_add(struct call *call, const struct value *body)
{
    struct ask ask = {.call = call, .body = body};
    const char *text = NULL;
    if (!ask_needed(&ask, "fault") || !ask_text(&ask, "fault", &text))
        return;
    call->work = (void *)(uintptr_t)text;
    on_time(&call->delay);
}

void
control_clear(struct call *call, const struct value *body)
{
    life_mend(call->sim);
    control_tell(call, body);
}
