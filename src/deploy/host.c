#include "deploy/host_int.h"

#include "config/config.h"
#include "deploy/drift.h"
#include "lifecycle/lifecycle.h"
#include "run/record.h"
#include "service/jobs.h"
#include "service/journal.h"
#include "service/systemd.h"
#include "sys/clock.h"
#include "sys/command.h"
#include "sys/files.h"
#include "sys/root.h"
#include "unit/rest.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOOL_LIMIT_US (60 * 1000000ULL)

/* ---- what is told ---- */

void
deploy_tell(void *arg, const char *line)
{
    const struct deploy_machine *m = arg;
    m->tell(line, m->arg);
}

void
deploy_tell_waiting(struct deploy_machine *m, const struct service_status *status)
{
    const char *said = status->reason[0] ? status->reason : status->status;
    char line[sizeof(m->told)];
    (void)snprintf(line, sizeof(line), "%s: %s%s%s", status->name,
                   service_state_word(status->state), said[0] ? ": " : "", said);
    if (!text_eq(line, m->told))
        m->tell(line, m->arg);
    memcpy(m->told, line, sizeof(line));
}

void
deploy_tell_order(struct deploy_machine *m, const struct deploy_order *order)
{
    char line[512];
    (void)snprintf(line, sizeof(line), "%s %s", deploy_act_word(order->act), order->unit);
    m->tell(line, m->arg);
}

uint64_t
deploy_limit_us(const struct deploy_machine *m, const struct deploy_order *first)
{
    return first && first->act == DEPLOY_STOP ? 0 : m->deadline_us;
}

bool
deploy_service_of(const char *unit, char name[TEXT_NAME_MAX + 1])
{
    const char *at = unit + strlen("citadel-");
    size_t len = strlen(unit) - strlen("citadel-");
    if (!text_ends(unit, ".service") || len < strlen(".service") ||
        len - strlen(".service") > TEXT_NAME_MAX)
        return false;
    (void)snprintf(name, TEXT_NAME_MAX + 1, "%.*s", (int)(len - strlen(".service")), at);
    return true;
}

/* ---- how a unit is ---- */

/* What a model's record does not tell, and of all others, is a file of its own. */
int
deploy_look_why(const struct config *config, const char *unit, enum deploy_life *ret,
                struct err *reterr)
{
    char name[TEXT_NAME_MAX + 1];
    struct run_record record = {0};
    int r = deploy_service_of(unit, name)
                ? run_record_load(config->paths.state, name, &record, reterr)
                : 0;
    bool by_breaker = lifecycle_is_breakers(&record);
    bool rests = record.wanted.state == RUN_WANTED_UNSAID
                     ? unit_rests(config->paths.generations, unit)
                     : record.wanted.state == RUN_WANTED_STOPPED;
    bool is_shunned = rests || (record.hold.set && !by_breaker);
    *ret = is_shunned ? DEPLOY_SHUNNED : by_breaker ? DEPLOY_HELD : DEPLOY_RESTS;
    return r;
}

/* The configuration need not be the one that has it. */
static bool
is_model(const struct config *config, const char *unit, char name[TEXT_NAME_MAX + 1])
{
    return deploy_service_of(unit, name) &&
           (config_find_model(config, name) || run_record_has_place(config->paths.state, name));
}

int
deploy_want_model(const struct deploy_machine *m, const char *unit, bool runs, struct err *reterr)
{
    const struct run_record_wish change = {runs ? RUN_WANTED_STARTED : RUN_WANTED_STOPPED, m->by};
    char name[TEXT_NAME_MAX + 1];
    if (!is_model(m->config, unit, name))
        return 0;
    return run_record_change(m->config->paths.state, name, run_record_wish, &change, NULL, reterr);
}

static int
wish(void *arg, const char *unit, bool runs, struct err *reterr)
{
    const struct deploy_machine *s = arg;
    const char *store = s->config->paths.generations;
    int r = runs ? unit_rest_end(store, unit, reterr) : unit_rest_begin(store, unit, reterr);
    return r < 0 ? r : deploy_want_model(s, unit, runs, reterr);
}

static int
look(void *arg, const char *unit, const char *text unused_arg, enum deploy_life *ret,
     struct err *reterr)
{
    const struct deploy_machine *s = arg;
    char state[SYSTEMD_STATE_MAX];
    int r = systemd_state_read(&s->bus, unit, state, reterr);
    if (r < 0)
        return r;
    *ret = DEPLOY_RUNS;
    bool rests = text_eq(state, "inactive") || text_eq(state, "failed");
    return rests ? deploy_look_why(s->config, unit, ret, reterr) : 0;
}

/* ---- accounts and directories ---- */

