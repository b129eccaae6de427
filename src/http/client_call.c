/* One call: the request goes out, the answer comes in. As in the server, step() after step does
 * what can be done now, and then pending_settle() finds what is waited for. */

#include "http/client_int.h"

#include "base/quantity.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

#define INTERIMS_MAX 16

static struct pending *
pending_of(struct http_call *call)
{
    return container_of(call, struct pending, call);
}

static size_t
unread(const struct pending *p)
{
    return p->in.len - p->in_at;
}

static size_t
unsent(const struct pending *p)
{
    return p->out.len - p->out_at;
}

static bool
is_over(const struct pending *p)
{
    return p->failed || p->whole || p->dead;
}

void
pending_fail(struct pending *p, enum err_id id, const char *fmt, ...)
{
    char what[sizeof(p->error.what)];
    va_list args;
    if (p->failed)
        return;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    (void)err_set(&p->error, id, "%s", what);
    p->failed = true;
}

/* Losing the connection */

/* A server that had closed the connection says so as soon as it gets something. */
static bool
is_lost_at_once(const struct pending *p)
{
    return p->call.phase != HTTP_PHASE_ANSWER && p->sent_us &&
           loop_now_us(p->client->loop) - p->sent_us <= HTTP_LOST_US;
}

/* RFC 9112, 9.3.1: a request may have been worked on as soon as a byte of it left. */
static bool
may_send_anew(const struct pending *p)
{
    bool harmless = http_method_is_idempotent(p->method) || p->out_at == 0 ||
                    (p->repeatable && is_lost_at_once(p));
    return p->link->used && p->kept && harmless && p->call.phase != HTTP_PHASE_ANSWER;
}

static void
lose_link(struct pending *p, int error)
{
    const char *address = p->client->address;
    p->call.lost_at_once = is_lost_at_once(p);
    if (may_send_anew(p)) {
        client_drop_link(p, false);
        p->call.sent_anew |= p->out_at > 0;
        p->out_at = 0;
        p->sent_us = 0;
        p->call.phase = HTTP_PHASE_CONNECT;
        p->client->counts.sent_anew++;
        client_take_link(p, true);
    } else if (p->call.phase != HTTP_PHASE_ANSWER) {
        pending_fail(p, ERR_HTTP_CUT, "%s closed the connection without an answer", address);
    } else if (p->has_head && !error && http1_body_end(&p->body) == HTTP1_DONE) {
        p->whole = true;
    } else {
        pending_fail(p, ERR_HTTP_CUT, "%s closed the connection within its answer", address);
    }
}

/* Steps: each does one thing and tells whether there may be another. */

static void
refuse(struct pending *p, enum http1_reason reason)
{
    const struct http1_reason_row *row = http1_reason_row(reason);
    pending_fail(p, ERR_HTTP_ANSWER, "%s answered with what is not accepted: %s (%s)",
                 p->client->address, row->why, row->name);
}

static void
take_head(struct pending *p)
{
    struct http1_head *head = &p->call.head;
    p->in_at += head->len;
    if (head->status == 101 || (head->status < 200 && ++p->interims > INTERIMS_MAX)) {
        pending_fail(p, ERR_HTTP_ANSWER, "%s answered with status %u unasked", p->client->address,
                     head->status);
    } else if (head->status < 200) {
        http1_response_init(head, &p->client->config.head, p->method);
    } else {
        p->has_head = true;
        http1_body_init(&p->body, head, p->client->config.body_bytes_max);
        if (p->ops->head)
            p->ops->head(&p->call);
    }
}

static bool
step_head(struct pending *p)
{
    struct http1_head *head = &p->call.head;
    if (unread(p) == 0)
        return false;
    switch (http1_head_read(head, p->in.data + p->in_at, unread(p))) {
    case HTTP1_DONE:
        take_head(p);
        return true;
    case HTTP1_REFUSED:
        refuse(p, head->reason);
        return true;
    case HTTP1_MORE:
    case HTTP1_PIECE:
        break;
    }
    return false;
}

