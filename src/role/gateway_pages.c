/* The monitor's pages of metrics, as it has them, for those who may read the gateway's own. */

#include "role/gateway_int.h"

#include "base/mem.h"
#include "base/text.h"
#include "config/config.h"
#include "gateway/route.h"
#include "http/client.h"
#include "role/listen.h"
#include "sys/sock.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES_MAX (8 * MIB)
#define PAGE_US UINT64_C(5000000)
#define PAGES_AT_A_TIME 8

/* One that is fetched. */
struct page {
    struct gateway *gateway;
    struct http_request *request;
    struct http_call *call; /* NULL: it has come, or will not */
    const struct route *route;
    struct reply reply;
};

static void
refuse(struct page *p, const struct err *error)
{
    struct err told;
    (void)err_set(&told, ERR_SERVICE_DOWN, "the monitor does not tell %s: %s", p->route->path,
                  error->what);
    err_fix(&told, "GET /metrics has what the gateway knows itself");
    reply_problem(p->request, p->route->dialect, &told, &p->reply, 0, NULL);
}

static void
on_fetched(struct http_call *call, const struct err *error)
{
    struct page *p = call->user;
    p->call = NULL;
    if (error) {
        refuse(p, error);
        return;
    }
    bool is_page = call->head.status == 200;
    reply_begin(p->request, call->head.status, &p->reply);
    http_answer_field(p->request, "Content-Type",
                      is_page ? "text/plain; version=0.0.4; charset=utf-8" : "application/json");
    http_answer_whole(p->request, call->content.data, call->content.len);
}

static void
on_dismissed(struct http_request *r)
{
    struct page *p = r->user;
    struct err error;
    if (!p->call)
        return;
    http_call_cancel(take_ptr(p->call));
    (void)err_set(&error, ERR_GATEWAY_STOPPED, "the gateway was stopped before the monitor told %s",
                  p->route->path);
    reply_problem(r, p->route->dialect, &error, &p->reply, REPLY_NEXT_S, NULL);
}

/* Who asked for it is answered, or has gone. */
static void
on_finished(struct http_request *r, bool answered unused_arg)
{
    struct page *p = r->user;
    if (p->call)
        http_call_cancel(p->call);
    free(p);
}

void
gateway_page_answer(struct gateway *g, struct http_request *r, const struct route *route,
                    const struct reply *reply)
{
    static const struct http_request_ops ops = {.dismissed = on_dismissed, .finished = on_finished};
    static const struct http_call_ops call_ops = {.finished = on_fetched};
    struct page *p = mem_new(struct page);
    struct err err;
    *p = (struct page){.gateway = g, .request = r, .route = route};
    p->reply = *reply;
    r->ops = &ops;
    r->user = p;
    if (!g->pages) {
        (void)err_set(&err, ERR_SERVICE_DOWN, "none is configured");
        refuse(p, &err);
        return;
    }
    p->call = http_call_new(g->pages, "GET", route->path, &call_ops, p);
    http_call_whole(p->call, NULL, 0);
}

int
gateway_pages_open(struct gateway *g, struct err *reterr)
{
    const struct config_monitor *monitor = &g->config->monitor;
    struct http_client_config config = http_client_config_default;
    sock_addr_text address;
    if (!monitor->enabled)
        return 0;
    (void)sock_ip_print(role_reach(monitor->listen.items[0]), monitor->port, address);
    config.body_bytes_max = PAGE_BYTES_MAX;
    config.connections_max = PAGES_AT_A_TIME;
    config.total_us = PAGE_US;
    return http_client_new(g->life.loop, address, NULL, &config, &g->pages, reterr);
}
