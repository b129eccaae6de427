/* The control socket: one function for each row of api/operations.def that is the monitor's. */

#include "role/monitor_int.h"

#include "api/operations.h"
#include "base/mem.h"
#include "base/quantity.h"
#include "config/config.h"
#include "fmt/json.h"
#include "gpu/lease.h"
#include "gpu/memory.h"
#include "gpu/nvml.h"
#include "http/local.h"
#include "lifecycle/ensure.h"
#include "run/marker.h"
#include "run/wish.h"
#include "sys/account.h"
#include "sys/clock.h"
#include "sys/files.h"
#include "sys/sock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 100 /* unless it is asked for others */
#define EVENTS_MAX 1000
#define FRESH_US UINT64_C(2000000) /* GPUs that were read since then need not be again */

struct asking {
    struct monitor *monitor;
    struct http_request *request;
    struct watched *service;   /* NULL: the operation names none */
    char by[ACCOUNT_TEXT_MAX]; /* who asks for a change */
    uint64_t lines;            /* of the history */
    char why[201];             /* of a hold; "": it was not told */
};

/* One who waits for the GPUs to be read. */
struct ensuring {
    struct asking asking; /* request NULL: nobody waits for the answer any more */
};

static void
answer(struct http_request *r, unsigned status,
       void (*print)(const struct asking *a, struct json_writer *w), const struct asking *a)
{
    _cleanup_buf_ struct buf body = BUF_INIT(CONTROL_ANSWER_MAX);
    struct json_writer w;
    json_init(&w, &body, false);
    print(a, &w);
    buf_add_char(&body, '\n');
    http_local_answer(r, status, &body);
}

/* ---- state ---- */

static void
print_gpus(const struct gpus *g, struct json_writer *w)
{
    json_open_map(w, "gpus");
    json_str(w, "error", g->err.id == ERR_NONE ? NULL : g->err.what);
    json_bool(w, "hung", g->hung);
    json_open_list(w, "items");
    for (size_t i = 0; g->known && i < g->inventory.count; i++) {
        const struct gpu *gpu = &g->inventory.gpus[i];
        struct gpu_memory_use use;
        json_open_map(w, NULL);
        json_u64(w, "index", gpu->index);
        json_str(w, "uuid", gpu->uuid);
        json_str(w, "name", gpu->name);
        json_str(w, "trouble", gpu->trouble ? nvml_code_text(gpu->trouble) : NULL);
        if (gpu_memory_use(gpu, &use)) {
            json_u64(w, "total_bytes", use.total_bytes);
            json_u64(w, "free_bytes", use.free_bytes);
        }
        json_close_map(w);
    }
    json_close_list(w);
    json_close_map(w);
}

static void
print_places(const struct places *places, struct json_writer *w)
{
    json_open_list(w, "storage");
    for (unsigned i = 0; places->known && i < PLACE_COUNT; i++) {
        const struct place *d = &places->items[i];
        json_open_map(w, NULL);
        json_str(w, "name", place_word((enum place_kind)i));
        json_str(w, "path", d->path);
        json_bool(w, "needed", d->needed);
        json_str(w, "error", d->err.id == ERR_NONE ? NULL : d->err.what);
        json_u64(w, "total_bytes", d->total_bytes);
        json_u64(w, "free_bytes", d->free_bytes);
        json_close_map(w);
    }
    json_close_list(w);
}

static void
print_state(const struct asking *a, struct json_writer *w)
{
    const struct monitor *m = a->monitor;
    json_open_map(w, NULL);
    json_u64(w, "pid", (uint64_t)getpid());
    json_u64(w, "since_us", m->since_us);
    json_str(w, "by", service_watch_is_by_systemd(m->watch) ? "systemd" : "citadel up");
    json_str(w, "lost", m->lost ? m->lost_why.what : NULL);
    json_u64(w, "services", m->services.count);
    json_i64(w, "history_errno", m->history_errno);
    print_gpus(&m->gpus, w);
    print_places(m->places, w);
    json_close_map(w);
}

static void
on_STATE(struct asking *a)
{
    answer(a->request, 200, print_state, a);
}

/* ---- services ---- */