static void
collect(struct pending *p, const char *bytes, size_t len)
{
    buf_add(&p->call.content, bytes, len);
    if (buf_error(&p->call.content) < 0)
        pending_fail(p, ERR_HTTP_ANSWER, "there is no room for the answer of %s",
                     p->client->address);
}

static bool
step_body(struct pending *p)
{
    size_t used, piece;
    const char *bytes = p->in.data + p->in_at;
    enum http1_verdict verdict = http1_body_read(&p->body, bytes, unread(p), &used, &piece);
    p->in_at += used;
    switch (verdict) {
    case HTTP1_PIECE:
        if (p->ops->body)
            p->ops->body(&p->call, bytes + used - piece, piece);
        else
            collect(p, bytes + used - piece, piece);
        return true;
    case HTTP1_DONE:
        p->whole = true;
        return true;
    case HTTP1_REFUSED:
        refuse(p, p->body.reason);
        return true;
    case HTTP1_MORE:
        break;
    }
    return false;
}

static bool
step_writable(struct pending *p)
{
    if (!p->told_full || unsent(p) > p->client->config.low_bytes)
        return false;
    p->told_full = false;
    if (!p->ended && p->ops->writable)
        p->ops->writable(&p->call);
    return true;
}

static bool
step(struct pending *p)
{
    if (step_writable(p))
        return true;
    if (p->paused)
        return false;
    return p->has_head ? step_body(p) : step_head(p);
}

/* Reading and writing */

static void
receive(struct pending *p)
{
    spare_lend(&p->client->room, &p->in);
    buf_consume(&p->in, p->in_at);
    p->in_at = 0;
    void *to = buf_reserve(&p->in, LINK_READ_BYTES);
    assert(to); /* whoever is paused does not read; else no more than a head is left unread */
    ssize_t n = link_receive(p->link, to, LINK_READ_BYTES);
    if (n > 0) {
        buf_commit(&p->in, (size_t)n);
        p->call.phase = HTTP_PHASE_ANSWER;
        p->touched |= p->has_head; /* which has its time once, however it comes */
    } else if (n != -EAGAIN) {
        lose_link(p, (int)n);
    }
}

/* What could be sent once more stays where it is. */
static void
forget_sent(struct pending *p)
{
    bool keep = p->link->used && p->call.phase != HTTP_PHASE_ANSWER &&
                p->out_at <= p->client->config.high_bytes;
    if (keep || p->out_at < unsent(p))
        return;
    buf_consume(&p->out, p->out_at);
    p->out_at = 0;
    p->kept = false;
}

/* When sending fails the server may have answered before it closed: reading tells. */
static void
flush(struct pending *p)
{
    if (!p->link || !p->link->connected || p->link->deaf || unsent(p) == 0)
        return;
    ssize_t n = link_send(p->link, p->out.data + p->out_at, unsent(p));
    if (n < 0) {
        p->link->deaf = n != -EAGAIN;
        return;
    }
    p->out_at += (size_t)n;
    p->touched = true;
    if (p->call.phase == HTTP_PHASE_CONNECT)
        p->call.phase = HTTP_PHASE_REQUEST;
    if (!p->sent_us)
        p->sent_us = loop_now_us(p->client->loop);
    forget_sent(p);
    if (p->told_full && unsent(p) <= p->client->config.low_bytes)
        loop_defer(p->client->loop, &p->defer);
}

/* What is waited for */

void
pending_end(struct pending *p)
{
    struct http_client *client = p->client;
    bool again = p->whole && !p->failed && p->call.head.keep_alive && unread(p) == 0 && p->ended &&
                 unsent(p) == 0;
    client_drop_link(p, again);
    wait_end(&client->waits, &p->wait);
    wait_end(&client->waits, &p->total);
    loop_defer_cancel(client->loop, &p->defer);
    client->counts.in_flight--;
    p->dead = true;
}

