#pragma once

/* The server over real sockets. Test, server and clients share one loop: a test says what clients
 * send, and waits for what must come of it. */

#include "http/server.h"
#include "loop_rig.h"
#include "sys/sock.h"
#include "tap.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST "Host: h\r\n"
#define GET(target) "GET " target " HTTP/1.1\r\n" HOST "\r\n"

struct rig {
    struct loop_rig turn;
    struct http_server *server;
    struct http_server_config config;
    struct http_service service;
    struct sock_addr addr;

    struct http_request *late[8]; /* requests that the test answers */
    size_t late_count;
    unsigned answered, gone; /* as ops->finished() was told */
    unsigned cut;            /* of those that are gone: by the server */
    unsigned drained, dismissed;
    uint64_t produced_bytes, wanted_bytes; /* of /stream */
    uint64_t body_bytes;
    bool pause_body;
};

static struct rig *rig;

/* Handlers */

static inline void
on_finished(struct http_request *r, bool answered)
{
    (*(answered ? &rig->answered : &rig->gone))++;
    rig->cut += r->is_cut;
    for (size_t i = 0; i < rig->late_count; i++)
        if (rig->late[i] == r)
            rig->late[i] = NULL;
}

static inline void
echo_complete(struct http_request *r)
{
    http_answer(r, 200, NULL, r->content.data, r->content.len);
}

static const struct http_request_ops echo_ops = {.complete = echo_complete,
                                                 .finished = on_finished};

static inline void
late_body(struct http_request *r, const char *bytes unused_arg, size_t len)
{
    rig->body_bytes += len;
    if (rig->pause_body)
        http_request_pause(r);
}

/* r->user: of one whose answer has begun. */
static inline void
late_dismissed(struct http_request *r)
{
    rig->dismissed++;
    if (!r->user) {
        http_answer(r, 503, NULL, "", 0);
        return;
    }
    (void)http_answer_write(r, "bye", 3);
    http_answer_end(r);
}

static const struct http_request_ops late_ops = {
    .body = late_body, .dismissed = late_dismissed, .finished = on_finished};

static inline void
stream_more(struct http_request *r)
{
    static const char block[8192] = "0123456789abcdef";
    while (rig->produced_bytes < rig->wanted_bytes) {
        rig->produced_bytes += sizeof(block);
        if (!http_answer_write(r, block, sizeof(block)))
            return;
    }
    http_answer_end(r);
}

static const struct http_request_ops stream_ops = {.writable = stream_more,
                                                   .finished = on_finished};

static const struct http_request_ops silent_ops = {.finished = on_finished};

static const char *const bad_fields[][2] = {
    {"X-Said", "a\r\nSet-Cookie: b"},
    {"X-Said", "  padded  "},
    {"Content-Length", "4"},
    {"Transfer-Encoding", "chunked"},
    {"connection", "close"},
    {"Date", "Thu, 01 Jan 1970 00:00:00 GMT"},
    {"Server", "me"},
};

/* The digit at the end of its path says which. */
static inline void
answer_bad_field(struct http_request *r)
{
    char digit = r->head.bytes[r->head.path.at + r->head.path.len - 1];
    const char *const *field = bad_fields[digit - '0'];
    http_answer_begin(r, 200);
    http_answer_field(r, field[0], field[1]);
    http_answer_whole(r, "body", 4);
}

static inline void
answer_pieces(struct http_request *r)
{
    http_answer_begin(r, 200);
    http_answer_stream(r);
    (void)http_answer_write(r, "one", 3);
    (void)http_answer_write(r, "", 0);
    (void)http_answer_write(r, "twelve bytes", 12);
    http_answer_end(r);
}

static inline void
answer_counted(struct http_request *r)
{
    http_answer_begin(r, 200);
    http_answer_length(r, 15);
    (void)http_answer_write(r, "one", 3);
    (void)http_answer_write(r, "twelve bytes", 12);
    http_answer_end(r);
}

static inline void
on_request(struct http_request *r)
{
    const struct http1_head *h = &r->head;
    r->ops = &silent_ops;
    if (http1_is(h, h->path, "/hello")) {
        http_answer(r, 200, "text/plain", "hello", 5);
    } else if (http1_is(h, h->path, "/echo")) {
        r->ops = &echo_ops;
    } else if (http1_is(h, h->path, "/kept")) {
        r->ops = &echo_ops;
        rig->late[rig->late_count++] = r;
    } else if (http1_is(h, h->path, "/small")) {
        r->ops = &echo_ops;
        r->body_bytes_max = 4;
    } else if (http1_is(h, h->path, "/late")) {
        r->ops = &late_ops;
        rig->late[rig->late_count++] = r;
    } else if (http1_is(h, h->path, "/stream")) {
        r->ops = &stream_ops;
        http_answer_begin(r, 200);
        http_answer_stream(r);
        stream_more(r);
    } else if (http1_is(h, h->path, "/pieces")) {
        answer_pieces(r);
    } else if (http1_is(h, h->path, "/counted")) {
        answer_counted(r);
    } else if (h->path.len == 5 && memcmp(h->bytes + h->path.at, "/bad", 4) == 0) {
        answer_bad_field(r);
    } else if (http1_is(h, h->path, "/drain")) {
        http_server_drain(rig->server);
        http_answer(r, 200, NULL, "", 0);
    } else if (http1_is(h, h->path, "/stop")) {
        http_server_stop(rig->server);
    } else if (http1_is(h, h->path, "/none")) {
        http_answer(r, 204, NULL, "", 0);
    } else if (http1_is(h, h->path, "/unchanged")) {
        http_answer(r, 304, NULL, "", 0);
    } else {
        http_answer(r, 404, NULL, "no", 2);
    }
}

