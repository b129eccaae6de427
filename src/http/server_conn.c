/* One connection: bytes come in, requests go to the handler, answers go out. What can be done now
 * is done by step() after step, in one order only; nothing else calls the handler. */

#include "http/server_int.h"

#include "base/mem.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* What counts as getting on, where a client could stretch it byte by byte for ever. A head is given
 * its time once; so is a body, but for the largest: a client that is slow, and no worse, can send
 * these. */
#define BODY_STEP_BYTES (4 * MIB)
#define WRITE_STEP_BYTES (4 * KIB)
#define NEVER_LOOKED INT64_MIN

static void
has_read(struct conn *c, size_t bytes)
{
    struct exchange *x = c->exchange;
    if (!x->in_flight || x->body_whole)
        return;
    x->step_bytes += bytes;
    if (x->step_bytes < BODY_STEP_BYTES)
        return;
    x->step_bytes = x->step_us = 0;
    c->touched = true;
}

static void
has_written(struct conn *c, size_t bytes)
{
    if (c->state != CONN_WRITE)
        return;
    c->is_stalled = false;
    c->written_bytes += bytes;
    c->touched |= c->written_bytes >= WRITE_STEP_BYTES;
}

static uint64_t
waited_us(const struct conn *c)
{
    return loop_now_us(c->server->loop) - c->wait.since_us;
}

/* Its list knows only of the time since it was last paused. */
static bool
is_late(const struct conn *c)
{
    uint64_t limit_us = c->server->lists[CONN_BODY].limit_us;
    return c->state == CONN_BODY && limit_us && c->exchange->step_us + waited_us(c) >= limit_us;
}

/* Exchanges */

static struct exchange *
open_exchange(struct conn *c)
{
    struct exchange *x = server_take_exchange(c->server);
    http1_request_init(&x->request.head, &c->server->config.head);
    x->conn = c;
    x->in_flight = x->begun = x->head_open = x->ended = x->told_full = false;
    x->held = x->is_behind = false;
    x->body_whole = true;
    c->exchange = x;
    return x;
}

static void
drop_exchange(struct conn *c)
{
    if (c->exchange)
        server_give_exchange(c->server, take_ptr(c->exchange));
}

static void
begin_request(struct conn *c)
{
    struct exchange *x = c->exchange;
    struct http_server *s = c->server;
    struct http_request *r = &x->request;
    http1_body_init(&x->body, &r->head, 0);
    x->body_whole = x->paused = x->begun = x->head_open = x->chunked = false;
    x->no_content = x->ended = x->told_full = x->dismissed = false;
    x->step_bytes = x->step_us = 0;
    x->is_behind |= exchange_unsent(x) > 0;
    x->wants_continue = r->head.expect_continue;
    x->in_flight = true;
    r->ops = NULL;
    r->user = NULL;
    r->is_cut = false;
    r->arg = s->service.arg;
    r->body_bytes_max = s->config.body_bytes_max;
    s->counts.requests++;
    c->is_fresh = false;
    s->counts.in_flight++;
    s->service.request(r);
    assert(r->ops || x->ended || c->broken);
    x->body.most_bytes = r->body_bytes_max;
    r->content.ceiling_bytes = MIN(r->body_bytes_max, BUF_CEILING_MAX);
}

static void
finish_request(struct conn *c, bool answered)
{
    struct exchange *x = c->exchange;
    struct http_server *s = c->server;
    struct http_request *r = &x->request;
    x->in_flight = x->begun = x->ended = false;
    s->counts.in_flight--;
    (*(answered ? &s->counts.answered : &s->counts.gone))++;
    if (r->ops && r->ops->finished)
        r->ops->finished(r, answered);
    s->counts.content_bytes -= r->content.len;
    buf_clear(&r->content);
    http1_request_init(&r->head, &s->config.head);
    c->touched |= c->state != CONN_WRITE; /* the next one has its own time; its reader has not */
}

/* Ends a request that cannot be read to its end: with our own answer, if there is still time. */
static void
fail_request(struct conn *c, unsigned status, const char *reason, const char *why)
{
    bool begun = c->exchange->begun;
    finish_request(c, false);
    if (begun)
        c->broken = true;
    else
        answer_error(c->exchange, status, reason, why);
}

/* Steps: each does one thing and tells whether there may be another. */