static void
finish(struct pending *p)
{
    pending_end(p);
    p->client->counts.failed += p->failed;
    if (p->ops->finished)
        p->ops->finished(&p->call, p->failed ? &p->error : NULL);
}

static enum client_wait
find_wait(const struct pending *p)
{
    if (!p->link->connected)
        return WAIT_CONNECT;
    if (p->paused)
        return WAIT_CALLER;
    if (p->has_head)
        return WAIT_BETWEEN;
    return p->ended || unsent(p) > 0 ? WAIT_FIRST : WAIT_CALLER;
}

static void
settle(struct pending *p)
{
    struct http_client *client = p->client;
    if (!p->link) /* still being written by the caller */
        return;
    struct wait_list *list = &client->lists[find_wait(p)];
    if (list != p->wait.list || p->touched)
        wait_begin(&client->waits, list, &p->wait);
    p->touched = false;
    if (!p->link->connected) {
        loop_fd_change(&p->link->watch, link_events(p->link));
        return;
    }
    bool sends = unsent(p) > 0 && !p->link->deaf;
    loop_fd_change(&p->link->watch, (p->paused ? 0 : LOOP_READ) | (sends ? LOOP_WRITE : 0));
}

/* Of what was read, if all was taken. */
static void
return_room(struct pending *p)
{
    if (unread(p) > 0)
        return;
    spare_return(&p->client->room, &p->in);
    p->in_at = 0;
}

static void
pending_run(struct pending *p)
{
    if (p->running || p->dead)
        return;
    p->running = true;
    if (!p->link && !p->head_open && !is_over(p))
        client_take_link(p, p->fresh);
    while (!is_over(p) && step(p))
        ;
    if (!is_over(p))
        flush(p);
    if (!p->dead && is_over(p))
        finish(p);
    p->running = false;
    return_room(p);
    if (p->dead)
        client_give_back(p);
    else
        settle(p);
}

void
pending_ready(struct pending *p, unsigned events)
{
    if (!p->link->connected) {
        struct err error;
        int r = link_open(p->link, &error);
        if (r < 0 && r != -EAGAIN)
            pending_fail(p, error.id, "%s", error.what);
        p->link->connected = r == 0;
    } else if (events & LOOP_READ) {
        receive(p);
    }
    pending_run(p);
}

void
pending_expire(struct pending *p, enum client_wait wait)
{
    static const char *const missing[CLIENT_WAITS] = {
        [WAIT_CONNECT] = "accept a connection",
        [WAIT_FIRST] = "begin to answer",
        [WAIT_BETWEEN] = "go on with its answer",
        [WAIT_TOTAL] = "complete its answer",
    };
    quantity_text limit;
    assert(missing[wait]);
    pending_fail(p, ERR_HTTP_TIMEOUT, "%s did not %s within %s", p->client->address, missing[wait],
                 quantity_print_us(p->client->lists[wait].limit_us, limit));
    pending_run(p);
}

static void
on_deferred(struct loop_defer *defer)
{
    pending_run(container_of(defer, struct pending, defer));
}

/* What callers call */

static void
schedule(struct pending *p)
{
    if (!p->running)
        loop_defer(p->client->loop, &p->defer);
}

void
pending_init(struct pending *p, const char *method, const char *target)
{
    struct http_client *client = p->client;
    p->method = http_method_of(method, strlen(method));
    p->defer.run = on_deferred;
    p->call.phase = HTTP_PHASE_CONNECT;
    p->call.sent_anew = p->call.lost_at_once = false;
    p->sent_us = 0;
    p->in_at = p->out_at = 0;
    p->interims = 0;
    p->head_open = p->kept = true;
    p->chunked = p->repeatable = p->fresh = p->ended = p->has_head = p->paused = p->told_full =
        false;
    p->touched = p->running = p->failed = p->whole = p->dead = false;
    http1_response_init(&p->call.head, &client->config.head, p->method);
    http_write_request(&p->writer, &p->out, method, target);
    http_write_field(&p->writer, "Host", client->host);
    wait_begin(&client->waits, &client->lists[WAIT_CALLER], &p->wait);
    wait_begin(&client->waits, &client->lists[WAIT_TOTAL], &p->total);
}

