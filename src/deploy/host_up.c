/* The machine whose services `citadel up` runs: asked at its control socket, and looked at until each has
 * come to what was ordered. */

#include "deploy/host_int.h"

#include "config/config.h"
#include "service/client.h"
#include "service/reread.h"
#include "sys/clock.h"
#include "unit/unit.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define LOOK_AGAIN_MS 100

/* ---- how a unit is ---- */

/* What systemd would find inactive or failed. */
static bool
rests(enum service_state state)
{
    return state == SERVICE_STOPPED || state == SERVICE_FAILED || state == SERVICE_NOT_NOW;
}

/* How it was started, and what it was to take up since, it says itself. */
static enum deploy_life
compare(const struct service_status *status, const char *text)
{
    char at_start[SERVICE_NUMBER_MAX], live[SERVICE_NUMBER_MAX], engine[SERVICE_ENGINE_MAX];
    if (!text)
        return DEPLOY_RUNS;
    unit_value_of(text, UNIT_AT_START, at_start, sizeof(at_start));
    unit_value_of(text, UNIT_LIVE, live, sizeof(live));
    unit_value_of(text, UNIT_ENGINE, engine, sizeof(engine));
    if (!text_eq(at_start, status->at_start) || !text_eq(engine, status->engine))
        return DEPLOY_RUNS_ELSE;
    return text_eq(live, status->live) ? DEPLOY_RUNS_SO : DEPLOY_RUNS_LIVE;
}

/* That there would be a service for it. */
static bool
is_supervised(const char *name, const char *text)
{
    return text && (text_eq(name, SERVICE_MONITOR) || unit_care_of(text) == UNIT_CARE_STOP_FIRST);
}

static int
look(void *arg, const char *unit, const char *text, enum deploy_life *ret, struct err *reterr)
{
    _cleanup_service_view_ struct service_view view = {0};
    const struct deploy_machine *m = arg;
    char name[TEXT_NAME_MAX + 1];
    *ret = DEPLOY_NOBODYS;
    if (!deploy_service_of(unit, name))
        return 0;
    int r = service_view_read(m->config->paths.run, &view, reterr);
    if (r < 0)
        return r;
    const struct service_seen *seen = service_view_find(&view, name);
    if (seen && !rests(seen->status.state))
        *ret = compare(&seen->status, text);
    else if (seen || is_supervised(name, text))
        r = deploy_look_why(m->config, unit, ret, reterr);
    return r;
}

static int
list(void *arg, struct arena *arena, const char ***ret_units, size_t *ret_count, struct err *reterr)
{
    _cleanup_service_view_ struct service_view view = {0};
    const struct deploy_machine *m = arg;
    int r = service_view_read(m->config->paths.run, &view, reterr);
    if (r < 0)
        return r;
    *ret_count = 0;
    *ret_units = arena_alloc(arena, (view.items.count + 1) * sizeof(**ret_units));
    if (*ret_units)
        vec_foreach (&view.items, seen)
            (*ret_units)[(*ret_count)++] =
                arena_printf(arena, "citadel-%s.service", seen->status.name);
    return arena->full ? err_set(reterr, ERR_TOO_LARGE, "there are too many services") : 0;
}

static int
check(void *arg, bool *ret_behind, struct err *reterr)
{
    _cleanup_service_view_ struct service_view view = {0};
    const struct deploy_machine *m = arg;
    unsigned current;
    int r = generation_of(m->config->paths.generations, GENERATION_CURRENT, &current, reterr);
    if (r == 0)
        r = service_view_read(m->config->paths.run, &view, reterr);
    *ret_behind = r == 0 && current && view.source.generation != current;
    return r;
}

/* What is no model is stopped as long as it is, and no longer. */
static int
wish(void *arg, const char *unit, bool runs, struct err *reterr)
{
    return deploy_want_model(arg, unit, runs, reterr);
}

/* Accounts and directories are those of whoever runs it. */
static int
prepare(void *arg unused_arg, bool deployed unused_arg, struct err *reterr unused_arg)
{
    return 0;
}

static int
reload(void *arg, struct err *reterr)
{
    const struct deploy_machine *m = arg;
    return service_ask_read(m->config->paths.run, SERVICE_READ_GENERATION, reterr);
}

