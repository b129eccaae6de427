/* Asleep and awake again: steps, one after the other, each answered before the next. While an engine
 * gives memory up or takes it back, no other may measure what is free: both are done under the start
 * lock, and waking only once the memory is there.
 *
 * Before the first step nothing has changed, and it stays what it was. From there to the last it is
 * neither here nor there: if that fails, it is ended. */

#include "run/shim_int.h"

#include "base/quantity.h"
#include "engine/control.h"
#include "http/local.h"

#include <stdio.h>

#define BROKEN_OFF_US UINT64_C(500000)

static void next_step(struct shim *s);

/* ---- who waits ---- */

static void
answer(struct shim *s, const struct err *err)
{
    for (size_t i = 0; i < SHIM_ASKERS_MAX; i++) {
        struct http_request *r = take_ptr(s->askers[i]);
        if (r && err)
            http_local_answer_error(r, err);
        else if (r)
            control_answer_state(s, r);
    }
}

static void
join(struct shim *s, struct http_request *r)
{
    struct err err;
    for (size_t i = 0; i < SHIM_ASKERS_MAX; i++)
        if (!s->askers[i]) {
            s->askers[i] = r;
            return;
        }
    (void)err_set(&err, ERR_RUN_STATE, "%d others wait for that already", SHIM_ASKERS_MAX);
    err_fix(&err, "ask again when they have been answered");
    http_local_answer_error(r, &err);
}

static void
refuse(struct shim *s, struct http_request *r, const char *what)
{
    struct err err;
    (void)err_set(&err, ERR_RUN_STATE, "it is %s, and cannot %s now",
                  run_phase_word(s->state.phase), what);
    err_fix(&err, "wait for it: citadel status %s", s->model->name);
    http_local_answer_error(r, &err);
}

/* ---- steps ---- */

/* Its log may know more than the answer that it gave. */
static void
fail(struct shim *s, const struct err *err)
{
    const struct err *why = start_has_verdict(s) ? &s->progress.why : err;
    answer(s, why);
    leave(s, why);
}

static void
keep_awake(struct shim *s, const struct err *why)
{
    s->changes = false;
    vigil_sleep(&s->vigil, false, shim_now(s));
    shim_beat(s, VIGIL_BEAT_US);
    room_unlock(s);
    shim_phase(s, RUN_READY, "ready: did not fall asleep: %s", why->what);
    answer(s, why);
}

static void
keep_asleep(struct shim *s, const struct err *why)
{
    room_give_lease(s);
    room_unlock(s);
    shim_phase(s, RUN_SLEEPING, "asleep, level %u: did not wake: %s", s->level, why->what);
    answer(s, why);
}

/* The memory is given back: others may lease it. */
static void
asleep(struct shim *s)
{
    s->changes = false;
    room_give_lease(s);
    room_unlock(s);
    shim_beat(s, VIGIL_BEAT_US);
    s->state.sleep_level = s->level;
    s->state.running = s->state.waiting = s->state.kv_usage = 0;
    shim_phase(s, RUN_SLEEPING, "asleep, level %u", s->level);
    answer(s, NULL);
}

static void
awake(struct shim *s)
{
    s->changes = false;
    room_unlock(s);
    s->state.sleep_level = 0;
    s->healthy_since = shim_now(s);
    vigil_sleep(&s->vigil, false, shim_now(s));
    shim_phase(s, RUN_READY, "ready: awake again");
    answer(s, NULL);
}

static void
end_steps(struct shim *s)
{
    if (s->state.phase == RUN_FALLING_ASLEEP)
        asleep(s);
    else
        watch_try(s, awake); /* waking is believed when it answers; and the first answer is slow */
}

/* The route is closed: then nothing has changed. */
static bool
is_no_route(struct shim *s, unsigned status)
{
    return s->state.phase == RUN_FALLING_ASLEEP && s->steps == engine_sleep_steps(s->level) &&
           (status == 404 || status == 405 || status == 501);
}

static void
on_broken_off(struct loop_timer *timer)
{
    struct shim *s = container_of(timer, struct shim, broken_off_later);
    const struct err err = s->broken_off;
    fail(s, &err);
}

/* An engine that dies closes its connections before it has ended. How it ended is the better reason,
 * and comes in a moment if it comes at all. */
static void
wait_for_end(struct shim *s, const struct err *err)
{
    s->broken_off = *err;
    s->broken_off_later.expired = on_broken_off;
    loop_timer_start(s->loop, &s->broken_off_later, BROKEN_OFF_US, 0);
}

static void
on_step(struct http_call *call, const struct err *error)
{
    struct shim *s = call->user;
    struct err err;
    s->step = NULL;
    s->news_at = shim_now(s);
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
    err_fix(&err, "see its log: citadel logs %s", s->model->name);
    if (error)
        wait_for_end(s, &err);
    else if (is_no_route(s, call->head.status))
        keep_awake(s, &err);
    else
        fail(s, &err);
}