static inline void
on_drained(void *arg)
{
    struct rig *r = arg;
    r->drained++;
}

/* The rig */

static inline void
rig_config(struct rig *r)
{
    *r = (struct rig){.config = http_server_config_default};
    r->config.name = NULL;
    r->service = (struct http_service){.request = on_request, .drained = on_drained, .arg = r};
}

static inline bool
rig_start(struct rig *r)
{
    rig = r;
    if (!loop_rig_open(&r->turn))
        return false;
    r->server = http_server_new(r->turn.loop, &r->config, &r->service);
    if (sock_addr_parse("127.0.0.1:0", &r->addr, NULL) < 0)
        return false;
    int fd = sock_listen(&r->addr, 0600, NULL);
    if (fd < 0 || http_server_listen(r->server, fd, NULL) < 0)
        return false;
    r->addr.port = (uint16_t)sock_bound_port(fd);
    return true;
}

/* Runs the loop until something holds. */
#define WAIT(condition) LOOP_WAIT(&rig->turn, condition)

static inline void
run_for(uint64_t us)
{
    loop_rig_run(&rig->turn, us);
}

/* Clients */

struct client {
    struct loop_fd watch;
    int fd;
    struct buf got;
    bool ended, reset;
};

static inline void
on_client(struct loop_fd *watch, unsigned events unused_arg)
{
    struct client *c = container_of(watch, struct client, watch);
    char bytes[65536];
    ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);
    if (n > 0)
        buf_add(&c->got, bytes, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        c->ended = true;
    c->reset |= n < 0 && errno == ECONNRESET;
    if (c->ended)
        loop_fd_stop(&c->watch);
    loop_stop(rig->turn.loop);
}

static inline void
client_hear(struct client *c)
{
    int r = loop_fd_start(rig->turn.loop, &c->watch, c->fd, LOOP_READ);
    assert(r == 0);
}

static inline void
client_open(struct client *c)
{
    *c = (struct client){.got = BUF_INIT(256 * MIB), .watch.ready = on_client};
    c->fd = sock_connect(&rig->addr, NULL);
    assert(c->fd >= 0);
    client_hear(c);
}

static inline void
client_close(struct client *c)
{
    loop_fd_stop(&c->watch);
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
    buf_finish(&c->got);
}

#define _cleanup_client_ _cleanup_(client_close)

/* Sends it all, while the loop runs. */
static inline bool
client_send_n(struct client *c, const char *bytes, size_t len)
{
    size_t at = 0;
    for (int tries = 0; at < len && tries < 20000; tries++) {
        ssize_t n = send(c->fd, bytes + at, len - at, MSG_NOSIGNAL);
        at += n > 0 ? (size_t)n : 0;
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n < 0)
            run_for(1000);
    }
    return at == len;
}

static inline bool
client_send(struct client *c, const char *text)
{
    return client_send_n(c, text, strlen(text));
}

static inline void
cut_dates(struct buf *b)
{
    for (char *at; (at = strstr(b->data, "Date: "));) {
        char *end = strstr(at, "\r\n");
        if (!end)
            return;
        memmove(at, end + 2, strlen(end + 2) + 1);
        buf_truncate(b, b->len - (size_t)(end + 2 - at));
    }
}

/* Waits for as many bytes as there are in the text, and compares. */
#define EXPECT(client, text)                                                         \
    do {                                                                             \
        (void)WAIT((cut_dates(&(client)->got), (client)->got.len) >= strlen(text) || \
                   (client)->ended);                                                 \
        CHECK_STR((client)->got.data, text);                                         \
        buf_clear(&(client)->got);                                                   \
    } while (0)

#define EXPECT_END(client)                 \
    do {                                   \
        CHECK(WAIT((client)->ended));      \
        CHECK(!(client)->reset);           \
        CHECK_STR((client)->got.data, ""); \
    } while (0)

static inline const struct http_server_counts *
counts(void)
{
    return http_server_counts(rig->server);
}

#define RIG(...)                                                \
    struct rig r_;                                              \
    rig_config(&r_);                                            \
    __VA_ARGS__;                                                \
    _cleanup_(finish_rig) unused_arg struct rig *finish_ = &r_; \
    REQUIRE(rig_start(&r_))

/* Each request that the handler got was ended exactly once. */
static inline void
finish_rig(struct rig **rp)
{
    struct rig *r = *rp;
    struct http_server_counts last;
    if (!r->server)
        return;
    http_server_stop(r->server);
    last = *counts();
    CHECK_EQ(r->answered + r->gone, last.requests);
    CHECK_EQ(last.answered, r->answered);
    CHECK_EQ(last.gone, r->gone);
    CHECK_EQ(last.in_flight, 0);
    CHECK_EQ(last.connections, 0);
    http_server_free(r->server);
    loop_rig_close(&r->turn);
}

#define HELLO "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"

/* What the server answers itself. */
#define ERROR(status, length, reason)                                            \
    "HTTP/1.1 " status "\r\nContent-Type: text/plain\r\nContent-Length: " length \
    "\r\nConnection: close\r\n\r\n" reason "\n"