static int
link_host(const char *store, struct err *reterr)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < DEPLOY_HOST_LINKS; i++) {
        const struct deploy_host_link *link = &deploy_host_links[i];
        if (deploy_host_link_is_right(link, store))
            continue;
        _cleanup_free_ char *dir =
            mem_strndup(link->at, (size_t)(strrchr(link->at, '/') - link->at));
        _cleanup_free_ char *target = mem_printf("%s/current/units/%s", store, link->file);
        r = file_make_dirs(dir, 0755, reterr);
        if (r == 0)
            r = file_link(link->at, target, reterr);
    }
    return r;
}

/* Whether something that is mended by linking and reading anew is not as it should be. */
static int
check(void *arg, bool *ret_behind, struct err *reterr)
{
    const struct deploy_machine *s = arg;
    _cleanup_arena_ struct arena arena;
    struct deploy_drift *items;
    struct err err;
    size_t count;
    arena_init(&arena, 1 * MIB);
    int r = deploy_find_drift(s->config->paths.generations, true, &arena, &items, &count, &err);
    *ret_behind = false;
    for (size_t i = 0; r == 0 && i < count; i++)
        *ret_behind |= items[i].mended;
    if (r == 0 || err.id != ERR_GENERATION_DAMAGED) {
        if (reterr && r < 0)
            *reterr = err;
        return r;
    }
    *ret_behind = true; /* a damaged one is replaced */
    return 0;
}

/* What would be links to nothing. */
static int
unlink_host(const char *store, struct err *reterr)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < DEPLOY_HOST_LINKS; i++)
        if (deploy_host_link_is_right(&deploy_host_links[i], store))
            r = file_remove_tree(deploy_host_links[i].at, reterr);
    return r;
}

static int
prepare(void *arg, bool deployed, struct err *reterr)
{
    static const char *const tools[][4] = {{"systemd-sysusers", NULL},
                                           {"systemd-tmpfiles", "--create", "citadel.conf", NULL}};
    const struct deploy_machine *s = arg;
    if (!deployed)
        return unlink_host(s->config->paths.generations, reterr);
    int r = link_host(s->config->paths.generations, reterr);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(tools); i++)
        r = command_insist(tools[i], TOOL_LIMIT_US, reterr);
    return r;
}

static int
reload(void *arg unused_arg, struct err *reterr)
{
    return systemd_reload(reterr);
}

/* ---- orders ---- */

static void
on_waiting(const struct bus *bus, const struct systemd_job *job, void *arg)
{
    struct service_status status;
    char name[TEXT_NAME_MAX + 1];
    if (deploy_service_of(job->unit, name) && systemd_status_read(bus, name, &status, NULL) == 0)
        deploy_tell_waiting(arg, &status);
}

static const char *
method_of(enum deploy_act act)
{
    switch (act) {
    case DEPLOY_STOP:
        return "StopUnit";
    case DEPLOY_START:
        return "StartUnit";
    case DEPLOY_RESTART:
        return "RestartUnit";
    case DEPLOY_RELOAD:
        return "ReloadUnit";
    }
    assert(false);
    return NULL;
}

/* Of programs of ours, how an error begins. */
#define ERROR "citadel: "
#define LAST_LINES 10 /* that are looked at: the error, what may help, and systemd's own words */

struct last_error {
    char *text;
    size_t room;
};

static bool
keep_error(uint64_t at_us unused_arg, const char *name unused_arg, const char *text, size_t len,
           void *arg)
{
    struct last_error *last = arg;
    size_t skip = sizeof(ERROR) - 1;
    if (len > skip && memcmp(text, ERROR, skip) == 0) {
        int n = snprintf(last->text, last->room, "%.*s", (int)(len - skip), text + skip);
        text_make_safe(last->text, last->room, n);
    }
    return true;
}

/* One that works still, and could not take a change, has no state that tells why. */
static void
find_error(const char *name, char *text, size_t room)
{
    struct last_error last = {text, room};
    const struct journal_wish wish = {
        .names = &name, .count = 1, .lines = LAST_LINES, .line = keep_error, .arg = &last};
    uint64_t lines;
    struct err err;
    text[0] = '\0';
    if (journal_read(&wish, &lines, &err) < 0)
        (void)snprintf(text, room, "%s", err.what);
}

static void
explain(const struct systemd_job *job, const char *state, const struct service_status *status,
        struct deploy_order *o)
{
    const char *why = status->reason[0] ? status->reason : status->status;
    if (!job->result[0])
        (void)snprintf(o->reason, sizeof(o->reason), "it is not ready by its deadline%s%.400s",
                       why[0] ? ": " : "", why);
    else if (why[0])
        (void)snprintf(o->reason, sizeof(o->reason), "%s", why);
    else
        (void)snprintf(o->reason, sizeof(o->reason), "systemd's job for it: %s; it is %s",
                       job->result, state);
}

