#include "lifecycle/lifecycle.h"

#include "base/quantity.h"

#include <stdarg.h>
#include <stdio.h>

#define S_US UINT64_C(1000000)

#define REST_DELAYS 30 /* of the budget: with 10 s, five minutes */
#define REST_MAX_US (3600 * S_US)
/* A restart by others goes through `stopped`, too. */
#define SETTLE_US (3 * S_US)
/* Whoever is busy may miss one, or two. */
#define SILENT_LOOKS 3
/* The shim itself gives up an engine that hangs, after stall_limit: what stays degraded for longer than
 * twice that, and this, is one that the shim did not understand. */
#define DEGRADED_MARGIN_US (60 * S_US)

static const enum event_kind events[] = {
#define ACT(name, event, help) [LIFECYCLE_##name] = EVENT_##event,
    LIFECYCLE_ACTS(ACT)
#undef ACT
};

enum event_kind
lifecycle_act_event(enum lifecycle_act act)
{
    assert(act > LIFECYCLE_NOTHING && act < LIFECYCLE_ACT_COUNT);
    return events[act];
}

/* ---- what is asked of a model as it is seen ---- */

struct looking {
    struct lifecycle *l;
    const struct lifecycle_seen *seen;
    const struct service_status *status; /* of seen, likewise: */
    const struct run_record *record;
    uint64_t now_us;
    struct lifecycle_decision *decision;
};

static void decide(struct looking *k, enum lifecycle_act act, const char *fmt, ...)
    printf_like(3, 4);

static void
decide(struct looking *k, enum lifecycle_act act, const char *fmt, ...)
{
    struct lifecycle_decision *d = k->decision;
    va_list args;
    d->act = act;
    va_start(args, fmt);
    text_make_safe(d->why, sizeof(d->why), vsnprintf(d->why, sizeof(d->why), fmt, args));
    va_end(args);
}

/* Whether it is so long ago; else that is when to look again. A clock that was set back makes it wait
 * no longer than from now on. */
static bool
is_past(struct looking *k, uint64_t since_us, uint64_t wait_us)
{
    uint64_t from_us = MIN(since_us, k->now_us);
    if (k->now_us - from_us >= wait_us)
        return true;
    k->decision->next_us = MIN(k->decision->next_us, from_us + wait_us);
    return false;
}

/* It runs, or whoever runs it will start it by itself. */
static bool
is_up(const struct service_status *s)
{
    if (s->state == SERVICE_NOT_NOW)
        return s->next_us != 0;
    return s->state == SERVICE_WAITING || s->state == SERVICE_STARTING ||
           s->state == SERVICE_READY || s->state == SERVICE_BACKING_OFF;
}

static bool
is_hopeless(const struct service_status *s)
{
    return s->state == SERVICE_FAILED && s->last_exit == EXIT_CODE_USAGE;
}

bool
lifecycle_is_breakers(const struct run_record *record)
{
    return record->hold.set && record->hold.kind == RUN_HOLD_BREAKER;
}

enum lifecycle_breaker
lifecycle_breaker(const struct run_record *record, const struct budget *budget)
{
    if (lifecycle_is_breakers(record))
        return LIFECYCLE_OPENED;
    return !record->hold.set && record->failures >= budget->burst ? LIFECYCLE_HALF_OPEN
                                                                  : LIFECYCLE_CLOSED;
}

uint64_t
lifecycle_rest_us(const struct budget *budget, unsigned failures)
{
    uint64_t rest = MIN(REST_DELAYS * budget->delay_us, REST_MAX_US);
    unsigned trials = failures > budget->burst ? MIN(failures - budget->burst, 16u) : 0;
    return MIN(rest << trials, REST_MAX_US);
}

/* ---- by its state ---- */

static void
open_breaker(struct looking *k, unsigned failures, const char *last)
{
    quantity_text rest;
    failures = MAX(failures, k->seen->budget.burst);
    decide(k, LIFECYCLE_OPEN, "it failed %u times in a row; it is tried again in %s. The last: %s",
           failures, quantity_print_us(lifecycle_rest_us(&k->seen->budget, failures), rest), last);
}

