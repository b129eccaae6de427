/* What is known of each service, and what is done about it. */

#include "role/monitor_int.h"

#include "base/mem.h"
#include "config/config.h"
#include "deploy/under_way.h"
#include "run/marker.h"
#include "sys/clock.h"
#include "sys/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* An order that shows no effect for so long is given again, if it is still due. */
#define ORDER_US UINT64_C(20000000)
#define REFUSED_US UINT64_C(60000000) /* what could not be done is tried again, or read */
#define KEPT_US UINT64_C(2000000)     /* likewise, the first time that another has the record */
/* Models that were stopped as one take so long to end at most; then each is its own again. */
#define STOPPED_US UINT64_C(300000000)
#define LOOK_MAX_US UINT64_C(3600000000) /* a wall clock may be set */
#define OTHERS "another command"

struct watched *
monitor_find(struct monitor *m, const char *name)
{
    vec_foreach (&m->services, at)
        if (text_eq((*at)->status.name, name))
            return *at;
    return NULL;
}

/* ---- doing ---- */

void
monitor_order(struct watched *w, enum service_order order)
{
    w->asked = order != SERVICE_ORDER_FORGIVE;
    w->asked_at_us = w->status.since_us;
    service_watch_order(w->monitor->watch, w->status.name, order);
    if (w->asked)
        loop_timer_start(w->monitor->loop, &w->due, ORDER_US, 0);
}

/* Others wait meanwhile. Most who keep a record are done with it soon: it is told of those who are
 * not. */
static int
change_record(struct watched *w, void (*change)(struct run_record *record, const void *arg),
              const void *arg)
{
    struct err err = {0};
    int r = run_record_try(w->monitor->config->paths.state, w->status.name, change, arg, &w->record,
                           &err);
    w->kept = err.id == ERR_CHANGE_BUSY ? w->kept + 1 : 0;
    if (r < 0 && w->kept != 1)
        monitor_tell(w->monitor, EVENT_REFUSED, w->status.name, NULL, "its record: %s", err.what);
    return r;
}

/* The record first, then the order: who takes over in between decides the same. */
static const struct {
    void (*change)(struct run_record *record, const void *arg);
    int order; /* -1: none */
} deeds[LIFECYCLE_ACT_COUNT] = {
    [LIFECYCLE_OPEN] = {lifecycle_open, SERVICE_ORDER_STOP},
    [LIFECYCLE_STOP] = {NULL, SERVICE_ORDER_STOP},
    [LIFECYCLE_TRY] = {lifecycle_try, SERVICE_ORDER_START},
    [LIFECYCLE_AGAIN] = {NULL, SERVICE_ORDER_AGAIN},
    [LIFECYCLE_RESTART] = {lifecycle_unwell, SERVICE_ORDER_RESTART},
    [LIFECYCLE_FORGIVE] = {NULL, SERVICE_ORDER_FORGIVE},
    [LIFECYCLE_LEAVE] = {run_record_wish, -1},
    [LIFECYCLE_TAKE_UP] = {run_record_wish, -1},
};

static void
do_it(struct watched *w)
{
    const struct lifecycle_decision *d = &w->decision;
    const struct lifecycle_change change = {d->why, clock_wall_us(), w->times.budget.burst};
    const struct run_record_wish wish = {
        d->act == LIFECYCLE_LEAVE ? RUN_WANTED_STOPPED : RUN_WANTED_STARTED, OTHERS};
    bool is_wish = deeds[d->act].change == run_record_wish;
    const void *arg = is_wish ? (const void *)&wish : &change;
    if (deeds[d->act].change && change_record(w, deeds[d->act].change, arg) < 0) {
        w->asked = true; /* as if it had been: it is decided again after a while */
        w->asked_at_us = w->status.since_us;
        loop_timer_start(w->monitor->loop, &w->due, w->kept == 1 ? KEPT_US : REFUSED_US, 0);
        return;
    }
    monitor_tell(w->monitor, lifecycle_act_event(d->act), w->status.name, NULL, "%s", d->why);
    if (deeds[d->act].order >= 0)
        monitor_order(w, (enum service_order)deeds[d->act].order);
}

