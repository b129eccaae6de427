#include "lifecycle/why.h"

#include "base/quantity.h"

#include <stdarg.h>
#include <stdio.h>

#define NOTHING_ELSE "nothing, until a person does something"
#define NOBODY_WATCHES "nothing: the monitor does not run, which would try it again"

struct telling {
    const struct why_known *known;
    const struct run_record *record;
    uint64_t now_us;
    struct why_told *told;
};

static void say(char *text, size_t room, const char *fmt, ...) printf_like(3, 4);

static void
say(char *text, size_t room, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    text_make_safe(text, room, vsnprintf(text, room, fmt, args));
    va_end(args);
}

#define say_wrong(t, ...) say((t)->told->wrong, sizeof((t)->told->wrong), __VA_ARGS__)
#define say_next(t, ...) say((t)->told->next, sizeof((t)->told->next), __VA_ARGS__)
#define say_fix(t, ...) say((t)->told->fix, sizeof((t)->told->fix), __VA_ARGS__)

/* "in 5m", or "now" when that is past. */
static const char *
until(const struct telling *t, uint64_t at_us, char text[64])
{
    quantity_text left;
    uint64_t s = at_us > t->now_us ? (at_us - t->now_us + 999999) / 1000000 : 0;
    (void)snprintf(text, 64, s ? "in %s" : "now", quantity_print_us(s * 1000000, left));
    return text;
}

static void
say_own_fix(struct telling *t, const char *otherwise)
{
    const struct err *last = &t->record->last.err;
    if (last->id != ERR_NONE && last->fix[0])
        say_fix(t, "%s", last->fix);
    else
        say_fix(t, "%s %s", otherwise, t->known->name);
}

/* When the monitor acts next, if it does. */
static void
say_monitor(struct telling *t, const char *what)
{
    const struct lifecycle_decision *d = t->known->decision;
    char when[64];
    if (!t->known->monitor_runs)
        say_next(t, NOBODY_WATCHES);
    else if (d && d->next_us != UINT64_MAX)
        say_next(t, "%s %s", what, until(t, d->next_us, when));
    else
        say_next(t, "%s", what);
}

/* ---- by what was decided about it ---- */

static bool
tell_plan(struct telling *t)
{
    const struct plan_model *planned = t->known->planned;
    if (!planned || plan_fate_is_possible(planned->fate))
        return false;
    say_wrong(t, "%s", planned->reason);
    say_next(t, NOTHING_ELSE);
    say_fix(t, "%s", planned->fix);
    return true;
}

static bool
tell_loss(struct telling *t)
{
    if (!t->known->model.lost)
        return false;
    say_wrong(t, "%s", t->known->model.lost);
    say_next(t, "nothing: nobody knows whether a person has stopped or holds it");
    say_fix(t, "citadel storage verify");
    return true;
}

/* A person's stop comes before what the breaker holds, as for the monitor. */
static bool
tell_wish(struct telling *t)
{
    const struct run_record *r = t->record;
    const struct service_status *s = t->known->model.status;
    bool is_gone = !s || s->state == SERVICE_STOPPED || s->state == SERVICE_FAILED ||
                   s->state == SERVICE_NOT_NOW;
    if (r->wanted.state == RUN_WANTED_STOPPED && is_gone) {
        say_wrong(t, "%s has stopped it", r->wanted.by);
        say_next(t, NOTHING_ELSE);
        say_fix(t, "citadel start %s", t->known->name);
    } else if (lifecycle_is_breakers(r)) {
        say_wrong(t, "%s", r->hold.why);
        say_monitor(t, "it is tried once");
        say_fix(t, "citadel logs %s; when it is mended: citadel start %s", t->known->name,
                t->known->name);
    } else if (r->hold.set) {
        say_wrong(t, "it is held by %s: %s", r->hold.by, r->hold.why);
        say_next(t, NOTHING_ELSE);
        say_fix(t, "citadel start %s", t->known->name);
    } else {
        return false;
    }
    return true;
}

/* ---- by its state ---- */

static void
tell_stopped(struct telling *t)
{
    const struct plan_model *planned = t->known->planned;
    if (t->known->model.status->reason[0])
        say_wrong(t, "it does not run: %s", t->known->model.status->reason);
    else if (planned)
        say_wrong(t, "it does not run; %s: %s", plan_fate_word(planned->fate), planned->reason);
    else
        say_wrong(t, "it does not run, and nobody has stopped it");
    say_next(t, NOTHING_ELSE);
    say_fix(t, "citadel start %s", t->known->name);
}

static void
tell_starting(struct telling *t)
{
    quantity_text most;
    say_wrong(t, "it is not ready yet: %s", t->known->model.status->status);
    say_next(t, "it is ready when it answers; it is ended when it makes no progress, or after %s",
             quantity_print_us(t->known->times.budget.start_us, most));
    say_fix(t, "citadel logs %s", t->known->name);
}

