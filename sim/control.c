/* Faults on command: POST /sim/fault {"fault": "NAME[@WHEN][*TIMES]"}, GET to ask, DELETE to mend. */

#include "sim/ask.h"
#include "sim/routes.h"
#include "sim/sim.h"
#include "sys/log.h"

void
control_tell(struct call *call, const struct value *body unused_arg)
{
    struct json_writer w = call_open_map(call);
    faults_print(&call->sim->faults, &w);
    json_close_map(&w);
    call_answer_out(call);
}

static void
on_strike(struct loop_defer *defer)
{
    faults_look(&container_of(defer, struct sim, strike)->faults);
}

/* At the end of the pass, when the answer is on its way: the fault may be the last thing that we do. */
static void
add_fault(struct call *call, bool answered unused_arg)
{
    struct sim *sim = call->sim;
    struct err err;
    if (faults_add(&sim->faults, call->work, &err) < 0)
        log_err(&err);
    sim->strike.run = on_strike;
    loop_defer(sim->loop, &sim->strike);
}

void
control_add(struct call *call, const struct value *body)
{
    static const struct call_ops ops = {.finished = add_fault};
    struct fault_wish *wish = arena_new(&call->arena, struct fault_wish);
    struct ask ask = {.call = call, .body = body};
    const char *text = ask_needed_text(&ask, "fault");
    struct err err;
    if (!wish)
        ask_fail_of_memory(&ask);
    else if (text && fault_parse(text, wish, &err) < 0)
        ask_fail(&ask, "%s", err.what);
    else if (call->sim->faults.wish_count == FAULTS_MAX)
        ask_fail(&ask, "more than %d faults are to come", FAULTS_MAX);
    if (ask.failed)
        return;
    call->work = wish;
    call->ops = &ops;
    call_answer(call, 200, "application/json", "{}", 2);
}

void
control_clear(struct call *call, const struct value *body)
{
    life_mend(call->sim);
    control_tell(call, body);
}
