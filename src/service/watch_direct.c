/* The supervisor's control socket answers GET /services?follow=1 without an end: a line whenever
 * something has changed, each with all of it. When it ends, it is asked anew. */

#include "service/direct.h"
#include "service/watch_int.h"

#include "base/mem.h"
#include "config/config.h"
#include "http/client.h"
#include "http/local.h"

#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES (4 * MIB)
#define AGAIN_US UINT64_C(500000)

struct watching {
    struct service_watch *watch;
    struct http_client *client, *orders;
    struct http_call *call; /* NULL: `again` is set */
    struct buf line;
    struct loop_timer again;
};

static void ask(struct watching *s);

static void
take_line(struct watching *s, const char *line, size_t len)
{
    _cleanup_service_view_ struct service_view view = {0};
    struct err err;
    if (service_view_parse(line, len, &view, &err) < 0)
        watch_tell_lost(s->watch, &err);
    else
        watch_tell_seen(s->watch, &view);
}

/* Of several lines that have come at once only the last is news. */
static void
on_body(struct http_call *call, const char *bytes, size_t len)
{
    struct watching *s = call->user;
    buf_add(&s->line, bytes, len);
    if (buf_error(&s->line) < 0 || call->head.status != 200)
        return;
    const char *end = memrchr(s->line.data, '\n', s->line.len);
    if (!end)
        return;
    size_t whole = (size_t)(end - s->line.data);
    const char *before = memrchr(s->line.data, '\n', whole);
    const char *from = before ? before + 1 : s->line.data;
    take_line(s, from, (size_t)(end - from));
    buf_consume(&s->line, whole + 1);
}

static void
on_finished(struct http_call *call, const struct err *error)
{
    struct watching *s = call->user;
    struct err err;
    if (error)
        err = *error;
    else if (call->head.status != 200)
        (void)http_local_read_error("the supervisor", call->head.status, s->line.data, s->line.len,
                                    &err);
    else
        (void)err_set(&err, ERR_SERVICE_DOWN, "the supervisor has ended");
    s->call = NULL;
    buf_clear(&s->line);
    loop_timer_start(s->watch->loop, &s->again, AGAIN_US, 0);
    watch_tell_lost(s->watch, &err);
}

static void
ask(struct watching *s)
{
    static const struct http_call_ops ops = {.body = on_body, .finished = on_finished};
    s->call = http_call_new(s->client, "GET", "/services?follow=1", &ops, s);
    http_call_whole(s->call, NULL, 0);
}

static void
on_again(struct loop_timer *timer)
{
    ask(container_of(timer, struct watching, again));
}

/* It is told all of it again. */
static void
look(struct service_watch *w)
{
    struct watching *s = w->own;
    if (!s->call)
        return;
    http_call_cancel(s->call);
    buf_clear(&s->line);
    ask(s);
}

/* ---- orders ---- */

static void
on_order_finished(struct http_call *call, const struct err *error)
{
    struct order *o = call->user;
    if (error)
        o->err = *error;
    else if (call->head.status != 200)
        (void)http_local_read_error("the supervisor", call->head.status, call->content.data,
                                    call->content.len, &o->err);
    watch_order_done(o);
}

/* The supervisor forgives by itself who was well for long. */
static void
give(struct order *o)
{
    static const struct http_call_ops ops = {.finished = on_order_finished};
    struct watching *s = o->watch->own;
    bool nothing = o->order == SERVICE_ORDER_FORGIVE;
    _cleanup_free_ char *target =
        mem_printf("/services/%s/%s", o->name, service_order_word(o->order));
    http_call_whole(
        http_call_new(s->orders, nothing ? "GET" : "POST", nothing ? "/services" : target, &ops, o),
        NULL, 0);
}

/* ---- in and out ---- */

static int
open_direct(struct service_watch *w, struct err *reterr)
{
    _cleanup_free_ char *address = mem_printf("unix:%s/" DIRECT_SOCKET_NAME, w->config->paths.run);
    struct http_client_config limits = http_client_config_default;
    struct watching *s = mem_new(struct watching);
    *s = (struct watching){.watch = w, .line = BUF_INIT(LINE_MAX_BYTES), .again.expired = on_again};
    limits.idle_max = 0;
    int r = http_client_new(w->loop, address, "localhost", &limits, &s->orders, reterr);
    limits.between_us = limits.total_us = 0;
    limits.body_bytes_max = UINT64_MAX / 2;
    if (r == 0)
        r = http_client_new(w->loop, address, "localhost", &limits, &s->client, reterr);
    w->own = s;
    if (r == 0)
        ask(s);
    else
        w->kind->close(w);
    return r;
}

static void
close_direct(struct service_watch *w)
{
    struct watching *s = w->own;
    loop_timer_stop(&s->again);
    if (s->client)
        http_client_free(s->client);
    if (s->orders)
        http_client_free(s->orders);
    while (w->orders) { /* their calls have gone with it */
        struct order *o = w->orders;
        w->orders = o->next;
        w->under_way--;
        free(o);
    }
    buf_finish(&s->line);
    free(s);
}

const struct service_watch_kind service_watch_direct = {
    .open = open_direct, .close = close_direct, .look = look, .give = give};