static void
print_service(const struct watched *service, struct json_writer *w)
{
    static const char *const breakers[] = {"closed", "open", "half-open"};
    const struct lifecycle_decision *d = &service->decision;
    struct lifecycle_known known = monitor_known(service);
    json_open_map(w, NULL);
    service_status_print(&service->status, w);
    lifecycle_print_health(&known, w);
    if (service->has_run)
        json_str(w, "phase", run_phase_word(service->run.phase));
    if (service->has_run && service->run.slots)
        json_u64(w, "slots", service->run.slots);
    if (service->model) {
        json_str(w, "breaker",
                 breakers[lifecycle_breaker(&service->record, &service->times.budget)]);
        json_bool(w, "ordered", service->asked);
        json_str(w, "waits", d->why[0] ? d->why : NULL);
        if (d->next_us != UINT64_MAX)
            json_u64(w, "look_us", d->next_us);
    }
    json_close_map(w);
}

static void
print_services(const struct asking *a, struct json_writer *w)
{
    const struct monitor *m = a->monitor;
    json_open_map(w, NULL);
    json_str(w, "lost", m->lost ? m->lost_why.what : NULL);
    json_open_list(w, "services");
    vec_foreach (&m->services, at)
        if ((*at)->is_there)
            print_service(*at, w);
    json_close_list(w);
    json_close_map(w);
}

static void
on_SERVICES(struct asking *a)
{
    monitor_look_all(a->monitor); /* what is wanted of them may have changed */
    answer(a->request, 200, print_services, a);
}

static void
print_one(const struct asking *a, struct json_writer *w)
{
    print_service(a->service, w);
}

/* ---- events ---- */

static unsigned
hex(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a') + 10;
}

/* The parser of requests has seen to it that two digits stand behind each '%'. */
static const char *
query_of(const struct http_request *r, const char *name, char *to, size_t room)
{
    const char *at = r->head.bytes + r->head.query.at, *end = at + r->head.query.len;
    size_t len = strlen(name), n = 0;
    if (r->head.query.len <= len || memcmp(at, name, len) != 0)
        return NULL;
    for (at += len; at < end && n + 1 < room; at++) {
        bool escaped = *at == '%';
        to[n++] = escaped ? (char)(hex(at[1]) << 4 | hex(at[2])) : *at;
        at += escaped ? 2 : 0;
    }
    to[n] = '\0';
    return at < end ? NULL : to;
}

/* A query has one part here, or none. */
static int
check_query(const struct asking *a, const char *given, const char *form, struct err *reterr)
{
    const struct http1_head *head = &a->request->head;
    if (given || head->query.len == 0)
        return 0;
    int r = err_set(reterr, ERR_USAGE, "the query '%.*s' is not %s",
                    (int)MIN(head->query.len, 200u), head->bytes + head->query.at, form);
    err_fix(reterr, "%s, or none", form);
    return r;
}

static int
read_lines(struct asking *a, struct err *reterr)
{
    char text[8];
    const char *given = query_of(a->request, "lines=", text, sizeof(text));
    a->lines = EVENTS;
    if (given &&
        (quantity_parse_u64(given, &a->lines, NULL) < 0 || a->lines == 0 || a->lines > EVENTS_MAX))
        given = NULL;
    char form[64];
    (void)snprintf(form, sizeof(form), "lines=N, with N from 1 to %d", EVENTS_MAX);
    return check_query(a, given, form, reterr);
}

static void
print_events(const struct asking *a, struct json_writer *w)
{
    _cleanup_history_reader_ struct history_reader reader;
    struct event event;
    int r = history_reader_open_last(&reader, a->monitor->config->paths.state, HISTORY_OF_SERVICES,
                                     a->lines, NULL);
    json_open_list(w, NULL);
    while (r >= 0 && history_next(&reader, &event, NULL) > 0) {
        json_open_map(w, NULL);
        event_print_members(&event, w);
        json_close_map(w);
    }
    json_close_list(w);
}

static void
on_EVENTS(struct asking *a)
{
    struct err err;
    if (read_lines(a, &err) < 0)
        http_local_answer_error(a->request, &err);
    else
        answer(a->request, 200, print_events, a);
}

/* ---- reload ---- */