/* A job that is done has not always come to anything; and of a service there is a reason. */
static int
judge(const struct bus *bus, const struct systemd_job *job, struct deploy_order *o,
      struct err *reterr)
{
    struct service_status status = {0};
    char name[TEXT_NAME_MAX + 1], state[SYSTEMD_STATE_MAX];
    bool is_service = deploy_service_of(o->unit, name);
    int r = systemd_state_read(bus, o->unit, state, reterr);
    if (r == 0 && is_service)
        r = systemd_status_read(bus, name, &status, reterr);
    if (r < 0)
        return r;
    bool active = text_eq(state, "active") || text_eq(state, "reloading");
    /* One that is not up yet reads it when it starts. */
    if (o->act == DEPLOY_RELOAD && text_eq(job->result, "invalid"))
        return 0;
    o->failed = o->act == DEPLOY_STOP ? !text_eq(job->result, "done")
                                      : !active || !text_eq(job->result, "done");
    if (!o->failed)
        return 0;
    if (is_service && active && o->act == DEPLOY_RELOAD)
        find_error(name, o->reason, sizeof(o->reason));
    if (!o->reason[0])
        explain(job, state, &status, o);
    return 0;
}

static void
end_breaker(struct run_record *record, const void *unused unused_arg)
{
    if (lifecycle_is_breakers(record))
        record->hold.set = false;
    run_record_forgive(record, NULL);
}

int
deploy_forgive(const struct config *config, const struct deploy_order *o, struct err *reterr)
{
    char name[TEXT_NAME_MAX + 1];
    bool starts = o->act == DEPLOY_START || o->act == DEPLOY_RESTART;
    if (!starts || !o->changed || !is_model(config, o->unit, name))
        return 0;
    return run_record_change(config->paths.state, name, end_breaker, NULL, NULL, reterr);
}

static int
carry_out(void *arg, struct deploy_order *orders, size_t count, struct err *reterr)
{
    struct deploy_machine *s = arg;
    uint64_t limit_us = deploy_limit_us(s, count ? &orders[0] : NULL);
    int r = 0;
    for (size_t i = 0; r == 0 && i < count; i++)
        r = deploy_forgive(s->config, &orders[i], reterr);
    if (r < 0)
        return r;
    struct systemd_job *items = mem_alloc((count + 1) * sizeof(*items));
    struct systemd_jobs jobs = {.items = items,
                                .count = count,
                                .wait = true,
                                .deadline_us = limit_us ? clock_now_us() + limit_us : 0,
                                .waiting = on_waiting,
                                .arg = s};
    for (size_t i = 0; i < count; i++) {
        deploy_tell_order(s, &orders[i]);
        /* A target would take with it what a person has stopped. */
        items[i] = (struct systemd_job){
            .unit = orders[i].unit,
            .method = method_of(orders[i].act),
            .mode = text_ends(orders[i].unit, ".target") ? "ignore-dependencies" : NULL};
    }
    r = systemd_jobs_run(&jobs, reterr);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = judge(&s->bus, &items[i], &orders[i], reterr);
    free(items);
    return r;
}

int
deploy_open_systemd(struct deploy_machine *machine, struct deploy_host *ret_host,
                    struct err *reterr)
{
    *ret_host = (struct deploy_host){.check = check,
                                     .look = look,
                                     .wish = wish,
                                     .prepare = prepare,
                                     .reload = reload,
                                     .carry_out = carry_out,
                                     .tell = deploy_tell,
                                     .arg = machine};
    return bus_open(&machine->bus, reterr);
}

void
deploy_machine_close(struct deploy_machine *machine)
{
    bus_close(&machine->bus);
}

/* ---- without systemd ---- */

static int
look_at_nothing(void *arg unused_arg, const char *unit unused_arg, const char *text unused_arg,
                enum deploy_life *ret, struct err *reterr unused_arg)
{
    *ret = DEPLOY_NOBODYS;
    return 0;
}

static int
check_nothing(void *arg unused_arg, bool *ret_behind, struct err *reterr unused_arg)
{
    *ret_behind = false;
    return 0;
}

static int
prepare_nothing(void *arg unused_arg, bool deployed unused_arg, struct err *reterr unused_arg)
{
    return 0;
}

static int
do_nothing(void *arg unused_arg, struct err *reterr unused_arg)
{
    return 0;
}

static int
wish_nothing(void *arg unused_arg, const char *unit unused_arg, bool runs unused_arg,
             struct err *reterr unused_arg)
{
    return 0;
}

struct deploy_host
deploy_open_files(struct deploy_machine *machine)
{
    /* Who looks at nothing has nothing to carry out. */
    return (struct deploy_host){.check = check_nothing,
                                .look = look_at_nothing,
                                .wish = wish_nothing,
                                .prepare = prepare_nothing,
                                .reload = do_nothing,
                                .tell = deploy_tell,
                                .arg = machine};
}