static void
tell_ready(struct telling *t)
{
    const struct run_state *run = t->known->model.run;
    if (t->known->model.is_silent) {
        say_wrong(t, "it runs, and " LIFECYCLE_SILENT);
        say_monitor(t, "it is restarted if that goes on");
        say_fix(t, "citadel restart %s", t->known->name);
    } else if (run && !run_phase_is_healthy(run->phase)) {
        say_wrong(t, "%s", run->why.id != ERR_NONE ? run->why.what : run_phase_word(run->phase));
        say_next(t, "it may recover; an engine that hangs is ended by its shim, and started again");
        say_fix(t, "%s%s", run->why.fix[0] ? run->why.fix : "citadel logs ",
                run->why.fix[0] ? "" : t->known->name);
    } else {
        say_wrong(t, "nothing: %s", t->known->model.status->status);
        say_next(t, "nothing");
    }
}

static void
tell_stopping(struct telling *t)
{
    say_wrong(t, "it is being stopped: %s", t->known->model.status->status);
    say_next(t, "it finishes what it has begun, and ends");
    say_fix(t, "citadel status %s", t->known->name);
}

static void
tell_backing_off(struct telling *t)
{
    const struct service_status *s = t->known->model.status;
    char when[64];
    say_wrong(t, "it failed: %s", s->reason);
    say_next(t, "it is started again %s; after %u failures in a row the breaker opens",
             until(t, s->next_us, when), t->known->times.budget.burst);
    say_own_fix(t, "citadel logs");
}

static void
tell_not_now(struct telling *t)
{
    const struct service_status *s = t->known->model.status;
    char when[64];
    say_wrong(t, "%s", s->reason[0] ? s->reason : "it lacks something that may come");
    if (s->next_us)
        say_next(t, "it is started when that is there, or tried %s", until(t, s->next_us, when));
    else
        say_monitor(t, "it is started when that is there, or tried");
    say_own_fix(t, "citadel start");
}

static void
tell_failed(struct telling *t)
{
    const struct service_status *s = t->known->model.status;
    if (s->last_exit == EXIT_CODE_USAGE) {
        say_wrong(t, "it will never work as it is: %s", s->reason);
        say_next(t, NOTHING_ELSE);
    } else {
        say_wrong(t, "it failed too often: %s", s->reason);
        say_monitor(t, "the monitor opens the breaker, and tries it now and then");
    }
    say_own_fix(t, "citadel logs");
}

static void (*const by_state[SERVICE_STATE_COUNT])(struct telling *t) = {
    [SERVICE_STOPPED] = tell_stopped,   [SERVICE_WAITING] = tell_starting,
    [SERVICE_STARTING] = tell_starting, [SERVICE_READY] = tell_ready,
    [SERVICE_STOPPING] = tell_stopping, [SERVICE_BACKING_OFF] = tell_backing_off,
    [SERVICE_NOT_NOW] = tell_not_now,   [SERVICE_FAILED] = tell_failed,
};

/* What the record still knows when nobody tells how it is. */
static void
tell_unknown(struct telling *t)
{
    const struct run_record *r = t->record;
    if (r->last.at_us == 0)
        say_wrong(t, "whether it runs is not known (%s); it has never ended", t->known->no_status);
    else if (r->last.err.id == ERR_NONE)
        say_wrong(t, "whether it runs is not known (%s); it was asked to end the last time",
                  t->known->no_status);
    else
        say_wrong(t, "whether it runs is not known (%s); the last time it ended because: %s",
                  t->known->no_status, r->last.err.what);
    say_next(t, "nothing: nobody runs the services");
    say_fix(t, "citadel up, or systemctl start citadel-ai.target");
}

void
lifecycle_why(const struct why_known *known, uint64_t now_us, struct why_told *ret_told)
{
    struct telling t = {
        .known = known, .record = known->model.record, .now_us = now_us, .told = ret_told};
    const char *why;
    *ret_told = (struct why_told){0};
    if (tell_plan(&t))
        return;
    ret_told->well = known->model.status && lifecycle_is_well(&known->model, &why);
    if (tell_loss(&t) || tell_wish(&t))
        return;
    if (known->model.status)
        by_state[known->model.status->state](&t);
    else
        tell_unknown(&t);
}

void
lifecycle_why_keeper(const struct why_known *known, struct why_told *ret_told)
{
    const struct service_status *s = known->model.status;
    struct telling t = {.known = known, .told = ret_told};
    *ret_told = (struct why_told){0};
    if (!s) {
        say_wrong(&t, "whether it runs is not known (%s)", known->no_status);
        say_next(&t, NOTHING_ELSE);
        say_fix(&t, "citadel status");
        return;
    }
    bool again = s->state == SERVICE_BACKING_OFF;
    ret_told->well = !again && s->state != SERVICE_FAILED && s->state != SERVICE_STOPPED;
    say_wrong(&t, "%s",
              ret_told->well ? "nothing"
              : s->reason[0] ? s->reason
                             : service_state_word(s->state));
    say_next(&t, "%s", again ? "it is started again" : ret_told->well ? "nothing" : NOTHING_ELSE);
    if (s->state == SERVICE_STOPPED)
        say_fix(&t, "citadel start %s", known->name);
    else if (!ret_told->well)
        say_fix(&t, "citadel logs %s; then citadel start %s", known->name, known->name);
}