/* ---- deciding ---- */

static bool
is_stopping_with_all(const struct monitor *m)
{
    struct run_marker marker;
    if (m->stopped_us && clock_wall_us() < m->stopped_us + STOPPED_US)
        return true;
    run_marker_read(m->config->paths.run, &marker);
    return marker.set;
}

static void
note_breaker(struct watched *w)
{
    enum lifecycle_breaker now = lifecycle_breaker(&w->record, &w->times.budget);
    if (w->breaker == LIFECYCLE_HALF_OPEN && now == LIFECYCLE_CLOSED &&
        w->status.state == SERVICE_READY)
        monitor_tell(w->monitor, EVENT_BREAKER_CLOSED, w->status.name, NULL,
                     "it has proved itself, and its failures are forgotten");
    w->breaker = now;
}

/* Without it nobody knows whether a person has stopped or holds the model. */
static bool
read_record(struct watched *w)
{
    struct run_record record;
    struct err err;
    bool was_lost = w->lost.id != ERR_NONE;
    int r = run_record_load(w->monitor->config->paths.state, w->status.name, &record, &err);
    w->lost = r < 0 ? err : (struct err){0};
    if (r < 0 && !was_lost)
        monitor_tell(w->monitor, EVENT_RECORD_LOST, w->status.name, NULL, "%s", err.what);
    if (r == 0 && was_lost)
        monitor_tell(w->monitor, EVENT_RECORD_BACK, w->status.name, NULL, "it can be read again");
    if (r == 0)
        w->record = record;
    return r == 0;
}

void
monitor_look(struct watched *w)
{
    struct monitor *m = w->monitor;
    if (!w->model || !w->is_there)
        return;
    if (!read_record(w)) {
        loop_timer_start(m->loop, &w->due, REFUSED_US, 0);
        return;
    }
    note_breaker(w);
    const struct lifecycle_seen seen = {
        .status = &w->status,
        .record = &w->record,
        .run = w->has_run ? &w->run : NULL,
        .silent_looks = w->silent_looks,
        .asked_to = w->asked,
        .is_stopping_with_all = is_stopping_with_all(m),
        .is_deploying = !w->asked && lifecycle_has_turned(&w->memory, &w->status) &&
                        deploy_was_under_way(m->config->paths.state, w->status.since_us),
        .has_room = w->status.state == SERVICE_NOT_NOW && !w->asked && monitor_has_room(w),
        .restart_unhealthy = m->config->monitor.restart_unhealthy,
        .stall_us = w->model->stall_limit_us,
        .budget = w->times.budget,
    };
    uint64_t now = clock_wall_us();
    lifecycle_look(&w->memory, &seen, now, &w->decision);
    if (w->asked)
        return;
    loop_timer_stop(&w->due);
    bool is_released = w->is_released && !w->record.hold.set;
    w->is_released = false;
    if (is_released && w->record.wanted.state != RUN_WANTED_STOPPED)
        monitor_order(w, SERVICE_ORDER_START);
    else if (w->decision.act != LIFECYCLE_NOTHING)
        do_it(w);
    else if (w->decision.next_us != UINT64_MAX)
        loop_timer_start(m->loop, &w->due,
                         MIN(w->decision.next_us - MIN(now, w->decision.next_us), LOOK_MAX_US), 0);
}

static void
on_due(struct loop_timer *timer)
{
    struct watched *w = container_of(timer, struct watched, due);
    w->asked = false;
    monitor_look(w);
}

void
monitor_look_all(struct monitor *m)
{
    vec_foreach (&m->services, at)
        monitor_look(*at);
}

/* ---- seeing ---- */

static struct watched *
add(struct monitor *m, const char *name)
{
    struct watched *w = mem_new(struct watched);
    *w = (struct watched){.monitor = m,
                          .model = config_find_model(m->config, name),
                          .status.state = SERVICE_STATE_COUNT,
                          .due.expired = on_due};
    (void)snprintf(w->status.name, sizeof(w->status.name), "%s", name);
    if (w->model)
        w->times = plan_times_of(w->model);
    vec_push(&m->services, w);
    return w;
}