/* ---- orders ---- */

/* One that goes on is known by not having an end. */
struct task {
    struct deploy_order *order;
    char name[TEXT_NAME_MAX + 1];
    bool done;
};

static void
fail(struct task *t, const char *why)
{
    t->done = t->order->failed = true;
    (void)snprintf(t->order->reason, sizeof(t->order->reason), "%s", why);
}

/* What keeps one from being ordered is its failure; the others are ordered all the same. */
static void
begin(const struct deploy_machine *m, struct task *t)
{
    const char *run_dir = m->config->paths.run;
    struct err err = {0};
    int r = deploy_forgive(m->config, t->order, &err);
    if (r == 0)
        r = t->order->act == DEPLOY_RELOAD
                ? service_reread_all(run_dir, t->name, &err)
                : service_ask(run_dir, t->name, deploy_act_word(t->order->act), &err);
    t->done = t->order->act == DEPLOY_RELOAD;
    if (r < 0)
        fail(t, err.what);
}

static void
judge(struct task *t, const struct service_seen *seen)
{
    const struct service_status *s = seen ? &seen->status : NULL;
    bool stops = t->order->act == DEPLOY_STOP;
    if (!s && !stops)
        fail(t, "citadel up has no such service");
    else if (stops)
        t->done = !s || rests(s->state);
    else if (s->state == SERVICE_STOPPED)
        fail(t, "it was stopped meanwhile by somebody else");
    else if (s->state == SERVICE_BACKING_OFF || rests(s->state))
        fail(t, s->reason);
    else
        t->done = s->state == SERVICE_READY;
}

static void
give_up(struct task *t, const struct service_seen *seen)
{
    char why[sizeof(t->order->reason)];
    const char *said =
        seen ? seen->status.reason[0] ? seen->status.reason : seen->status.status : "";
    (void)snprintf(why, sizeof(why), "it is not ready by its deadline%s%.400s", said[0] ? ": " : "",
                   said);
    fail(t, why);
}

/* How many go on. */
static size_t
look_at_all(struct deploy_machine *m, const struct service_view *view, struct task *tasks,
            size_t count, bool late)
{
    size_t open = 0;
    for (size_t i = 0; i < count; i++) {
        const struct service_seen *seen = service_view_find(view, tasks[i].name);
        if (!tasks[i].done)
            judge(&tasks[i], seen);
        if (!tasks[i].done && late)
            give_up(&tasks[i], seen);
        if (!tasks[i].done && open++ == 0 && seen)
            deploy_tell_waiting(m, &seen->status);
    }
    return open;
}

static int
await(struct deploy_machine *m, struct task *tasks, size_t count, struct err *reterr)
{
    uint64_t limit_us = deploy_limit_us(m, count ? tasks[0].order : NULL);
    uint64_t until = limit_us ? clock_now_us() + limit_us : UINT64_MAX;
    for (;;) {
        _cleanup_service_view_ struct service_view view = {0};
        int r = service_view_read(m->config->paths.run, &view, reterr);
        if (r < 0 || look_at_all(m, &view, tasks, count, clock_now_us() >= until) == 0)
            return r;
        (void)poll(NULL, 0, LOOK_AGAIN_MS);
    }
}

static int
carry_out(void *arg, struct deploy_order *orders, size_t count, struct err *reterr)
{
    struct deploy_machine *m = arg;
    struct task *tasks = mem_alloc((count + 1) * sizeof(*tasks));
    for (size_t i = 0; i < count; i++) {
        tasks[i] = (struct task){.order = &orders[i]};
        bool is_service = deploy_service_of(orders[i].unit, tasks[i].name);
        assert(is_service); /* of others, look() says that nobody has them */
        deploy_tell_order(m, &orders[i]);
        begin(m, &tasks[i]);
    }
    int r = await(m, tasks, count, reterr);
    free(tasks);
    return r;
}

struct deploy_host
deploy_open_up(struct deploy_machine *machine)
{
    return (struct deploy_host){.check = check,
                                .look = look,
                                .list = list,
                                .wish = wish,
                                .prepare = prepare,
                                .reload = reload,
                                .carry_out = carry_out,
                                .tell = deploy_tell,
                                .arg = machine};
}
