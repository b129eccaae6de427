#include "service/systemd.h"

#include "base/quantity.h"
#include "service/jobs.h"
#include "service/systemd_int.h"
#include "sys/clock.h"
#include "sys/proc.h"
#include "sys/root.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNIT_MAX 256 /* as systemd has it */
/* How a shim begins its last words. */
static const char ended[] = "ended: ";

bool
systemd_is_here(void)
{
    return !root_is_set() && access("/run/systemd/system", F_OK) == 0; /* sd_booted(3) */
}

/* ---- what one is ---- */

static enum service_state
state_of(const struct systemd_unit *u)
{
    const char *state = u->active_state;
    if (text_eq(state, "active") || text_eq(state, "reloading"))
        return SERVICE_READY;
    if (text_eq(state, "activating"))
        return text_starts(u->sub_state, "auto-restart") ? SERVICE_BACKING_OFF : SERVICE_STARTING;
    if (text_eq(state, "deactivating"))
        return SERVICE_STOPPING;
    if (!text_eq(state, "failed"))
        return SERVICE_STOPPED;
    bool not_now = u->exit_code == CLD_EXITED && u->exit_status == EXIT_CODE_TRY_LATER;
    return not_now ? SERVICE_NOT_NOW : SERVICE_FAILED;
}

static const char *
print_end(const struct systemd_unit *u, char text[64])
{
    const struct proc_end end = {u->exit_code != CLD_EXITED, u->exit_status};
    return u->exit_code ? proc_end_print(&end, text) : "it was not started";
}