/* One that is not a model any more is only seen. */
void
monitor_services_configure(struct monitor *m)
{
    vec_foreach (&m->services, at) {
        struct watched *w = *at;
        w->model = config_find_model(m->config, w->status.name);
        if (w->model)
            w->times = plan_times_of(w->model);
        else
            loop_timer_stop(&w->due);
    }
}

/* What others lack may be what this one has given back. */
static void
wake_others(struct watched *gone)
{
    vec_foreach (&gone->monitor->services, at)
        (*at)->was_woken |= *at != gone && monitor_lacks_something(*at);
}

static void
note_change(struct watched *w, const struct service_status *now)
{
    static const struct {
        bool told;
        enum event_kind kind;
    } rows[SERVICE_STATE_COUNT] = {
        [SERVICE_STARTING] = {true, EVENT_STARTING},   [SERVICE_READY] = {true, EVENT_READY},
        [SERVICE_STOPPED] = {true, EVENT_STOPPED},     [SERVICE_FAILED] = {true, EVENT_FAILED},
        [SERVICE_BACKING_OFF] = {true, EVENT_CRASHED}, [SERVICE_NOT_NOW] = {true, EVENT_NOT_NOW},
    };
    bool starts = now->state == SERVICE_STARTING; /* and its reason is that of the last end */
    const char *text = now->reason[0] && !starts ? now->reason : now->status;
    if (rows[now->state].told)
        monitor_tell(w->monitor, rows[now->state].kind, now->name, NULL, "%s",
                     text[0] ? text : service_state_word(now->state));
}

static void
take_status(struct watched *w, const struct service_status *now)
{
    bool first = !w->is_there;
    bool changed = w->status.state != now->state || w->status.since_us != now->since_us;
    w->is_there = true;
    if (!changed) {
        w->status = *now;
        return;
    }
    if (!first && w->status.state != now->state)
        note_change(w, now);
    if (!first && (now->state == SERVICE_STOPPED || now->state == SERVICE_FAILED))
        wake_others(w);
    w->asked &= now->since_us == w->asked_at_us;
    w->status = *now;
    w->has_run = w->knows_lacked = w->was_woken = false;
    w->silent_looks = 0;
    if (now->state == SERVICE_READY)
        monitor_ask(w);
}

static void
on_seen(void *arg, const struct service_view *view)
{
    struct monitor *m = arg;
    if (m->lost)
        monitor_tell(m, EVENT_WATCH_BACK, NULL, NULL, "services can be seen again");
    m->lost = false;
    m->stopped_us = view->stopped_us;
    vec_foreach (&m->services, at)
        (*at)->is_there &= service_view_find(view, (*at)->status.name) != NULL;
    vec_foreach (&view->items, seen) {
        struct watched *w = monitor_find(m, seen->status.name);
        take_status(w ? w : add(m, seen->status.name), &seen->status);
    }
    monitor_look_all(m);
    monitor_watch_room(m);
}

static void
on_lost(void *arg, const struct err *why)
{
    struct monitor *m = arg;
    m->lost = true;
    m->lost_why = *why;
    monitor_tell(m, EVENT_WATCH_LOST, NULL, NULL, "%s", why->what);
}

static void
on_ordered(void *arg, const char *name, enum service_order order, const struct err *why)
{
    struct monitor *m = arg;
    struct watched *w = monitor_find(m, name);
    if (why->id == ERR_NONE || !w)
        return;
    monitor_tell(m, EVENT_REFUSED, name, NULL, "%s: %s", service_order_word(order), why->what);
    if (w->asked)
        loop_timer_start(m->loop, &w->due, REFUSED_US, 0);
}

const struct service_watch_ops monitor_watch_ops = {
    .seen = on_seen, .lost = on_lost, .ordered = on_ordered};

void
monitor_services_close(struct monitor *m)
{
    vec_foreach (&m->services, at) {
        loop_timer_stop(&(*at)->due);
        if ((*at)->client)
            http_client_free((*at)->client);
        free(*at);
    }
    vec_finish(&m->services);
}
