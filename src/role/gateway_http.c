/* Who asks what of the gateway: requests for models go to the relay, the rest is answered here. */

#include "config/config.h"
#include "gateway/metrics.h"
#include "gateway/models.h"
#include "gateway/problem.h"
#include "gateway/reply.h"
#include "gateway/route.h"
#include "role/allow.h"
#include "role/gateway_int.h"

#include <arpa/inet.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define METRICS_BYTES_MAX (4 * MIB)

/* One request, while it is looked at. */
struct asked {
    struct gateway *gateway;
    struct http_request *request;
    struct route_found found;
    struct reply reply;
};

static void
refuse(const struct asked *a, enum dialect dialect, const struct err *err, const char *allow)
{
    reply_problem(a->request, dialect, err, &a->reply, 0, allow);
}

/* Before anybody knows whose request it is. */
static void
turn_away(const struct asked *a, enum stranger_why why, enum dialect dialect, const struct err *err,
          const char *allow)
{
    gateway_told_stranger(a->gateway, a->request, &a->reply, why, problem_status(err));
    refuse(a, dialect, err, allow);
}

static void
answer(const struct asked *a, const char *type, const struct buf *body)
{
    struct err err;
    if (buf_error(body) < 0) {
        (void)err_set(&err, ERR_TOO_LARGE, "the answer is larger than its ceiling");
        refuse(a, a->found.route->dialect, &err, NULL);
        return;
    }
    reply_begin(a->request, 200, &a->reply);
    http_answer_field(a->request, "Content-Type", type);
    http_answer_whole(a->request, body->data, body->len);
}

/* ---- what is answered here ---- */

static void
answer_models(const struct asked *a)
{
    _cleanup_buf_ struct buf body = BUF_INIT(MODELS_BYTES_MAX);
    const struct gateway *g = a->gateway;
    const struct key *key = a->reply.caller ? holder_key(a->reply.caller) : NULL;
    char name[256];
    struct err err;
    int r = 0;
    if (a->found.route->id == ROUTE_MODELS)
        models_write_all(&body, g->relay, key, g->since_us / 1000000);
    else if (route_decode(&a->found, name, sizeof(name)) < 0)
        r = err_set(&err, ERR_NO_MODEL, "no model can have the name '%.*s'",
                    (int)MIN(a->found.part_len, sizeof(name)), a->found.part);
    else
        r = models_write_one(&body, g->relay, key, name, g->since_us / 1000000, &err);
    if (r < 0)
        refuse(a, a->found.route->dialect, &err, NULL);
    else
        answer(a, "application/json", &body);
}

/* It lives, whatever it can do; and whether new requests should come here. */
static void
answer_health(const struct asked *a)
{
    bool ready = a->found.route->id == ROUTE_HEALTH || !a->gateway->drains;
    const char *text = ready ? "{\"status\":\"ok\"}\n" : "{\"status\":\"draining\"}\n";
    reply_begin(a->request, ready ? 200 : 503, &a->reply);
    http_answer_field(a->request, "Content-Type", "application/json");
    http_answer_whole(a->request, text, strlen(text));
}

static void
write_metrics(struct gateway *g, struct buf *body)
{
    struct metrics_count lost[GATEWAY_LOSSES + 1], away[GATEWAY_AWAY + 1];
    gateway_told_losses(g, lost);
    gateway_told_strangers(g, away);
    metrics_write(body, g->relay, lost, away);
}

static void
answer_metrics(const struct asked *a)
{
    _cleanup_buf_ struct buf body = BUF_INIT(METRICS_BYTES_MAX);
    const struct config *config = a->gateway->config;
    struct err err;
    if (!allow_peer(&config->gateway.metrics_allow, http_request_fd(a->request))) {
        (void)err_set(&err, ERR_NOT_PERMITTED, "your address is not one of gateway.metrics_allow");
        turn_away(a, STRANGER_METRICS, a->found.route->dialect, &err, NULL);
    } else if (a->found.route->id != ROUTE_METRICS) {
        gateway_page_answer(a->gateway, a->request, a->found.route, &a->reply);
    } else {
        write_metrics(a->gateway, &body);
        answer(a, "text/plain; version=0.0.4; charset=utf-8", &body);
    }
}

/* ---- who asks what ---- */

static void
on_finished(struct http_request *r unused_arg, bool answered unused_arg)
{
}

/* Whether a name is one that no other host can have made lead here. */
static bool
is_own_name(const char *name)
{
    char own[HOST_NAME_MAX + 1] = "";
    unsigned char address[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1 ||
        strcasecmp(name, "localhost") == 0)
        return true;
    (void)gethostname(own, sizeof(own) - 1);
    return own[0] && strcasecmp(name, own) == 0;
}

/* The host without its port, and an address without its brackets; too long: "?". */
static void
copy_host(const struct http1_head *head, char *to, size_t room)
{
    const char *host = head->bytes + head->host.at;
    bool is_bracketed = head->host.len > 0 && *host == '[';
    size_t len = 0;
    host += is_bracketed;
    while (host + len < head->bytes + head->host.at + head->host.len &&
           host[len] != (is_bracketed ? ']' : ':'))
        len++;
    (void)snprintf(to, room, "%.*s", len < room ? (int)len : 1, len < room ? host : "?");
}

/* A page that somebody on this host looks at asks from this host, too: as that page, or by a name
 * of its own which it has led here. HTTP/1.0 needs no host, and no browser speaks it. */