static bool
step_head(struct conn *c)
{
    struct exchange *x = c->exchange;
    struct http1_head *head = &x->request.head;
    if (exchange_unread(x) == 0)
        return false;
    if (exchange_unsent(x) >= c->server->config.high_bytes) {
        x->held = true;
        return false;
    }
    switch (http1_head_read(head, x->in.data + x->in_at, exchange_unread(x))) {
    case HTTP1_DONE:
        x->in_at += head->len;
        begin_request(c);
        return true;
    case HTTP1_REFUSED: {
        const struct http1_reason_row *row = http1_reason_row(head->reason);
        c->server->counts.refused++;
        answer_error(x, (unsigned)row->status, row->name, row->why);
        return true;
    }
    case HTTP1_MORE:
    case HTTP1_PIECE:
        break;
    }
    return false;
}

static void
collect(struct conn *c, const char *bytes, size_t len)
{
    struct http_server *s = c->server;
    struct buf *content = &c->exchange->request.content;
    bool allowed = len <= s->config.content_bytes_max - s->counts.content_bytes;
    if (allowed)
        buf_add(content, bytes, len);
    if (!allowed || buf_error(content) < 0) {
        fail_request(c, 503, "too-much-content", "there is no room for more requests' bodies");
        return;
    }
    s->counts.content_bytes += len;
}

static void
take_piece(struct conn *c, const char *bytes, size_t len)
{
    struct http_request *r = &c->exchange->request;
    if (r->ops->body)
        r->ops->body(r, bytes, len);
    else
        collect(c, bytes, len);
}

static void
take_body_end(struct exchange *x)
{
    const struct http_request_ops *ops = x->request.ops;
    x->body_whole = true;
    if (ops->complete)
        ops->complete(&x->request);
}

/* Nothing of the body has come, and the client waits to be asked for it. */
static void
ask_for_body(struct exchange *x)
{
    if (x->wants_continue && !x->begun)
        buf_add_str(&x->out, "HTTP/1.1 100 Continue\r\n\r\n");
    x->wants_continue = false;
}

static bool
refuse_body(struct conn *c)
{
    struct exchange *x = c->exchange;
    const struct http1_reason_row *row = http1_reason_row(x->body.reason);
    c->server->counts.refused++;
    fail_request(c, (unsigned)row->status, row->name, row->why);
    return true;
}

static bool
step_body(struct conn *c)
{
    struct exchange *x = c->exchange;
    size_t used, piece;
    if (x->body_whole || x->paused)
        return false;
    const char *bytes = x->in.data + x->in_at;
    enum http1_verdict verdict =
        http1_body_read(&x->body, bytes, exchange_unread(x), &used, &piece);
    x->in_at += used;
    switch (verdict) {
    case HTTP1_PIECE:
        x->wants_continue = false;
        take_piece(c, bytes + used - piece, piece);
        return true;
    case HTTP1_DONE:
        take_body_end(x);
        return true;
    case HTTP1_REFUSED:
        return refuse_body(c);
    case HTTP1_MORE:
        break;
    }
    ask_for_body(x);
    return false;
}

static void
break_off(struct conn *c)
{
    if (c->exchange)
        c->exchange->request.is_cut = true;
    c->broken = true;
}

/* An answer that has ended in this pass is not told of it. */
static bool
step_dismiss(struct conn *c)
{
    struct exchange *x = c->exchange;
    if (!c->server->dismisses || x->dismissed)
        return false;
    x->dismissed = true;
    if (x->request.ops->dismissed)
        x->request.ops->dismissed(&x->request);
    else
        break_off(c);
    return true;
}

static bool
step_writable(struct conn *c)
{
    struct exchange *x = c->exchange;
    if (!x->told_full || exchange_unsent(x) > c->server->config.low_bytes)
        return false;
    x->told_full = false;
    if (x->request.ops->writable)
        x->request.ops->writable(&x->request);
    return true;
}

/* The handler has gone, and what it did not want is thrown away. */
static bool
step_skip(struct conn *c)
{
    struct exchange *x = c->exchange;
    size_t used, piece;
    enum http1_verdict verdict =
        http1_body_read(&x->body, x->in.data + x->in_at, exchange_unread(x), &used, &piece);
    x->in_at += used;
    x->body_whole = verdict == HTTP1_DONE;
    c->ends |= verdict == HTTP1_REFUSED;
    return verdict != HTTP1_MORE;
}

static bool
step(struct conn *c)
{
    struct exchange *x = c->exchange;
    if (!x)
        return false;
    if (!x->in_flight)
        return !c->ends && (x->body_whole ? step_head(c) : step_skip(c));
    if (x->ended) {
        finish_request(c, true);
        return true;
    }
    return step_dismiss(c) || step_writable(c) || step_body(c);
}

/* Reading and writing */

static void
discard(struct conn *c)
{
    char bytes[4 * KIB];
    for (int i = 0; i < 16; i++) {
        ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            c->broken = true;
        if (n < (ssize_t)sizeof(bytes))
            return;
    }
}