static void
on_RELOAD(struct asking *a)
{
    _cleanup_buf_ struct buf body = BUF_INIT(CONTROL_ANSWER_MAX);
    struct json_writer w;
    struct err err = {0};
    json_init(&w, &body, false);
    if (monitor_reload(a->monitor, a->by, &w, &err) < 0)
        http_local_answer_error(a->request, &err);
    else
        http_local_answer(a->request, 200, &body);
}

/* ---- ensure ---- */

static void
finish(struct asking *a, const struct err *why)
{
    if (why && a->request)
        http_local_answer_error(a->request, why);
    else if (a->request)
        answer(a->request, a->service->status.state == SERVICE_READY ? 200 : 202, print_one, a);
}

static int
decide(struct watched *w, struct err *reterr)
{
    _cleanup_gpu_leases_ struct gpu_leases leases = {0};
    const struct monitor *m = w->monitor;
    int r = run_marker_check(m->config->paths.run, reterr);
    if (r == 0)
        r = gpu_leases_read(&leases, m->config->paths.run, reterr);
    const struct lifecycle_need need = {.model = w->model,
                                        .known = monitor_known(w),
                                        .asked_to = w->asked,
                                        .inventory = m->gpus.known ? &m->gpus.inventory : NULL,
                                        .leases = &leases,
                                        .fake_driver = run_driver_is_fake()};
    return r < 0 ? r : lifecycle_ensure(&need, reterr);
}

static void
ensure(struct asking *a)
{
    struct watched *w = a->service;
    struct err err;
    monitor_look(w); /* it may have changed since it was asked */
    int r = decide(w, &err);
    if (r > 0) {
        monitor_tell(a->monitor, EVENT_ENSURED, w->status.name, a->by, "there is room for it");
        monitor_order(w, SERVICE_ORDER_START);
    }
    finish(a, r < 0 ? &err : NULL);
}

void
monitor_control_gpus_told(struct monitor *m)
{
    size_t count = m->ensuring.count;
    for (size_t i = 0; i < count; i++) {
        struct ensuring *e = m->ensuring.items[i];
        if (e->asking.request)
            e->asking.request->user = NULL;
        ensure(&e->asking);
        free(e);
    }
    m->ensuring.count = 0;
}

static void
on_ENSURE(struct asking *a)
{
    struct monitor *m = a->monitor;
    if (m->gpus.read_us && loop_now_us(m->loop) - m->gpus.read_us < FRESH_US) {
        ensure(a);
        return;
    }
    struct ensuring *e = mem_new(struct ensuring);
    e->asking = *a;
    a->request->user = e;
    vec_push(&m->ensuring, e);
    gpus_read(&m->gpus);
}

/* ---- hold and release ---- */

static void
set_hold(struct run_record *record, const void *arg)
{
    const struct asking *a = arg;
    record->hold.set = true;
    record->hold.kind = RUN_HOLD_PERSON;
    record->hold.since_us = clock_wall_us();
    (void)snprintf(record->hold.by, sizeof(record->hold.by), "%s", a->by);
    text_make_safe(record->hold.why, sizeof(record->hold.why),
                   snprintf(record->hold.why, sizeof(record->hold.why), "%s",
                            a->why[0] ? a->why : "it was asked for"));
}

static void
lift_hold(struct run_record *record, const void *arg unused_arg)
{
    record->hold.set = false;
    run_record_forgive(record, NULL);
}

/* Otherwise the error is the answer. */
static bool
change(struct asking *a, void (*how)(struct run_record *record, const void *arg),
       enum event_kind kind)
{
    struct watched *w = a->service;
    struct err err;
    if (run_record_try(a->monitor->config->paths.state, w->status.name, how, a, &w->record, &err) <
        0) {
        http_local_answer_error(a->request, &err);
        return false;
    }
    monitor_tell(a->monitor, kind, w->status.name, a->by, "%s",
                 w->record.hold.set ? w->record.hold.why : "the hold is lifted");
    return true;
}

static void
on_HOLD(struct asking *a)
{
    struct err err;
    const char *given = query_of(a->request, "why=", a->why, sizeof(a->why));
    if (check_query(a, given, "why=TEXT, with a text of up to 200 bytes", &err) < 0) {
        http_local_answer_error(a->request, &err);
        return;
    }
    if (!change(a, set_hold, EVENT_HELD))
        return;
    monitor_look(a->service);
    finish(a, NULL);
}

