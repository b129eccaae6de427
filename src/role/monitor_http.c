/* The port of health and metrics: for those that monitor.allow names, to read only. It may be
 * taken, or its address not be there yet: then that is told, and tried again. */

#include "role/monitor_int.h"

#include "base/mem.h"
#include "config/config.h"
#include "fmt/json.h"
#include "http/local.h"
#include "role/allow.h"
#include "role/listen.h"
#include "role/metrics.h"

#include <stdio.h>
#include <string.h>

#define ANSWER_MAX (4 * MIB)
#define CONNECTIONS_MAX 128
#define TRY_AGAIN_US UINT64_C(5000000)

/* ---- health ---- */

enum health { HEALTH_OK, HEALTH_DEGRADED, HEALTH_FAILED };

static void
print_problem(struct json_writer *w, const char *of, const char *what)
{
    json_open_map(w, NULL);
    json_str(w, "of", of);
    json_str(w, "what", what);
    json_close_map(w);
}

static enum health
print_services(const struct monitor *m, struct json_writer *w)
{
    enum health worst = m->lost ? HEALTH_FAILED : HEALTH_OK;
    const char *why;
    if (m->lost)
        print_problem(w, "services", m->lost_why.what);
    vec_foreach (&m->services, at) {
        if (!(*at)->is_there || monitor_is_well(*at, &why))
            continue;
        print_problem(w, (*at)->status.name, why);
        worst = HEALTH_FAILED;
    }
    return worst;
}

static enum health
print_machine(const struct monitor *m, struct json_writer *w)
{
    enum health worst = HEALTH_OK;
    if (m->gpus_sick) {
        print_problem(w, "gpus",
                      m->gpus.err.id == ERR_NONE ? "a GPU has failed" : m->gpus.err.what);
        worst = HEALTH_FAILED;
    }
    for (unsigned i = 0; i < PLACE_COUNT; i++) {
        const struct place *d = &m->places->items[i];
        if (d->err.id == ERR_NONE)
            continue;
        print_problem(w, place_word((enum place_kind)i), d->err.what);
        worst = MAX(worst, d->needed ? HEALTH_FAILED : HEALTH_DEGRADED);
    }
    return worst;
}

/* 503 while something that is wanted does not work, be it that it still loads: true, for whoever
 * asks whether this machine can be used. */
static void
answer_health(const struct monitor *m, struct http_request *r)
{
    static const char *const words[] = {"ok", "degraded", "failed"};
    _cleanup_buf_ struct buf body = BUF_INIT(ANSWER_MAX);
    struct json_writer w;
    json_init(&w, &body, false);
    json_open_map(&w, NULL);
    json_open_list(&w, "problems");
    enum health services = print_services(m, &w), machine = print_machine(m, &w);
    json_close_list(&w);
    enum health worst = MAX(services, machine);
    json_str(&w, "status", words[worst]);
    json_u64(&w, "services", m->services.count);
    json_close_map(&w);
    buf_add_char(&body, '\n');
    http_answer(r, worst == HEALTH_FAILED ? 503 : 200, "application/json", body.data, body.len);
}

/* ---- metrics ---- */

static void
answer_metrics(const struct monitor *m, struct http_request *r, enum metrics_page page)
{
    _cleanup_buf_ struct buf body = BUF_INIT(ANSWER_MAX);
    monitor_metrics_print(m, page, &body);
    if (buf_error(&body) < 0)
        http_answer(r, 500, NULL, NULL, 0);
    else
        http_answer(r, 200, "text/plain; version=0.0.4; charset=utf-8", body.data, body.len);
}

#define PAGE(name, page)                                              \
    static void name(const struct monitor *m, struct http_request *r) \
    {                                                                 \
        answer_metrics(m, r, page);                                   \
    }
PAGE(answer_services, METRICS_SERVICES)
PAGE(answer_models, METRICS_MODELS)
PAGE(answer_gpu, METRICS_GPU)
PAGE(answer_storage, METRICS_STORAGE)
PAGE(answer_system, METRICS_SYSTEM)
#undef PAGE

/* ---- who asks what ---- */

static const struct {
    const char *path;
    void (*answer)(const struct monitor *m, struct http_request *r);
} paths[] = {
    {"/health", answer_health},           {"/metrics/services", answer_services},
    {"/metrics/models", answer_models},   {"/metrics/gpu", answer_gpu},
    {"/metrics/storage", answer_storage}, {"/metrics/system", answer_system},
};

static void
refuse_path(struct http_request *r)
{
    _cleanup_buf_ struct buf all = BUF_INIT(KIB);
    struct err err;
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
        buf_printf(&all, "%s%s", i ? ", " : "", paths[i].path);
    (void)err_set(&err, ERR_NOT_FOUND, "there is GET %s; nothing else", all.data);
    http_local_answer_error(r, &err);
}

static void
on_finished(struct http_request *r unused_arg, bool answered unused_arg)
{
}

static void
on_request(struct http_request *r)
{
    static const struct http_request_ops ops = {.finished = on_finished};
    const struct monitor *m = r->arg;
    struct err err;
    r->ops = &ops;
    if (!allow_peer(&m->config->monitor.allow, http_request_fd(r))) {
        (void)err_set(&err, ERR_NOT_PERMITTED, "your address is not one of monitor.allow");
        http_local_answer_error(r, &err);
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
        if (r->head.method == HTTP_GET && http1_is(&r->head, r->head.path, paths[i].path)) {
            paths[i].answer(m, r);
            return;
        }
    refuse_path(r);
}

/* ---- its addresses ---- */

static void
listen_all(struct monitor *m)
{
    const struct config_list *addresses = &m->config->monitor.listen;
    struct err err;
    for (; m->listening < addresses->count; m->listening++)
        if (role_listen(m->http, addresses->items[m->listening], m->config->monitor.port, &err) < 0)
            break;
    bool all = m->listening == addresses->count;
    if (!all && !m->is_deaf)
        monitor_tell(m, EVENT_PORT_LOST, NULL, NULL, "%s", err.what);
    else if (all && m->is_deaf)
        monitor_tell(m, EVENT_PORT_BACK, NULL, NULL, "health and metrics are told on port %u",
                     (unsigned)m->config->monitor.port);
    m->is_deaf = !all;
    if (!all)
        loop_timer_start(m->loop, &m->listen, TRY_AGAIN_US, 0);
}

static void
on_listen(struct loop_timer *timer)
{
    listen_all(container_of(timer, struct monitor, listen));
}

void
monitor_http_open(struct monitor *m)
{
    const struct http_service service = {.request = on_request, .arg = m};
    struct http_server_config config = http_server_config_default;
    config.connections_max = CONNECTIONS_MAX;
    config.body_bytes_max = config.content_bytes_max = 64 * KIB;
    config.answer_bytes_max = 2 * ANSWER_MAX;
    m->http = http_server_new(m->loop, &config, &service);
    m->listen.expired = on_listen;
    listen_all(m);
}

void
monitor_http_close(struct monitor *m)
{
    loop_timer_stop(&m->listen);
    http_server_free(m->http);
}