/* systemd's word for why, where it says more than the end of the process does. */
static const char *
explain_result(const char *result)
{
    static const struct {
        const char *result, *text;
    } rows[] = {
        {"start-limit-hit", "it failed too often, and systemd gave up"},
        {"timeout", "it took longer than it may"},
        {"watchdog", "it gave no sign of life"},
        {"oom-kill", "the machine, or its share of memory, ran out"},
        {"protocol", "it ended before it was ready"},
        {"resources", "systemd lacked what it needs to start it"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (text_eq(result, rows[i].result))
            return rows[i].text;
    return NULL;
}

static void
tell_reason(const struct systemd_unit *u, struct service_status *s)
{
    const char *said = u->status_text, *result = explain_result(u->result);
    char end[64];
    int n;
    if (text_starts(said, ended))
        n = snprintf(s->reason, sizeof(s->reason), "%s%s%s", result ? result : "",
                     result ? ": " : "", said + strlen(ended));
    else
        n = snprintf(s->reason, sizeof(s->reason), "%s%s%s%s%s", result ? result : "",
                     result ? ": " : "", print_end(u, end), said[0] ? "; it was: " : "", said);
    text_make_safe(s->reason, sizeof(s->reason), n);
}

void
systemd_tell(const struct systemd_unit *u, struct service_status *s)
{
    s->state = state_of(u);
    s->since_us = u->since_us;
    s->pid = u->main_pid;
    s->restarts = u->restarts;
    s->last_exit = u->exit_code == 0            ? -1
                   : u->exit_code == CLD_EXITED ? u->exit_status
                                                : 128 + u->exit_status;
    bool troubled = s->state == SERVICE_FAILED || s->state == SERVICE_NOT_NOW ||
                    s->state == SERVICE_BACKING_OFF;
    if (troubled)
        tell_reason(u, s);
    else if (s->state == SERVICE_STOPPED && u->condition_at_us && !u->condition_held)
        (void)snprintf(s->reason, sizeof(s->reason), "a condition of its unit does not hold");
    if (!troubled && s->state != SERVICE_STOPPED)
        (void)snprintf(s->status, sizeof(s->status), "%s", u->status_text);
    if (s->state == SERVICE_BACKING_OFF)
        s->next_us = u->since_us + u->restart_us;
}

/* ---- asking ---- */

#define TEXT(name_, field)                                                        \
    {                                                                             \
        .name = (name_), .type = 's', .at = offsetof(struct systemd_unit, field), \
        .bytes = sizeof(((struct systemd_unit *)NULL)->field)                     \
    }
#define NUMBER(name_, type_, field)                                                  \
    {                                                                                \
        .name = (name_), .type = (type_), .at = offsetof(struct systemd_unit, field) \
    }

static const struct bus_property properties[] = {
    TEXT("LoadState", load_state),
    TEXT("ActiveState", active_state),
    TEXT("SubState", sub_state),
    NUMBER("WantedBy", 'a', wanted),
    NUMBER("ConditionResult", 'b', condition_held),
    NUMBER("ConditionTimestampMonotonic", 't', condition_at_us),
    NUMBER("StateChangeTimestamp", 't', since_us),
    /* of a service */
    TEXT("Result", result),
    TEXT("StatusText", status_text),
    NUMBER("MainPID", 'u', main_pid),
    NUMBER("NRestarts", 'u', restarts),
    NUMBER("ExecMainCode", 'i', exit_code),
    NUMBER("ExecMainStatus", 'i', exit_status),
    NUMBER("RestartUSec", 't', restart_us),
    {.name = NULL},
};
const struct bus_wish systemd_of_service = {"", properties};
static const struct bus_wish of_any_unit = {"org.freedesktop.systemd1.Unit", properties};

int
systemd_status_read(const struct bus *bus, const char *name, struct service_status *ret,
                    struct err *reterr)
{
    struct systemd_unit read = {0};
    char name_of_unit[UNIT_MAX];
    const struct bus_unit unit = {name_of_unit, &read};
    (void)snprintf(name_of_unit, sizeof(name_of_unit), "citadel-%s.service", name);
    int r = bus_read_units(bus, &systemd_of_service, &unit, 1, reterr);
    if (r < 0)
        return r;
    *ret = (struct service_status){0};
    (void)snprintf(ret->name, sizeof(ret->name), "%s", name);
    systemd_tell(&read, ret);
    return 0;
}

int
systemd_state_read(const struct bus *bus, const char *unit, char ret_state[SYSTEMD_STATE_MAX],
                   struct err *reterr)
{
    struct systemd_unit read = {0};
    const struct bus_unit asked = {unit, &read};
    int r = bus_read_units(bus, &of_any_unit, &asked, 1, reterr);
    (void)snprintf(ret_state, SYSTEMD_STATE_MAX, "%s", read.active_state);
    return r;
}

int
systemd_forgive(const char *name, struct err *reterr)
{
    _cleanup_bus_ struct bus bus = {0};
    char unit[UNIT_MAX];
    (void)snprintf(unit, sizeof(unit), "citadel-%s.service", name);
    int r = bus_open(&bus, reterr);
    return r < 0 ? r
                 : bus_call(&bus, BUS_MANAGER_PATH, BUS_MANAGER, "ResetFailedUnit", NULL, reterr,
                            "s", unit);
}

int
systemd_reload(struct err *reterr)
{
    _cleanup_bus_ struct bus bus = {0};
    int r = bus_open(&bus, reterr);
    return r < 0 ? r : bus_call(&bus, BUS_MANAGER_PATH, BUS_MANAGER, "Reload", NULL, reterr, "");
}

/* ---- changing ---- */

struct changing {
    const struct systemd_wish *wish;
    struct systemd_job *jobs; /* as many as wish->count */
    char told[640];
};

static void
tell_progress(const struct bus *bus, const struct systemd_job *job, void *arg)
{
    struct changing *c = arg;
    struct service_status status;
    char now[sizeof(c->told)];
    const char *name = c->wish->names[job - c->jobs];
    if (systemd_status_read(bus, name, &status, NULL) < 0)
        return;
    (void)snprintf(now, sizeof(now), "%s %d %s", status.name, (int)status.state,
                   status.reason[0] ? status.reason : status.status);
    if (!text_eq(now, c->told) && !text_starts(status.status, ended))
        c->wish->progress(&status, c->wish->arg);
    memcpy(c->told, now, sizeof(now));
}

/* systemd's word for how a job ended, as a reason. It forgets a unit that does not run, and why, at
 * once, unless something else holds it. */
static const char *
reason_of(const char *result, const struct service_status *status)
{
    if (text_eq(result, "dependency"))
        return "what it needs could not be started";
    if (text_eq(result, "canceled"))
        return "something else was asked of it meanwhile";
    if (status->reason[0])
        return status->reason;
    return text_eq(result, "done")
               ? "it does not run: a condition of its unit does not hold, or it has ended again"
               : result;
}

/* A start that was done is not always one: a condition of the unit may not hold. */
static int
check(const struct bus *bus, const char *name, const char *result, bool stop, struct err *reterr)
{
    struct service_status s;
    bool done = text_eq(result, "done") || text_eq(result, "skipped");
    if (done && stop)
        return 0;
    int r = systemd_status_read(bus, name, &s, reterr);
    if (r < 0 || (done && s.state == SERVICE_READY))
        return r;
    r = err_set(reterr, s.state == SERVICE_NOT_NOW ? ERR_SERVICE_NOT_NOW : ERR_SERVICE_FAILED,
                "%s: %s", name, reason_of(result, &s));
    if (text_eq(result, "dependency"))
        err_fix(reterr, "systemctl list-dependencies --state=failed citadel-%s.service", name);
    else if (s.state == SERVICE_STOPPED)
        err_fix(reterr, "systemctl status citadel-%s.service; a condition is named there", name);
    else
        err_fix(reterr, "citadel logs %s", name);
    return r;
}

static int
check_all(const struct changing *c, struct err *reterr)
{
    _cleanup_bus_ struct bus bus = {0};
    int r = bus_open(&bus, reterr);
    for (size_t i = 0; r == 0 && i < c->wish->count; i++)
        r = check(&bus, c->wish->names[i], c->jobs[i].result, text_eq(c->wish->verb, "stop"),
                  reterr);
    return r;
}

static const char *
method_of(const char *verb)
{
    static const char *const methods[][2] = {{"start", "StartUnit"},
                                             {"stop", "StopUnit"},
                                             {"restart", "RestartUnit"},
                                             {"reload", "ReloadUnit"}};
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
        if (text_eq(verb, methods[i][0]))
            return methods[i][1];
    assert(false);
    return NULL;
}

int
systemd_change(const struct systemd_wish *wish, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct changing c = {.wish = wish};
    arena_init(&arena, (wish->count + 1) * (sizeof(*c.jobs) + UNIT_MAX));
    c.jobs = arena_alloc(&arena, (wish->count + 1) * sizeof(*c.jobs));
    assert(c.jobs);
    for (size_t i = 0; i < wish->count; i++)
        c.jobs[i] =
            (struct systemd_job){.unit = arena_printf(&arena, "citadel-%s.service", wish->names[i]),
                                 .method = method_of(wish->verb)};
    struct systemd_jobs jobs = {.items = c.jobs,
                                .count = wish->count,
                                .wait = wish->wait,
                                .waiting = wish->progress ? tell_progress : NULL,
                                .arg = &c};
    int r = systemd_jobs_run(&jobs, reterr);
    return r == 0 && wish->wait ? check_all(&c, reterr) : r;
}

/* ---- the end of all ---- */

/* One that systemd refuses does not keep the others. */
static void
stop_listed(const struct bus *bus, const char *unit, void *unused unused_arg)
{
    (void)!bus_call(bus, BUS_MANAGER_PATH, BUS_MANAGER, "StopUnit", NULL, NULL, "ss", unit,
                    "replace");
}

int
systemd_order_end(struct err *reterr)
{
    _cleanup_bus_ struct bus bus = {0};
    int r = bus_open(&bus, reterr);
    return r < 0 ? r : bus_list_units(&bus, "citadel-*", stop_listed, NULL, reterr);
}