/* Who speaks no TLS where it is spoken may speak HTTP, and then hears why that is no use. */
static void
refuse_plain(struct conn *c)
{
    c->server->counts.handshakes_failed++;
    tls_free(take_ptr(c->tls));
    answer_error(c->exchange, 400, "plain-http", "this port speaks TLS: ask it by https://");
}

static void
receive(struct conn *c)
{
    struct exchange *x = c->exchange ? c->exchange : open_exchange(c);
    spare_lend(&c->server->room, &x->in);
    buf_consume(&x->in, x->in_at);
    x->in_at = 0;
    void *to = buf_reserve(&x->in, CONN_READ_BYTES);
    assert(to); /* wants_to_read() saw to it */
    ssize_t n = conn_receive(c, to, CONN_READ_BYTES);
    if (n > 0) {
        buf_commit(&x->in, (size_t)n);
        has_read(c, (size_t)n);
    } else if (n == 0) {
        c->has_left = true;
    } else if (n == -EPROTONOSUPPORT) {
        refuse_plain(c);
    } else if (n != -EAGAIN) {
        c->server->counts.handshakes_failed += c->state == CONN_HANDSHAKE;
        c->broken = true;
    }
}

static void
flush(struct conn *c)
{
    struct exchange *x = c->exchange;
    size_t len = x ? exchange_unsent(x) : 0;
    if (len == 0)
        return;
    ssize_t n = conn_send(c, x->out.data + x->out_at, len);
    if (n < 0) {
        c->broken = n != -EAGAIN;
        return;
    }
    x->out_at += (size_t)n;
    has_written(c, (size_t)n);
    x->is_behind &= (size_t)n < len;
    /* Moving the rest costs no more than what was sent. */
    if (!x->head_open && x->out_at >= exchange_unsent(x)) {
        buf_consume(&x->out, x->out_at);
        x->out_at = 0;
    }
    if ((x->held || x->told_full) && exchange_unsent(x) <= c->server->config.low_bytes) {
        x->held = false;
        loop_defer(c->server->loop, &c->defer); /* not now: others have waited */
    }
}

/* What is waited for */

void
conn_enter(struct conn *c, enum conn_state state)
{
    c->state = state;
    c->written_bytes = 0;
    c->taken_bytes = NEVER_LOOKED;
    wait_begin(&c->server->waits, &c->server->lists[state], &c->wait);
    server_entered(c);
}

/* Not within an answer: where that ends with the connection, it would look complete. */
static void
say_end(struct conn *c)
{
    const struct exchange *x = c->exchange;
    bool is_cut = x && (x->in_flight || exchange_unsent(x) > 0);
    if (c->tls && !is_cut && !c->linger)
        tls_end(c->tls);
}

static void
bury(struct conn *c)
{
    say_end(c);
    if (c->exchange && c->exchange->in_flight)
        finish_request(c, false);
    drop_exchange(c);
    tls_free(take_ptr(c->tls));
    loop_fd_stop(&c->watch);
    (void)close(c->fd);
    server_bury(c);
}

/* Closing a socket whose client still sends would make the kernel throw away, at both ends, the
 * answer that is on its way. So first our side is shut, then theirs is waited for. */
static void
linger(struct conn *c)
{
    drop_exchange(c);
    say_end(c);
    c->linger = true;
    if (c->has_left || shutdown(c->fd, SHUT_WR) < 0)
        c->broken = true;
}

static enum conn_state
find_state(const struct conn *c)
{
    const struct exchange *x = c->exchange;
    if (c->linger)
        return CONN_LINGER;
    if (c->tls && !tls_is_open(c->tls))
        return CONN_HANDSHAKE;
    if (!x)
        return CONN_IDLE;
    if (exchange_unsent(x) > 0)
        return CONN_WRITE;
    if (x->in_flight)
        return x->body_whole || x->paused ? CONN_ANSWER : CONN_BODY;
    if (!x->body_whole)
        return CONN_SKIP;
    return exchange_unread(x) > 0 ? CONN_HEAD : CONN_IDLE;
}

static bool
wants_to_read(const struct conn *c)
{
    const struct exchange *x = c->exchange;
    return !c->has_left && (!x || exchange_unread(x) + CONN_READ_BYTES <= x->in.ceiling_bytes);
}

/* A handshake is got on with by reading, also where what it waits for is to write. */
static bool
wants_to_shake(const struct conn *c)
{
    return c->state == CONN_HANDSHAKE && tls_wants_write(c->tls);
}

/* Reading stays on while the handler works: then the client's leaving is seen as its end of file,
 * and nothing is changed for each request. */
static void
watch(struct conn *c)
{
    unsigned events = wants_to_read(c) ? LOOP_READ : c->has_left ? 0 : LOOP_HANGUP;
    if (c->state == CONN_WRITE || wants_to_shake(c))
        events |= LOOP_WRITE;
    loop_fd_change(&c->watch, events);
}