static int
check_page(const struct asked *a, struct err *reterr)
{
    const struct http1_head *head = &a->request->head;
    const struct http1_field *origin = http1_find(head, HTTP_FIELD_ORIGIN);
    char host[256];
    copy_host(head, host, sizeof(host));
    if (origin && !a->reply.origin[0]) {
        int r = err_set(reterr, ERR_NOT_PERMITTED, "without keys no page of '%.*s' is answered",
                        (int)MIN(origin->value.len, 200u), head->bytes + origin->value.at);
        err_fix(reterr, "gateway.cors_origins names the pages that may ask");
        return r;
    }
    if (!host[0] || is_own_name(host))
        return 0;
    int r = err_set(reterr, ERR_NOT_PERMITTED, "without keys the gateway does not go by '%.200s'",
                    host);
    err_fix(reterr, "ask for localhost, or for this host by its address or its name");
    return r;
}

/* No page reaches that, so any name is as good. */
static bool
asks_at_file(const struct asked *a)
{
    int family = 0;
    socklen_t len = sizeof(family);
    return getsockopt(http_request_fd(a->request), SOL_SOCKET, SO_DOMAIN, &family, &len) == 0 &&
           family == AF_UNIX;
}

static int
check_asker(const struct asked *a, enum stranger_why *ret_why, struct err *reterr)
{
    static const char *networks[] = {"127.0.0.0/8", "::1"};
    static const struct config_list loopback = {networks, ARRAY_SIZE(networks)};
    if (!gateway_is_local(a->gateway))
        return 0;
    bool is_here = allow_peer(&loopback, http_request_fd(a->request));
    *ret_why = is_here ? STRANGER_PAGE : STRANGER_ADDRESS;
    if (is_here)
        return asks_at_file(a) ? 0 : check_page(a, reterr);
    int r = err_set(reterr, ERR_NOT_PERMITTED, "without keys the gateway answers this host only");
    err_fix(reterr, "`gateway: {anonymous: true}` lets everybody ask who reaches it");
    return r;
}

static bool
may_ask(const struct asked *a, enum dialect dialect)
{
    enum stranger_why why;
    struct err err;
    if (check_asker(a, &why, &err) == 0)
        return true;
    turn_away(a, why, dialect, &err, NULL);
    return false;
}

/* Health is told to anybody, and metrics by address. */
static bool
identify(struct asked *a)
{
    enum route_answers answers = a->found.route->answers;
    struct err err;
    if (answers == ROUTE_BY_HEALTH || answers == ROUTE_BY_METRICS ||
        gateway_identify(a->gateway, a->request, &a->reply, &err) == 0)
        return true;
    turn_away(a, STRANGER_KEY, a->found.route->dialect, &err, NULL);
    return false;
}

/* What is asked of the server itself, and of no path. */
static bool
is_about_server(const struct asked *a)
{
    static const char allow[] = "GET, HEAD, POST, DELETE, OPTIONS";
    enum http1_form form = a->request->head.form;
    struct err err;
    if (form == HTTP1_ASTERISK) {
        reply_begin(a->request, 204, &a->reply);
        http_answer_field(a->request, "Allow", allow);
        http_answer_whole(a->request, "", 0);
    } else if (form == HTTP1_AUTHORITY) {
        (void)err_set(&err, ERR_NO_METHOD, "the gateway is no proxy, and takes no CONNECT");
        turn_away(a, STRANGER_METHOD, DIALECT_OPENAI, &err, allow);
    }
    return form == HTTP1_ASTERISK || form == HTTP1_AUTHORITY;
}

static bool
find(struct asked *a, const char *path, size_t len)
{
    char allow[ROUTE_ALLOW_MAX];
    struct err err;
    if (route_find(a->request->head.method, path, len, &a->found, &err) == 0)
        return true;
    bool is_there = err.id == ERR_NO_METHOD;
    turn_away(a, is_there ? STRANGER_METHOD : STRANGER_PATH, route_dialect(path, len), &err,
              is_there ? route_allow(path, len, allow) : NULL);
    return false;
}

static bool
is_preflight(const struct asked *a, const char *path, size_t len)
{
    char allow[ROUTE_ALLOW_MAX];
    return a->request->head.method == HTTP_OPTIONS &&
           reply_preflight(a->request, &a->reply, route_allow(path, len, allow));
}

static void
on_request(struct http_request *r)
{
    static const struct http_request_ops ops = {.finished = on_finished};
    const char *path = r->head.bytes + r->head.path.at;
    size_t len = r->head.path.len;
    struct asked a = {.gateway = r->arg, .request = r};
    r->ops = &ops;
    reply_read(r, &a.gateway->config->gateway.cors_origins, &a.reply);
    if (!may_ask(&a, route_dialect(path, len)) || is_about_server(&a) ||
        is_preflight(&a, path, len) || !find(&a, path, len) || !identify(&a))
        return;
    switch (a.found.route->answers) {
    case ROUTE_BY_ENGINE:
    case ROUTE_BY_STORED:
        relay_take(a.gateway->relay, r, &a.found, &a.reply);
        break;
    case ROUTE_BY_MODELS:
        answer_models(&a);
        break;
    case ROUTE_BY_HEALTH:
        answer_health(&a);
        break;
    case ROUTE_BY_METRICS:
        answer_metrics(&a);
        break;
    }
}

/* ---- what the server answers itself ---- */

static const char *
explain(void *arg unused_arg, unsigned status unused_arg, const char *reason, const char *why,
        struct buf *body)
{
    struct err err;
    (void)err_set(&err, ERR_MALFORMED, "the request is refused: %s (%s)", why, reason);
    problem_write(body, DIALECT_OPENAI, &err, NULL);
    return "application/json";
}

static void
on_drained(void *arg)
{
    struct gateway *g = arg;
    loop_stop(g->life.loop);
}

struct http_service
gateway_service(struct gateway *g)
{
    return (struct http_service){
        .request = on_request, .explain = explain, .drained = on_drained, .arg = g};
}