/* The budget of who runs it may be spent where the record knows of fewer failures: a shim that was
 * killed has written none. */
static void
look_at_failing(struct looking *k)
{
    const struct service_status *s = k->status;
    bool spent = k->record->failures >= k->seen->budget.burst;
    if (is_hopeless(s))
        decide(k, LIFECYCLE_NOTHING, "it will never work as it is: %s", s->reason);
    else if (spent || s->state == SERVICE_FAILED)
        open_breaker(k, k->record->failures, s->reason);
}

static void
look_at_not_now(struct looking *k)
{
    const struct service_status *s = k->status;
    bool due = s->next_us == 0 && is_past(k, s->since_us, service_not_now_delay(k->l->again));
    if (k->l->was_held)
        decide(k, LIFECYCLE_AGAIN, "the hold was lifted");
    else if (k->seen->has_room)
        decide(k, LIFECYCLE_AGAIN, "what it lacked may be there now");
    else if (due)
        decide(k, LIFECYCLE_AGAIN, "it is tried now and then: %s", s->reason);
    else
        decide(k, LIFECYCLE_NOTHING, "%s", s->reason);
    if (k->decision->act == LIFECYCLE_AGAIN)
        k->l->again++;
}

/* A busy engine answers late, and is never ended for that. */
static bool
is_degraded_for_good(struct looking *k)
{
    const struct run_state *run = k->seen->run;
    if (!run || run->phase != RUN_DEGRADED || run->why.id == ERR_ENGINE_SLOW)
        return false;
    return is_past(k, run->since_us, 2 * k->seen->stall_us + DEGRADED_MARGIN_US);
}

static void
look_at_ready(struct looking *k)
{
    const struct lifecycle_seen *seen = k->seen;
    const struct service_status *s = k->status;
    const char *why = seen->silent_looks >= SILENT_LOOKS ? LIFECYCLE_SILENT
                      : is_degraded_for_good(k)          ? seen->run->why.what
                                                         : NULL;
    bool failed = s->restarts || k->record->trial_us;
    k->l->again = 0;
    if (why && seen->restart_unhealthy && k->record->failures + 1 >= seen->budget.burst)
        open_breaker(k, k->record->failures + 1, why);
    else if (why && seen->restart_unhealthy)
        decide(k, LIFECYCLE_RESTART, "%s", why);
    else if (!why && failed && k->l->forgiven_us != s->since_us &&
             is_past(k, s->since_us, seen->budget.forgive_us)) {
        k->l->forgiven_us = s->since_us;
        decide(k, LIFECYCLE_FORGIVE,
               "it has been well for so long that earlier failures are history");
    }
}

/* A trial of a monitor that was killed: the hold was lifted, and the model never started. */
static void
look_at_stopped(struct looking *k)
{
    uint64_t rest = lifecycle_rest_us(&k->seen->budget, k->record->failures);
    if (k->record->trial_us > k->record->last.at_us && is_past(k, k->record->trial_us, rest))
        decide(k, LIFECYCLE_TRY, "the last trial was not begun");
}

static void (*const by_state[SERVICE_STATE_COUNT])(struct looking *k) = {
    [SERVICE_STOPPED] = look_at_stopped,     [SERVICE_READY] = look_at_ready,
    [SERVICE_BACKING_OFF] = look_at_failing, [SERVICE_FAILED] = look_at_failing,
    [SERVICE_NOT_NOW] = look_at_not_now,
};

/* ---- by what is wanted of it ---- */

static void
look_at_held(struct looking *k)
{
    const struct run_record *record = k->record;
    uint64_t rest = lifecycle_rest_us(&k->seen->budget, record->failures);
    quantity_text text;
    if (!lifecycle_is_breakers(record)) {
        decide(k, LIFECYCLE_NOTHING, "it is held by %s: %s", record->hold.by, record->hold.why);
    } else if (is_up(k->status)) {
        decide(k, LIFECYCLE_STOP, "it is held by %s, and runs", record->hold.by);
    } else if (k->status->state == SERVICE_STOPPING) {
        decide(k, LIFECYCLE_NOTHING, "it is held by %s, and ends", record->hold.by);
    } else if (is_past(k, record->hold.since_us, rest)) {
        decide(k, LIFECYCLE_TRY, "after %u failures it has rested for %s", record->failures,
               quantity_print_us(rest, text));
    } else {
        decide(k, LIFECYCLE_NOTHING, "%s", record->hold.why);
    }
}