static bool
is_over(const struct conn *c, enum conn_state state)
{
    if (c->broken)
        return true;
    if (c->has_left) /* a half-closed connection is there for what is to be sent only */
        return state != CONN_WRITE || !c->exchange || c->exchange->in_flight;
    if (c->server->dismisses && (state == CONN_HEAD || state == CONN_HANDSHAKE))
        return true; /* he has asked for nothing yet */
    return (state == CONN_IDLE || state == CONN_HANDSHAKE) && c->server->draining && !c->is_fresh;
}

/* Of what was read, if all was taken. */
static void
return_room(struct conn *c)
{
    struct exchange *x = c->exchange;
    if (!x || exchange_unread(x) > 0)
        return;
    spare_return(&c->server->room, &x->in);
    x->in_at = 0;
}

static void
settle(struct conn *c)
{
    struct exchange *x = c->exchange;
    if (!c->broken && x && c->ends && !x->in_flight && exchange_unsent(x) == 0)
        linger(c);
    enum conn_state state = find_state(c);
    if (is_over(c, state)) {
        bury(c);
        return;
    }
    if (c->state == CONN_BODY && state != CONN_BODY && c->exchange && !c->touched)
        c->exchange->step_us += waited_us(c);
    if (state != c->state || c->touched)
        conn_enter(c, state);
    else
        server_turned(c);
    c->touched = false;
    if (state == CONN_IDLE || state == CONN_HANDSHAKE)
        drop_exchange(c);
    watch(c);
}

void
conn_run(struct conn *c)
{
    if (c->running || c->state == CONN_DEAD)
        return;
    c->running = true;
    while (!c->broken && step(c))
        ;
    if (!c->broken)
        flush(c);
    return_room(c);
    settle(c);
    c->running = false;
}

void
conn_schedule(struct conn *c)
{
    if (!c->running)
        loop_defer(c->server->loop, &c->defer);
}

void
conn_break(struct conn *c)
{
    break_off(c);
    conn_run(c);
}

/* It has waited for its client in vain, and that is the client's doing. */
void
conn_expire(struct conn *c)
{
    if (c->state != CONN_IDLE)
        c->server->counts.timed_out++;
    switch (c->state) {
    case CONN_HEAD:
        answer_error(c->exchange, 408, "head-timeout", "the head did not come in time");
        break;
    case CONN_BODY:
        fail_request(c, 408, "body-timeout", "the body did not come in time");
        break;
    case CONN_SKIP:
        c->ends = true;
        break;
    case CONN_HANDSHAKE:
    case CONN_IDLE:
    case CONN_ANSWER:
    case CONN_WRITE:
    case CONN_LINGER:
    case CONN_DEAD:
    case CONN_STATES:
        c->broken = true;
    }
    conn_run(c);
}

/* The kernel holds more of an answer than a client may read in a second: so what is asked is what
 * it has passed on, and not what it has taken from us. */
void
conn_look(struct conn *c)
{
    const struct exchange *x = c->exchange;
    int kept_bytes = 0;
    if (c->is_stalled || x->in_flight || ioctl(c->fd, SIOCOUTQ, &kept_bytes) < 0)
        return;
    int64_t taken_bytes = (int64_t)c->written_bytes - kept_bytes;
    c->is_stalled = taken_bytes == c->taken_bytes;
    c->taken_bytes = taken_bytes;
    server_turned(c);
}

static void
on_ready(struct loop_fd *fd, unsigned events)
{
    struct conn *c = container_of(fd, struct conn, watch);
    if (is_late(c)) {
        conn_expire(c);
        return;
    }
    if (c->linger)
        discard(c);
    else if ((events & LOOP_READ) || wants_to_shake(c))
        receive(c);
    else if (events & LOOP_HANGUP)
        c->has_left = true;
    conn_run(c);
}

static void
on_deferred(struct loop_defer *defer)
{
    struct conn *c = container_of(defer, struct conn, defer);
    if (c->state == CONN_DEAD)
        server_free_conn(c);
    else
        conn_run(c);
}

struct conn *
conn_new(struct http_server *s, int fd)
{
    struct conn *c = mem_new(struct conn);
    c->server = s;
    c->fd = fd;
    c->is_fresh = true;
    c->tls = s->tls ? tls_accept(s->tls, fd) : NULL;
    c->watch.ready = on_ready;
    c->defer.run = on_deferred;
    if (loop_fd_start(s->loop, &c->watch, fd, LOOP_READ) < 0) {
        (void)close(fd);
        tls_free(c->tls);
        free(c);
        return NULL;
    }
    return c;
}