void
http_call_field(struct http_call *call, const char *name, const char *value)
{
    struct pending *p = pending_of(call);
    assert(p->head_open);
    http_write_field(&p->writer, name, value);
}

void
http_call_repeatable(struct http_call *call)
{
    struct pending *p = pending_of(call);
    assert(p->head_open);
    p->repeatable = true;
}

static void
end_head(struct pending *p)
{
    p->head_open = false;
    if (p->client->config.idle_max == 0)
        http_write_connection(&p->writer, "close");
    if (http_write_end(&p->writer) < 0)
        pending_fail(p, ERR_HTTP_REQUEST, "a request to %s cannot be written as HTTP",
                     p->client->address);
    schedule(p);
}

/* Of what may be sent once more, all has to be kept until an answer comes. */
static void
choose_link(struct pending *p, uint64_t body_len)
{
    p->fresh = p->repeatable && p->out.len + body_len > p->client->config.high_bytes;
}

static void
check_room(struct pending *p)
{
    if (buf_error(&p->out) < 0)
        pending_fail(p, ERR_HTTP_REQUEST, "a request to %s is larger than its ceiling",
                     p->client->address);
    schedule(p);
}

void
http_call_whole(struct http_call *call, const void *bytes, size_t len)
{
    struct pending *p = pending_of(call);
    assert(p->head_open);
    bool says_none = p->method == HTTP_POST || p->method == HTTP_PUT || p->method == HTTP_PATCH;
    if (len > 0 || says_none)
        http_write_length(&p->writer, len);
    end_head(p);
    choose_link(p, len);
    p->ended = true;
    if (!p->failed)
        buf_add(&p->out, bytes, len);
    check_room(p);
}

void
http_call_stream(struct http_call *call)
{
    struct pending *p = pending_of(call);
    assert(p->head_open);
    http_write_chunked(&p->writer);
    p->chunked = true;
    end_head(p);
}

void
http_call_length(struct http_call *call, uint64_t bytes)
{
    struct pending *p = pending_of(call);
    assert(p->head_open);
    http_write_length(&p->writer, bytes);
    p->left = bytes;
    end_head(p);
    choose_link(p, bytes);
}

bool
http_call_write(struct http_call *call, const void *bytes, size_t len)
{
    struct pending *p = pending_of(call);
    assert(!p->head_open && !p->ended && (p->chunked || len <= p->left));
    if (!p->chunked)
        p->left -= len;
    if (!p->failed && p->chunked)
        http_write_chunk(&p->out, bytes, len);
    else if (!p->failed)
        buf_add(&p->out, bytes, len);
    check_room(p);
    p->told_full = unsent(p) > p->client->config.high_bytes;
    return !p->told_full;
}

void
http_call_end(struct http_call *call)
{
    struct pending *p = pending_of(call);
    assert(!p->head_open && !p->ended && (p->chunked || p->left == 0));
    p->ended = true;
    if (!p->failed && p->chunked)
        http_write_last_chunk(&p->out);
    check_room(p);
}

void
http_call_pause(struct http_call *call)
{
    pending_of(call)->paused = true;
}

void
http_call_resume(struct http_call *call)
{
    struct pending *p = pending_of(call);
    p->paused = false;
    schedule(p);
}

void
http_call_cancel(struct http_call *call)
{
    struct pending *p = pending_of(call);
    if (p->dead)
        return;
    pending_end(p);
    if (!p->running)
        client_give_back(p);
}
