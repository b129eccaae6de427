/* Asleep and awake again: steps, one after the other, each answered before the next. */

#include "run/shim_int.h"

#include "engine/control.h"
#include "sys/log.h"

#include <stdio.h>

static void next_step(struct shim *s);

static void
answer(struct shim *s, const struct err *err)
{
    struct http_request *r = s->asker;
    s->asker = NULL;
    if (r && err)
        control_answer_error(r, err);
    else if (r)
        control_answer_state(s, r);
}

/* Half asleep, an engine gives nonsense or crashes: it is ended, and started anew. */
static void
fail(struct shim *s, const struct err *err)
{
    answer(s, err);
    leave(s, err);
}

/* The memory is given back: others may lease it. */
static void
asleep(struct shim *s)
{
    if (s->has_lease)
        gpu_lease_release(&s->lease);
    s->has_lease = false;
    s->state.sleep_level = s->level;
    shim_phase(s, RUN_SLEEPING, "asleep, level %u", s->level);
    answer(s, NULL);
}

static void
awake(struct shim *s)
{
    s->state.sleep_level = 0;
    vigil_init(&s->vigil, s->model->stall_limit_us, shim_now(s));
    shim_phase(s, RUN_READY, "ready: awake again");
    watch_ask_canary(s); /* waking is believed when it answers */
    answer(s, NULL);
}

static void
on_step(struct http_call *call, const struct err *error)
{
    struct shim *s = call->user;
    struct err err;
    s->step = NULL;
    if (!error && call->head.status == 200) {
        s->steps++;
        next_step(s);
        return;
    }
    if (error)
        (void)err_set(&err, ERR_RUN_STEP, "%s: %s", s->steps->what, error->what);
    else
        (void)err_set(&err, ERR_RUN_STEP, "%s: the engine answered %u", s->steps->what,
                      call->head.status);
    fail(s, &err);
}

static void
next_step(struct shim *s)
{
    static const struct http_call_ops ops = {.finished = on_step};
    const struct engine_request *request = &s->steps->request;
    if (!s->steps->what) {
        if (s->state.phase == RUN_FALLING_ASLEEP)
            asleep(s);
        else
            awake(s);
        return;
    }
    shim_status(s, "%s", s->steps->what);
    s->step = http_call_new(s->patient, request->method, request->path, &ops, s);
    if (request->content_type)
        http_call_field(s->step, "Content-Type", request->content_type);
    http_call_whole(s->step, request->body, request->body_len);
}

static void
refuse(struct http_request *r, const char *what, const char *fix)
{
    struct err err;
    (void)err_set(&err, ERR_RUN_STATE, "%s", what);
    if (fix)
        err_fix(&err, "%s", fix);
    control_answer_error(r, &err);
}

void
sleep_begin(struct shim *s, struct http_request *r, unsigned level)
{
    char what[128];
    if (!s->kind->can_sleep || s->model->sleep_level == 0) {
        refuse(r, "this model was not started so that it can sleep", "set sleep_level: 1 or 2");
        return;
    }
    if (s->state.phase != RUN_READY) {
        (void)snprintf(what, sizeof(what), "it is %s, and only a model that is ready can sleep",
                       run_phase_word(s->state.phase));
        refuse(r, what, NULL);
        return;
    }
    if (s->state.running + s->state.waiting > 0) {
        (void)snprintf(what, sizeof(what), "%.0f requests are under way",
                       s->state.running + s->state.waiting);
        refuse(r, what, "wait until they have ended");
        return;
    }
    watch_stop(s);
    s->asker = r;
    s->level = level;
    s->steps = engine_sleep_steps(level);
    shim_phase(s, RUN_FALLING_ASLEEP, "falling asleep, level %u", level);
    next_step(s);
}

void
sleep_wake(struct shim *s, struct http_request *r)
{
    char what[128];
    struct err err;
    if (s->state.phase != RUN_SLEEPING) {
        (void)snprintf(what, sizeof(what), "it is %s: nothing to wake",
                       run_phase_word(s->state.phase));
        refuse(r, what, NULL);
        return;
    }
    if (s->state.gpu_count && gpu_lease_take(&s->lease, s->config->paths.run, 0, &err) < 0) {
        control_answer_error(r, &err);
        return;
    }
    s->has_lease = s->state.gpu_count > 0;
    s->asker = r;
    s->steps = engine_wake_steps(s->level);
    shim_phase(s, RUN_WAKING, "waking");
    next_step(s);
}

void
sleep_stop(struct shim *s)
{
    struct err err;
    if (s->step)
        http_call_cancel(s->step);
    s->step = NULL;
    (void)err_set(&err, ERR_RUN_STATE, "the model is being stopped");
    if (s->asker)
        answer(s, s->why.id != ERR_NONE ? &s->why : &err);
}
