/* The control socket: one function for each row of api/operations.def that is the gateway's. */

#include "role/gateway_int.h"

#include "api/operations.h"
#include "config/config.h"
#include "fmt/json.h"
#include "gateway/backend.h"
#include "http/local.h"
#include "service/service.h"

#include <unistd.h>

struct asking {
    struct gateway *gateway;
    struct http_request *request;
    const char *name; /* behind the path; "": none */
};

/* ---- state ---- */

static void
print_model(const struct backend *b, struct json_writer *w)
{
    const struct admit_counts *n = backend_queue(b);
    json_open_map(w, NULL);
    json_str(w, "name", backend_name(b));
    json_bool(w, "usable", backend_is_usable(b));
    json_u64(w, "slots", backend_slots(b));
    json_u64(w, "running", n->running);
    json_u64(w, "waiting", n->waiting);
    json_close_map(w);
}

static void
on_GATEWAY_STATE(struct asking *a)
{
    _cleanup_buf_ struct buf body = BUF_INIT(CONTROL_ANSWER_MAX);
    const struct gateway *g = a->gateway;
    const struct http_server_counts *n = http_server_counts(g->server);
    struct json_writer w;
    json_init(&w, &body, false);
    json_open_map(&w, NULL);
    json_u64(&w, "pid", (uint64_t)getpid());
    json_u64(&w, "since_us", g->since_us);
    json_bool(&w, "local", gateway_is_local(g));
    json_bool(&w, "drains", g->drains);
    json_u64(&w, "connections", n->connections);
    json_u64(&w, "in_flight", n->in_flight);
    json_open_list(&w, "models");
    for (size_t i = 0; i < relay_backend_count(g->relay); i++)
        if (relay_backend(g->relay, i))
            print_model(relay_backend(g->relay, i), &w);
    json_close_list(&w);
    json_close_map(&w);
    http_local_answer(a->request, 200, &body);
}

/* ---- reload ---- */

static void
on_GATEWAY_RELOAD(struct asking *a)
{
    gateway_reload(a->gateway, a->request);
}

/* ---- keys ---- */

static void
on_KEYS(struct asking *a)
{
    gateway_answer_keys(a->gateway, a->request);
}

static void
on_KEY_CREATE(struct asking *a)
{
    gateway_answer_deed(a->gateway, a->request, KEYRING_CREATE, a->name);
}

static void
on_KEY_CHANGE(struct asking *a)
{
    gateway_answer_deed(a->gateway, a->request, KEYRING_CHANGE, a->name);
}

static void
on_KEY_ROTATE(struct asking *a)
{
    gateway_answer_deed(a->gateway, a->request, KEYRING_ROTATE, a->name);
}

static void
on_KEY_REVOKE(struct asking *a)
{
    gateway_answer_deed(a->gateway, a->request, KEYRING_REVOKE, a->name);
}

static void
on_USAGE(struct asking *a)
{
    gateway_answer_usage(a->gateway, a->request, a->name);
}

/* ---- who asks what ---- */

static void (*const answers[OPERATION_COUNT])(struct asking *a) = {
#define OF_GATEWAY(row) row,
#define OF_MONITOR(row)
#define OPERATION(owner, name, method, path, argument, role, summary) \
    OF_##owner([OPERATION_##name] = on_##name)
#include "api/operations.def"
#undef OPERATION
#undef OF_MONITOR
#undef OF_GATEWAY
};

static void
on_finished(struct http_request *r unused_arg, bool answered unused_arg)
{
}

static void
on_request(struct http_request *r)
{
    static const struct http_request_ops ops = {.finished = on_finished};
    char name[TEXT_NAME_MAX + 1];
    struct asking a = {r->arg, r, name};
    enum operation_id id;
    struct err err;
    r->ops = &ops;
    if (operation_find(&r->head, OPERATION_OF_GATEWAY, &id, name, &err) < 0)
        http_local_answer_error(r, &err);
    else if (operations[id].role == OPERATION_READ || http_local_admits(r, HTTP_LOCAL_OWN))
        answers[id](&a);
}

int
gateway_control_open(struct gateway *g, struct err *reterr)
{
    const struct http_service service = {.request = on_request, .arg = g};
    const struct role_control_place place = {g->config->paths.run, SERVICE_GATEWAY_SOCKET,
                                             SERVICE_GATEWAY};
    return role_control_open(&g->control, g->life.loop, &place, &service, reterr);
}
