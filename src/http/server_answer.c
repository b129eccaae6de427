/* What handlers call. It only writes into the buffer of the exchange; the connection does the rest,
 * at the end of its own step or, when the call comes from elsewhere, at the end of the pass. */

#include "http/server_int.h"

#include "sys/clock.h"

#include <errno.h>
#include <sys/socket.h>

/* A body that the handler did not want is skipped if that is quick; else the connection ends. */
#define SKIP_BYTES (64 * KIB)

static struct exchange *
exchange_of(struct http_request *r)
{
    return container_of(r, struct exchange, request);
}

void
http_request_pause(struct http_request *r)
{
    exchange_of(r)->paused = true;
}

void
http_request_resume(struct http_request *r)
{
    struct exchange *x = exchange_of(r);
    x->paused = false;
    conn_schedule(x->conn);
}

int
http_request_fd(const struct http_request *r)
{
    return container_of(r, const struct exchange, request)->conn->fd;
}

uint64_t
http_request_address(const struct http_request *r)
{
    return crowd_member_address(&container_of(r, const struct exchange, request)->conn->member);
}

void
http_answer_begin(struct http_request *r, unsigned status)
{
    struct exchange *x = exchange_of(r);
    struct http_server *s = x->conn->server;
    assert(!x->begun && status >= 200);
    x->begun = x->head_open = true;
    x->no_content = r->head.method == HTTP_HEAD || status == 204 || status == 304;
    x->chunked = x->counted = false;
    http_write_response(&x->writer, &x->out, status);
    http_write_field(&x->writer, "Date", http_date(&s->date, loop_wall_us(s->loop)));
    if (s->config.name)
        http_write_field(&x->writer, "Server", s->config.name);
    x->bare = status == 204 || status == 304;
}

void
http_answer_field_n(struct http_request *r, const char *name, const char *value, size_t len)
{
    struct exchange *x = exchange_of(r);
    enum http_field id = http_field_of(name, strlen(name));
    assert(x->head_open);
    x->writer.failed |= id == HTTP_FIELD_DATE || id == HTTP_FIELD_SERVER;
    http_write_field_n(&x->writer, name, value, len);
}

void
http_answer_field(struct http_request *r, const char *name, const char *value)
{
    http_answer_field_n(r, name, value, strlen(value));
}

/* Whether the next request can be found behind this one. */
static bool
can_go_on(const struct exchange *x)
{
    if (!x->in_flight || !x->request.head.keep_alive || x->conn->server->draining)
        return false;
    return x->body_whole || x->body.framing == HTTP1_NO_BODY ||
           (x->body.framing == HTTP1_LENGTH && x->body.left <= SKIP_BYTES && !x->wants_continue);
}

static void
end_answer(struct exchange *x)
{
    x->ended = true;
    if (buf_error(&x->out) < 0)
        x->conn->broken = true;
    conn_schedule(x->conn);
}

/* The handler asked for something that cannot be written: that is said, and no more. */
static void
answer_bad_answer(struct exchange *x)
{
    http_write_response(&x->writer, &x->out, 500);
    http_write_length(&x->writer, 0);
    http_write_connection(&x->writer, "close");
    x->conn->ends = true;
    x->head_open = false;
    if (http_write_end(&x->writer) < 0)
        x->conn->broken = true;
    end_answer(x);
}

static void
end_head(struct exchange *x)
{
    bool goes_on = can_go_on(x);
    if (!goes_on)
        http_write_connection(&x->writer, "close");
    else if (x->request.head.minor == 0)
        http_write_connection(&x->writer, "keep-alive");
    int r = http_write_end(&x->writer);
    if (r == -EINVAL) {
        answer_bad_answer(x);
        return;
    }
    x->head_open = false;
    x->conn->ends |= !goes_on;
    x->conn->broken |= r < 0;
}

void
http_answer_whole(struct http_request *r, const void *bytes, size_t len)
{
    struct exchange *x = exchange_of(r);
    assert(x->head_open);
    if (!x->bare)
        http_write_length(&x->writer, len);
    end_head(x);
    if (x->ended)
        return;
    if (!x->no_content)
        buf_add(&x->out, bytes, len);
    end_answer(x);
}

void
http_answer(struct http_request *r, unsigned status, const char *type, const void *bytes,
            size_t len)
{
    http_answer_begin(r, status);
    if (type)
        http_answer_field(r, "Content-Type", type);
    http_answer_whole(r, bytes, len);
}

/* To a client of HTTP/1.0 the end of the connection is the end of the answer. */
void
http_answer_stream(struct http_request *r)
{
    struct exchange *x = exchange_of(r);
    assert(x->head_open);
    if (r->head.minor == 0)
        r->head.keep_alive = false;
    else if (!x->bare)
        http_write_chunked(&x->writer);
    x->chunked = r->head.minor >= 1;
    end_head(x);
    conn_schedule(x->conn);
}

void
http_answer_length(struct http_request *r, uint64_t bytes)
{
    struct exchange *x = exchange_of(r);
    assert(x->head_open);
    if (!x->bare)
        http_write_length(&x->writer, bytes);
    x->counted = !x->no_content;
    x->left = bytes;
    end_head(x);
    conn_schedule(x->conn);
}

bool
http_answer_write(struct http_request *r, const void *bytes, size_t len)
{
    struct exchange *x = exchange_of(r);
    assert(x->begun && !x->head_open);
    if (x->ended || x->no_content || x->conn->broken)
        return !x->conn->broken;
    if (x->counted) {
        assert(len <= x->left);
        x->left -= len;
    }
    if (x->chunked)
        http_write_chunk(&x->out, bytes, len);
    else
        buf_add(&x->out, bytes, len);
    if (buf_error(&x->out) < 0)
        x->conn->broken = true;
    conn_schedule(x->conn);
    x->told_full = exchange_unsent(x) > x->conn->server->config.high_bytes;
    return !x->told_full;
}

void
http_answer_end(struct http_request *r)
{
    struct exchange *x = exchange_of(r);
    assert(x->begun && !x->head_open);
    if (x->ended)
        return;
    assert(!x->counted || x->left == 0 || x->conn->broken);
    if (x->chunked && !x->no_content)
        http_write_last_chunk(&x->out);
    end_answer(x);
}

void
http_answer_cut(struct http_request *r)
{
    struct exchange *x = exchange_of(r);
    x->conn->broken = true;
    conn_schedule(x->conn);
}

void
answer_error(struct exchange *x, unsigned status, const char *reason, const char *why)
{
    const struct http_service *service = &x->conn->server->service;
    _cleanup_buf_ struct buf body = BUF_INIT(64 * KIB);
    const char *type = "text/plain";
    x->begun = false;
    if (service->explain)
        type = service->explain(service->arg, status, reason, why, &body);
    else
        buf_printf(&body, "%u %s: %s: %s\n", status, http_status_phrase(status), reason, why);
    http_answer(&x->request, status, type, body.data, body.len);
}