static void
next_step(struct shim *s)
{
    static const struct http_call_ops ops = {.finished = on_step};
    const struct engine_request *request = &s->steps->request;
    if (!s->steps->what) {
        end_steps(s);
        return;
    }
    shim_status(s, "%s", s->steps->what);
    s->step = http_call_new(s->client, request->method, request->path, &ops, s);
    if (request->content_type)
        http_call_field(s->step, "Content-Type", request->content_type);
    http_call_whole(s->step, request->body, request->body_len);
}

static void
begin_steps(struct shim *s, const struct engine_step *steps)
{
    s->changes = true;
    s->news_at = shim_now(s);
    s->steps = steps;
    next_step(s);
}

/* ---- falling asleep ---- */

static void
drain_first(struct shim *s)
{
    s->drains = true;
    vigil_forget_load(&s->vigil);
    watch_ask_metrics(s);
}

static void
fall_asleep(struct shim *s)
{
    if (!vigil_is_idle(&s->vigil)) { /* while it waited for the lock, requests came */
        room_unlock(s);
        drain_first(s);
        return;
    }
    watch_stop(s);
    vigil_sleep(&s->vigil, true, shim_now(s));
    begin_steps(s, engine_sleep_steps(s->level));
}

static void
refuse_busy(struct shim *s)
{
    struct err err;
    quantity_text text;
    if (s->vigil.has_load)
        (void)err_set(&err, ERR_RUN_REQUESTS, "%.0f requests still run after drain_timeout, %s",
                      s->state.running + s->state.waiting,
                      quantity_print_us(s->model->drain_timeout_us, text));
    else
        (void)err_set(&err, ERR_RUN_REQUESTS, "its metrics do not tell whether requests run");
    err_fix(&err, "ask again later; or stop it: citadel stop %s", s->model->name);
    keep_awake(s, &err);
}

static void
check_drained(struct shim *s, uint64_t now)
{
    bool idle = vigil_is_idle(&s->vigil);
    if (!idle && !s->vigil.untold && now < s->until)
        return;
    s->drains = false;
    if (idle)
        room_lock(s, fall_asleep, keep_awake);
    else
        refuse_busy(s);
}

static int
check_can_sleep(const struct shim *s, struct err *reterr)
{
    if (s->kind->can_sleep && s->model->sleep_level)
        return 0;
    int r = err_set(reterr, ERR_RUN_STATE, "this model was not started so that it can sleep");
    err_fix(reterr, "set sleep_level: 1 or 2");
    return r;
}

void
sleep_begin(struct shim *s, struct http_request *r, unsigned level)
{
    enum run_phase phase = s->state.phase;
    struct err err;
    if (check_can_sleep(s, &err) < 0) {
        http_local_answer_error(r, &err);
    } else if (phase == RUN_SLEEPING && level == s->level) {
        control_answer_state(s, r);
    } else if (phase == RUN_FALLING_ASLEEP && level == s->level) {
        join(s, r);
    } else if (phase != RUN_READY && phase != RUN_DEGRADED) {
        refuse(s, r, "fall asleep");
    } else {
        join(s, r);
        s->level = level;
        s->until = shim_now(s) + s->model->drain_timeout_us;
        shim_phase(s, RUN_FALLING_ASLEEP, "falling asleep, level %u", level);
        shim_beat(s, SHIM_DRAIN_BEAT_US);
        drain_first(s);
    }
}

/* ---- waking ---- */

static void
wake(struct shim *s)
{
    begin_steps(s, engine_wake_steps(s->level));
}

void
sleep_wake(struct shim *s, struct http_request *r)
{
    enum run_phase phase = s->state.phase;
    if (phase == RUN_READY || phase == RUN_DEGRADED) {
        control_answer_state(s, r);
    } else if (phase == RUN_WAKING) {
        join(s, r);
    } else if (phase != RUN_SLEEPING) {
        refuse(s, r, "wake");
    } else {
        join(s, r);
        shim_phase(s, RUN_WAKING, "waking");
        room_take(s, wake, keep_asleep);
    }
}

/* ---- time ---- */

void
sleep_tick(struct shim *s, uint64_t now)
{
    struct err err;
    quantity_text text;
    if (s->state.phase == RUN_FALLING_ASLEEP && s->drains)
        check_drained(s, now);
    if (!s->changes || now - s->news_at < s->model->start_stall_limit_us)
        return;
    (void)err_set(&err, ERR_RUN_STEP, "%s: nothing has moved for start_stall_limit, %s",
                  s->hindrance[0] ? s->hindrance : s->state.status,
                  quantity_print_us(s->model->start_stall_limit_us, text));
    err_fix(&err, "see its log: citadel logs %s", s->model->name);
    fail(s, &err);
}

void
sleep_stop(struct shim *s)
{
    struct err err;
    if (s->step)
        http_call_cancel(s->step);
    s->step = NULL;
    loop_timer_stop(&s->broken_off_later);
    s->changes = s->drains = false;
    (void)err_set(&err, ERR_RUN_STATE, "it is being stopped");
    err_fix(&err, "start it again: citadel start %s", s->model->name);
    answer(s, s->why.id != ERR_NONE ? &s->why : &err);
}