bool
lifecycle_has_turned(const struct lifecycle *l, const struct service_status *status)
{
    return l->looked && l->was_up != is_up(status);
}

/* What went down, or came up, without our doing: then a person, or one of his commands, has done it. */
static bool
is_done_by_others(struct looking *k)
{
    const struct service_status *s = k->status;
    bool stopped = k->record->wanted.state == RUN_WANTED_STOPPED;
    bool runs = s->state == SERVICE_STARTING || s->state == SERVICE_READY;
    bool can_be_told = k->l->looked && !lifecycle_is_breakers(k->record) && !k->seen->is_deploying;
    if (!can_be_told)
        return false;
    if (!stopped && s->state == SERVICE_STOPPED && k->l->was_up && !k->seen->is_stopping_with_all) {
        if (is_past(k, s->since_us, SETTLE_US))
            decide(k, LIFECYCLE_LEAVE, "it was stopped, and not by us");
        return true;
    }
    if (stopped && runs && !k->l->was_up && s->since_us > k->record->wanted.since_us) {
        decide(k, LIFECYCLE_TAKE_UP, "it was started, and not by us");
        return true;
    }
    return false;
}

/* That it ran is forgotten once it is known why it does not any more. */
static void
remember(const struct looking *k)
{
    const struct lifecycle_seen *seen = k->seen;
    bool explained = seen->asked_to || seen->is_stopping_with_all || seen->is_deploying ||
                     lifecycle_is_breakers(k->record) ||
                     k->record->wanted.state == RUN_WANTED_STOPPED ||
                     k->decision->act == LIFECYCLE_LEAVE;
    k->l->looked = true;
    k->l->was_held = k->record->hold.set;
    if (k->status->state == SERVICE_STOPPED)
        k->l->was_up &= !explained;
    else if (k->status->state == SERVICE_STOPPING)
        k->l->was_up &= !seen->is_deploying; /* which may be killed before it has ended */
    else
        k->l->was_up = is_up(k->status);
}

void
lifecycle_look(struct lifecycle *l, const struct lifecycle_seen *seen, uint64_t now_us,
               struct lifecycle_decision *ret_decision)
{
    struct looking k = {.l = l,
                        .seen = seen,
                        .status = seen->status,
                        .record = seen->record,
                        .now_us = now_us,
                        .decision = ret_decision};
    *ret_decision = (struct lifecycle_decision){.next_us = UINT64_MAX};
    if (seen->asked_to || seen->is_stopping_with_all || is_done_by_others(&k))
        ;
    else if (k.record->wanted.state == RUN_WANTED_STOPPED)
        decide(&k, LIFECYCLE_NOTHING, "%s has stopped it", k.record->wanted.by);
    else if (k.record->hold.set)
        look_at_held(&k);
    else if (by_state[seen->status->state])
        by_state[seen->status->state](&k);
    remember(&k);
}

/* ---- changes of the record ---- */

void
lifecycle_open(struct run_record *record, const void *arg)
{
    const struct lifecycle_change *change = arg;
    record->failures = MAX(record->failures, change->burst);
    record->hold.set = true;
    record->hold.kind = RUN_HOLD_BREAKER;
    record->hold.since_us = change->at_us;
    (void)snprintf(record->hold.by, sizeof(record->hold.by), RUN_BREAKER);
    text_make_safe(record->hold.why, sizeof(record->hold.why),
                   snprintf(record->hold.why, sizeof(record->hold.why), "%s", change->why));
}

void
lifecycle_try(struct run_record *record, const void *arg)
{
    const struct lifecycle_change *change = arg;
    record->hold.set = false;
    record->trial_us = change->at_us;
}

void
lifecycle_unwell(struct run_record *record, const void *arg)
{
    const struct lifecycle_change *change = arg;
    run_record_fail(record, change->at_us);
}