/* What the breaker has stopped, or is about to, is started: after the hold is lifted, which it
 * would find otherwise, and end. */
static void
on_RELEASE(struct asking *a)
{
    struct watched *w = a->service;
    bool is_ours = lifecycle_is_breakers(&w->record); /* which w->breaker may not know yet */
    if (!change(a, lift_hold, EVENT_RELEASED))
        return;
    w->is_released = is_ours;
    monitor_look(w);
    finish(a, NULL);
}

/* ---- who asks what ---- */

static void (*const answers[OPERATION_COUNT])(struct asking *a) = {
#define OF_MONITOR(row) row,
#define OF_GATEWAY(row)
#define OPERATION(owner, name, method, path, argument, role, summary) \
    OF_##owner([OPERATION_##name] = on_##name)
#include "api/operations.def"
#undef OPERATION
#undef OF_GATEWAY
#undef OF_MONITOR
};

/* Only root, our own account and that of the gateway get this far, whom a machine knows without
 * asking its network. */
static void
name_peer(struct http_request *r, char by[ACCOUNT_TEXT_MAX])
{
    struct sock_peer peer;
    if (sock_peer(http_request_fd(r), &peer) == 0)
        (void)account_print_user(peer.uid, by);
}

static int
find_service(struct asking *a, const char *name, struct err *reterr)
{
    a->service = monitor_find(a->monitor, name);
    if (a->service && a->service->is_there && a->service->model)
        return 0;
    int r = err_set(reterr, ERR_SERVICE_NONE, "there is no model '%s' that is deployed", name);
    err_fix(reterr, "citadel status");
    return r;
}

static bool
is_gateways(const struct asking *a)
{
    struct sock_peer peer;
    return a->monitor->knows_gateway && sock_peer(http_request_fd(a->request), &peer) == 0 &&
           peer.uid == a->monitor->gateway.uid;
}

/* Under systemd the engines are of our account, too: it is root who changes. */
static bool
admits(struct asking *a, enum operation_role role)
{
    if (role == OPERATION_READ || (role == OPERATION_NEED && is_gateways(a)))
        return true;
    bool walls = service_watch_is_by_systemd(a->monitor->watch);
    return http_local_admits(a->request, walls ? HTTP_LOCAL_ROOT : HTTP_LOCAL_OWN);
}

static void
on_request(struct http_request *r)
{
    struct asking a = {.monitor = r->arg, .request = r};
    enum operation_id id;
    char name[TEXT_NAME_MAX + 1];
    struct err err;
    int found = operation_find(&r->head, OPERATION_OF_MONITOR, &id, name, &err);
    r->user = NULL;
    if (found == 0 && !admits(&a, operations[id].role))
        return;
    if (found == 0 && operations[id].role != OPERATION_READ)
        name_peer(r, a.by);
    if (found == 0 && operations[id].named)
        found = find_service(&a, name, &err);
    if (found < 0)
        http_local_answer_error(r, &err);
    else
        answers[id](&a);
}

static void
on_finished(struct http_request *r, bool answered unused_arg)
{
    struct ensuring *e = r->user;
    if (e)
        e->asking.request = NULL;
}

static void
on_any_request(struct http_request *r)
{
    static const struct http_request_ops ops = {.finished = on_finished};
    r->ops = &ops;
    on_request(r);
}

int
monitor_control_open(struct monitor *m, struct err *reterr)
{
    const struct http_service service = {.request = on_any_request, .arg = m};
    const struct role_control_place place = {m->config->paths.run, SERVICE_MONITOR_SOCKET,
                                             SERVICE_MONITOR};
    /* Once: a machine may ask its network for names. */
    m->knows_gateway = account_find(m->config->service.gateway_user, NULL, &m->gateway, NULL) == 0;
    return role_control_open(&m->control, m->loop, &place, &service, reterr);
}

void
monitor_control_close(struct monitor *m)
{
    role_control_close(&m->control);
    vec_foreach (&m->ensuring, at)
        free(*at);
    vec_finish(&m->ensuring);
}
