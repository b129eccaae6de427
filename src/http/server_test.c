/* The server over real sockets. Test, server and clients share one loop: a test says what clients
 * send, and waits for what must come of it. */

#include "http/server.h"

#include "sys/loop.h"
#include "sys/sock.h"
#include "tap.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST "Host: h\r\n"
#define GET(target) "GET " target " HTTP/1.1\r\n" HOST "\r\n"
#define PATIENCE_US (20 * 1000000)

struct rig {
    struct loop *loop;
    struct http_server *server;
    struct http_server_config config;
    struct http_service service;
    struct sock_addr addr;
    struct loop_timer beat;

    struct http_request *late[8]; /* requests that the test answers */
    size_t late_count;
    unsigned answered, gone; /* as ops->finished() was told */
    unsigned drained;
    uint64_t produced_bytes, wanted_bytes; /* of /stream */
    uint64_t body_bytes;
    bool pause_body;
};

static struct rig *rig;

/* Handlers */

static void
on_finished(struct http_request *r unused_arg, bool answered)
{
    (*(answered ? &rig->answered : &rig->gone))++;
    for (size_t i = 0; i < rig->late_count; i++)
        if (rig->late[i] == r)
            rig->late[i] = NULL;
}

static void
echo_complete(struct http_request *r)
{
    http_answer(r, 200, NULL, r->content.data, r->content.len);
}

static const struct http_request_ops echo_ops = {.complete = echo_complete,
                                                 .finished = on_finished};

static void
late_body(struct http_request *r, const char *bytes unused_arg, size_t len)
{
    rig->body_bytes += len;
    if (rig->pause_body)
        http_request_pause(r);
}

static const struct http_request_ops late_ops = {.body = late_body, .finished = on_finished};

static void
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
static void
answer_bad_field(struct http_request *r)
{
    char digit = r->head.bytes[r->head.path.at + r->head.path.len - 1];
    const char *const *field = bad_fields[digit - '0'];
    http_answer_begin(r, 200);
    http_answer_field(r, field[0], field[1]);
    http_answer_whole(r, "body", 4);
}

static void
answer_pieces(struct http_request *r)
{
    http_answer_begin(r, 200);
    http_answer_stream(r);
    (void)http_answer_write(r, "one", 3);
    (void)http_answer_write(r, "", 0);
    (void)http_answer_write(r, "twelve bytes", 12);
    http_answer_end(r);
}

static void
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

static void
on_drained(void *arg)
{
    struct rig *r = arg;
    r->drained++;
}

/* The rig */

static void
on_beat(struct loop_timer *timer)
{
    loop_stop(container_of(timer, struct rig, beat)->loop);
}

static void
rig_config(struct rig *r)
{
    *r = (struct rig){.config = http_server_config_default};
    r->config.name = NULL;
    r->service = (struct http_service){.request = on_request, .drained = on_drained, .arg = r};
}

static bool
rig_start(struct rig *r)
{
    rig = r;
    r->beat.expired = on_beat;
    if (loop_new(&r->loop, NULL) < 0)
        return false;
    r->server = http_server_new(r->loop, &r->config, &r->service);
    if (sock_addr_parse("127.0.0.1:0", &r->addr, NULL) < 0)
        return false;
    int fd = sock_listen(&r->addr, 0600, NULL);
    if (fd < 0 || http_server_listen(r->server, fd, NULL) < 0)
        return false;
    r->addr.port = (uint16_t)sock_bound_port(fd);
    return true;
}

/* Clients */

struct client {
    struct loop_fd watch;
    int fd;
    struct buf got;
    bool ended, reset;
};

static void
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
    loop_stop(rig->loop);
}

static void
client_hear(struct client *c)
{
    int r = loop_fd_start(rig->loop, &c->watch, c->fd, LOOP_READ);
    assert(r == 0);
}

static void
client_open(struct client *c)
{
    *c = (struct client){.got = BUF_INIT(256 * MIB), .watch.ready = on_client};
    c->fd = sock_connect(&rig->addr, NULL);
    assert(c->fd >= 0);
    client_hear(c);
}

static void
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
static bool
client_send_n(struct client *c, const char *bytes, size_t len)
{
    size_t at = 0;
    for (int tries = 0; at < len && tries < 20000; tries++) {
        ssize_t n = send(c->fd, bytes + at, len - at, MSG_NOSIGNAL);
        at += n > 0 ? (size_t)n : 0;
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n < 0) {
            loop_timer_start(rig->loop, &rig->beat, 1000, 0);
            loop_run(rig->loop);
        }
    }
    return at == len;
}

static bool
client_send(struct client *c, const char *text)
{
    return client_send_n(c, text, strlen(text));
}

/* Runs the loop until something holds. */
#define WAIT(condition)                                              \
    ({                                                               \
        uint64_t until_us_ = loop_now_us(rig->loop) + PATIENCE_US;   \
        while (!(condition) && loop_now_us(rig->loop) < until_us_) { \
            loop_timer_start(rig->loop, &rig->beat, 1000, 0);        \
            loop_run(rig->loop);                                     \
        }                                                            \
        (condition);                                                 \
    })

static void
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

static const struct http_server_counts *
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
static void
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
    loop_timer_stop(&r->beat);
    http_server_free(r->server);
    loop_free(r->loop);
}

#define HELLO "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"

TEST(server_answers)
{
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, GET("/hello")));
    EXPECT(&c, HELLO);
    CHECK(client_send(&c, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc"));
    EXPECT(&c, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
    CHECK(client_send(&c, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                          "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"));
    EXPECT(&c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde");
    CHECK(client_send(&c, GET("/pieces")));
    EXPECT(&c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
               "3\r\none\r\nc\r\ntwelve bytes\r\n0\r\n\r\n");
    CHECK(client_send(&c, GET("/none")));
    EXPECT(&c, "HTTP/1.1 204 No Content\r\n\r\n");
    CHECK(client_send(&c, GET("/unchanged")));
    EXPECT(&c, "HTTP/1.1 304 Not Modified\r\n\r\n");
    CHECK(client_send(&c, "HEAD /hello HTTP/1.1\r\n" HOST "\r\n"));
    EXPECT(&c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n");
    CHECK(client_send(&c, "HEAD /pieces HTTP/1.1\r\n" HOST "\r\n"));
    EXPECT(&c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    CHECK_EQ(counts()->accepted, 1);
    CHECK(client_send(&c, "GET /hello HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"));
    EXPECT(&c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
               "Connection: close\r\n\r\nhello");
    EXPECT_END(&c);
}

TEST(server_says_its_name_and_the_date)
{
    RIG(r_.config.name = "citadel");
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, GET("/none")));
    REQUIRE(WAIT(strstr(c.got.data, "\r\n\r\n")));
    CHECK(strstr(c.got.data, "\r\nServer: citadel\r\n"));
    char *date = strstr(c.got.data, "\r\nDate: ");
    REQUIRE(date);
    CHECK(strncmp(date + 33, " GMT\r\n", 6) == 0);
}

TEST(server_speaks_to_http_10)
{
    RIG();
    _cleanup_client_ struct client c, d, e;
    client_open(&c);
    CHECK(client_send(&c, "GET /hello HTTP/1.0\r\n\r\n"));
    EXPECT(&c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
               "Connection: close\r\n\r\nhello");
    EXPECT_END(&c);
    client_open(&d);
    CHECK(client_send(&d, "GET /none HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    EXPECT(&d, "HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n");
    CHECK(client_send(&d, "GET /none HTTP/1.0\r\n\r\n"));
    EXPECT(&d, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    EXPECT_END(&d);
    client_open(&e);
    CHECK(client_send(&e, "GET /pieces HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    EXPECT(&e, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nonetwelve bytes");
    EXPECT_END(&e);
}

TEST(server_answers_a_pipeline_in_order)
{
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, GET("/hello") GET("/late") GET("/none") GET("/late") GET("/hello")));
    EXPECT(&c, HELLO);
    REQUIRE(WAIT(rig->late_count == 1));
    CHECK_EQ(counts()->in_flight, 1);
    http_answer(rig->late[0], 201, NULL, "x", 1);
    EXPECT(&c, "HTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx"
               "HTTP/1.1 204 No Content\r\n\r\n");
    REQUIRE(WAIT(rig->late_count == 2));
    http_answer(rig->late[1], 202, NULL, "", 0);
    EXPECT(&c, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n" HELLO);
    CHECK_EQ(rig->answered, 5);
}

TEST(server_reads_byte_by_byte)
{
    static const char text[] =
        "\r\nPOST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
        "3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\n" GET("/hello");
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        REQUIRE(client_send_n(&c, text + i, 1));
        loop_timer_start(rig->loop, &rig->beat, 0, 0);
        loop_run(rig->loop);
    }
    EXPECT(&c, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc" HELLO);
}

TEST(server_streams_as_it_is_written)
{
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, GET("/late")));
    REQUIRE(WAIT(rig->late_count == 1));
    struct http_request *late = rig->late[0];
    http_answer_begin(late, 200);
    http_answer_field(late, "Content-Type", "text/event-stream");
    loop_timer_start(rig->loop, &rig->beat, 1000, 0);
    loop_run(rig->loop);
    CHECK_EQ(c.got.len, 0); /* an unfinished head stays here */
    http_answer_stream(late);
    EXPECT(&c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
               "Transfer-Encoding: chunked\r\n\r\n");
    CHECK(http_answer_write(late, "data: 1\n\n", 9));
    EXPECT(&c, "9\r\ndata: 1\n\n\r\n");
    CHECK(http_answer_write(late, "data: 2\n\n", 9));
    http_answer_end(late);
    EXPECT(&c, "9\r\ndata: 2\n\n\r\n0\r\n\r\n");
    CHECK(WAIT(rig->answered == 1));
}

/* Errors that the server tells itself */

#define ERROR(status, length, reason)                                            \
    "HTTP/1.1 " status "\r\nContent-Type: text/plain\r\nContent-Length: " length \
    "\r\nConnection: close\r\n\r\n" reason "\n"

TEST(server_refuses_and_says_why)
{
    RIG();
    _cleanup_client_ struct client c, d;
    client_open(&c);
    CHECK(client_send(&c, GET("/hello") "GET / HTTP/1.1\n\n" GET("/hello")));
    EXPECT(&c, HELLO ERROR("400 Bad Request", "43", "400 Bad Request: bare-lf: an LF without CR"));
    CHECK(WAIT(c.ended));
    client_open(&d);
    CHECK(client_send(&d, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                          "3\r\nabc\r\n-1\r\n"));
    EXPECT(&d, ERROR("400 Bad Request", "81",
                     "400 Bad Request: chunk-size: a chunk size that is not a plain hexadecimal "
                     "number"));
    CHECK_EQ(counts()->refused, 2);
    CHECK(WAIT(rig->gone == 1));
}

static const char *
explain_json(void *arg unused_arg, unsigned status, const char *reason, struct buf *body)
{
    buf_printf(body, "{%u %s}", status, reason);
    return "application/json";
}

TEST(server_refuses_in_the_words_of_the_service)
{
    RIG(r_.service.explain = explain_json);
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "?"));
    EXPECT(&c, "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
               "Content-Length: 17\r\nConnection: close\r\n\r\n{400 method-byte}");
}

/* The answer must not be lost to a reset because the client is still sending. */
TEST(server_lingers_for_a_client_that_sends)
{
    static char flood[1 << 20];
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "BAD\r\n"));
    CHECK(client_send_n(&c, flood, sizeof(flood)));
    EXPECT(&c, ERROR("400 Bad Request", "56",
                     "400 Bad Request: method-byte: the method is not a token"));
    EXPECT_END(&c);
    CHECK_EQ(counts()->connections, 1);
    client_close(&c);
    CHECK(WAIT(counts()->connections == 0));
}

TEST(server_lingers_no_longer_than_it_said)
{
    RIG(r_.config.linger_us = 20000);
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "BAD\r\n"));
    CHECK(WAIT(counts()->timed_out == 1));
    CHECK_EQ(counts()->connections, 0);
}

TEST(server_limits_bodies)
{
    RIG(r_.config.body_bytes_max = 10);
    _cleanup_client_ struct client c, d, e;
    const char *want = ERROR("413 Content Too Large", "57",
                             "413 Content Too Large: body-large: the body is too large");
    client_open(&c);
    CHECK(client_send(&c, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n"));
    EXPECT(&c, want);
    client_open(&d);
    CHECK(client_send(&d, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                          "a\r\n0123456789\r\n1\r\n"));
    EXPECT(&d, want);
    client_open(&e);
    CHECK(client_send(&e, "POST /small HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n"));
    EXPECT(&e, want);
    CHECK(WAIT(rig->gone == 3));
}

TEST(server_limits_what_all_bodies_take_together)
{
    RIG(r_.config.content_bytes_max = 10);
    _cleanup_client_ struct client c, d;
    client_open(&c);
    CHECK(client_send(&c, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 7\r\n\r\n012345"));
    REQUIRE(WAIT(counts()->content_bytes == 6));
    client_open(&d);
    CHECK(client_send(&d, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n01234"));
    EXPECT(&d, ERROR("503 Service Unavailable", "86",
                     "503 Service Unavailable: too-much-content: there is no room for more "
                     "requests' bodies"));
    CHECK(client_send(&c, "6"));
    EXPECT(&c, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n0123456");
    CHECK_EQ(counts()->content_bytes, 0);
}

/* A body of which a piece could not be kept is never given as if it were whole. */
TEST(server_never_shortens_a_body)
{
    RIG(r_.config.body_bytes_max = 100);
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "POST /kept HTTP/1.1\r\n" HOST "Content-Length: 6\r\n\r\n012"));
    REQUIRE(WAIT(counts()->content_bytes == 3));
    CHECK_EQ(rig->late[0]->content.ceiling_bytes, 100);
    rig->late[0]->content.ceiling_bytes = 3; /* as if memory ran out */
    CHECK(client_send(&c, "345"));
    EXPECT(&c, ERROR("503 Service Unavailable", "86",
                     "503 Service Unavailable: too-much-content: there is no room for more "
                     "requests' bodies"));
    CHECK_EQ(rig->gone, 1);
    CHECK_EQ(counts()->content_bytes, 0);
}

/* 100-continue */

#define EXPECTS(target, length)                                                                    \
    "POST " target " HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: " length "\r\n\r" \
    "\n"

TEST(server_asks_for_an_expected_body)
{
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, EXPECTS("/echo", "2")));
    EXPECT(&c, "HTTP/1.1 100 Continue\r\n\r\n");
    CHECK(client_send(&c, "a"));
    CHECK(client_send(&c, "b"));
    EXPECT(&c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab");
    CHECK(client_send(&c, EXPECTS("/echo", "2") "ab")); /* sent without waiting: not asked for */
    EXPECT(&c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab");
    CHECK(client_send(&c, EXPECTS("/hello", "2"))); /* answered without it: it may yet come */
    EXPECT(&c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
               "Connection: close\r\n\r\nhello");
    EXPECT_END(&c);
}

TEST(server_does_not_ask_for_a_body_too_large)
{
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, EXPECTS("/small", "5")));
    EXPECT(&c, ERROR("413 Content Too Large", "57",
                     "413 Content Too Large: body-large: the body is too large"));
    EXPECT_END(&c);
}

TEST(server_skips_an_unwanted_body)
{
    static char large[100000];
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "POST /hello HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n"));
    EXPECT(&c, HELLO);
    CHECK(client_send(&c, "0123456789" GET("/hello")));
    EXPECT(&c, HELLO);
    CHECK(client_send(&c, "POST /hello HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n"));
    CHECK(client_send_n(&c, large, sizeof(large)));
    EXPECT(&c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
               "Connection: close\r\n\r\nhello");
    EXPECT_END(&c);
}

/* Clients that leave */

TEST(server_tells_when_a_waiting_client_leaves)
{
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, GET("/late")));
    REQUIRE(WAIT(rig->late_count == 1));
    client_close(&c);
    CHECK(WAIT(rig->gone == 1));
    CHECK(!rig->late[0]);
    CHECK(WAIT(counts()->connections == 0));
}

TEST(server_tells_when_a_streaming_client_leaves)
{
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, GET("/late")));
    REQUIRE(WAIT(rig->late_count == 1));
    http_answer_begin(rig->late[0], 200);
    http_answer_stream(rig->late[0]);
    (void)http_answer_write(rig->late[0], "x", 1);
    REQUIRE(WAIT(strstr(c.got.data, "\r\nx\r\n")));
    client_close(&c);
    CHECK(WAIT(rig->gone == 1));
}

/* ... also when it has sent more than we read ahead. (Not when it has sent more than the kernel
 * holds for us: then its end of file is still at its side.) */
TEST(server_tells_when_a_flooding_client_leaves)
{
    static char flood[60000];
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, GET("/late")));
    REQUIRE(WAIT(rig->late_count == 1));
    (void)send(c.fd, flood, sizeof(flood), MSG_NOSIGNAL);
    client_close(&c);
    CHECK(WAIT(rig->gone == 1));
}

TEST(server_tells_when_a_client_leaves_in_its_body)
{
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nabc"));
    REQUIRE(WAIT(counts()->in_flight == 1));
    client_close(&c);
    CHECK(WAIT(rig->gone == 1));
}

TEST(server_forgets_a_client_that_leaves_in_its_head)
{
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "GET / HT"));
    REQUIRE(WAIT(counts()->connections == 1));
    client_close(&c);
    CHECK(WAIT(counts()->connections == 0));
    CHECK_EQ(counts()->refused, 0);
}

TEST(server_answers_a_half_closed_client_at_once_or_not)
{
    RIG();
    _cleanup_client_ struct client c, d;
    client_open(&c);
    CHECK(client_send(&c, GET("/hello") GET("/none")));
    CHECK_EQ(shutdown(c.fd, SHUT_WR), 0);
    EXPECT(&c, HELLO "HTTP/1.1 204 No Content\r\n\r\n");
    EXPECT_END(&c);
    client_open(&d);
    CHECK(client_send(&d, GET("/late")));
    CHECK_EQ(shutdown(d.fd, SHUT_WR), 0);
    CHECK(WAIT(d.ended));
    CHECK_EQ(rig->gone, 1);
}

TEST(server_sends_all_of_an_answer_to_a_half_closed_client)
{
    RIG(r_.wanted_bytes = 4 * MIB, r_.config.high_bytes = 64 * MIB);
    _cleanup_client_ struct client c;
    client_open(&c);
    loop_fd_stop(&c.watch);
    CHECK(client_send(&c, GET("/stream")));
    CHECK_EQ(shutdown(c.fd, SHUT_WR), 0);
    REQUIRE(WAIT(rig->answered == 1));
    client_hear(&c);
    CHECK(WAIT(c.ended));
    CHECK(c.got.len > 4 * MIB);
    CHECK(strcmp(c.got.data + c.got.len - 5, "0\r\n\r\n") == 0);
}

/* Back-pressure */

TEST(server_holds_a_stream_back_for_a_slow_client)
{
    RIG(r_.wanted_bytes = 64 * MIB);
    _cleanup_client_ struct client c;
    client_open(&c);
    loop_fd_stop(&c.watch);
    CHECK(client_send(&c, GET("/stream")));
    REQUIRE(WAIT(rig->produced_bytes > 0));
    /* What two socket buffers hold (a few MiB at most), what we hold, and not the whole. */
    uint64_t before;
    do {
        before = rig->produced_bytes;
        loop_timer_start(rig->loop, &rig->beat, 20000, 0);
        loop_run(rig->loop);
    } while (rig->produced_bytes > before);
    CHECK(rig->produced_bytes < 32 * MIB);
    client_hear(&c);
    CHECK(WAIT(rig->answered == 1));
    CHECK(WAIT(c.got.len > 64 * MIB && strcmp(c.got.data + c.got.len - 5, "0\r\n\r\n") == 0));
}

TEST(server_holds_a_pipeline_back_for_a_slow_client)
{
    RIG(r_.wanted_bytes = UINT64_MAX, r_.config.high_bytes = 1000, r_.config.low_bytes = 100);
    _cleanup_client_ struct client c;
    client_open(&c);
    loop_fd_stop(&c.watch);
    for (int i = 0; i < 20000; i++)
        (void)send(c.fd, GET("/hello"), sizeof(GET("/hello")) - 1, MSG_NOSIGNAL);
    uint64_t before;
    do {
        before = counts()->requests;
        loop_timer_start(rig->loop, &rig->beat, 5000, 0);
        loop_run(rig->loop);
    } while (counts()->requests > before);
    uint64_t answered = counts()->answered;
    CHECK(answered > 0);
    client_hear(&c);
    CHECK(WAIT(counts()->answered == before || counts()->answered > answered + 1000));
}

TEST(server_holds_a_body_back_for_a_slow_handler)
{
    static char block[1 << 16];
    const uint64_t whole = 64 * MIB;
    uint64_t sent = 0;
    RIG(r_.pause_body = true);
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "POST /late HTTP/1.1\r\n" HOST "Content-Length: 67108864\r\n\r\n"));
    for (int idle = 0; idle < 20 && sent < whole;) {
        ssize_t n = send(c.fd, block, sizeof(block), MSG_NOSIGNAL);
        sent += n > 0 ? (uint64_t)n : 0;
        idle = n > 0 ? 0 : idle + 1;
        loop_timer_start(rig->loop, &rig->beat, 1000, 0);
        loop_run(rig->loop);
    }
    CHECK(sent < 32 * MIB);
    CHECK(rig->body_bytes <= 16 * KIB);
    rig->pause_body = false;
    http_request_resume(rig->late[0]);
    while (sent < whole) {
        size_t n = (size_t)MIN(whole - sent, sizeof(block));
        REQUIRE(client_send_n(&c, block, n));
        sent += n;
    }
    CHECK(WAIT(rig->body_bytes == whole));
    http_answer(rig->late[0], 204, NULL, "", 0);
    EXPECT(&c, "HTTP/1.1 204 No Content\r\n\r\n");
}

TEST(server_cuts_an_answer_above_its_ceiling)
{
    static const char block[65536];
    RIG(r_.config.answer_bytes_max = 1 * MIB);
    _cleanup_client_ struct client c;
    client_open(&c);
    loop_fd_stop(&c.watch);
    CHECK(client_send(&c, GET("/late")));
    REQUIRE(WAIT(rig->late_count == 1));
    http_answer_begin(rig->late[0], 200);
    http_answer_stream(rig->late[0]);
    for (int i = 0; i < 20; i++) /* a handler that does not heed what it is told */
        (void)http_answer_write(rig->late[0], block, sizeof(block));
    CHECK(WAIT(rig->gone == 1));
}

/* Timeouts */

TEST(server_closes_idle_connections)
{
    RIG(r_.config.idle_us = 20000);
    _cleanup_client_ struct client c;
    client_open(&c);
    EXPECT_END(&c);
    CHECK_EQ(counts()->timed_out, 0);
}

TEST(server_idles_anew_after_each_request)
{
    RIG(r_.config.idle_us = 200000);
    _cleanup_client_ struct client c;
    client_open(&c);
    for (int i = 0; i < 5; i++) {
        loop_timer_start(rig->loop, &rig->beat, 60000, 0);
        loop_run(rig->loop);
        CHECK(client_send(&c, GET("/hello")));
        EXPECT(&c, HELLO);
    }
    EXPECT_END(&c);
}

/* Bytes that trickle in do not help: the head as a whole has its time. */
TEST(server_ends_a_slow_head)
{
    RIG(r_.config.head_us = 50000);
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "GET / HTTP/1.1\r\nA: "));
    while (!c.got.len && !c.ended) {
        if (!client_send(&c, "a"))
            break;
        loop_timer_start(rig->loop, &rig->beat, 5000, 0);
        loop_run(rig->loop);
    }
    EXPECT(&c, ERROR("408 Request Timeout", "65",
                     "408 Request Timeout: head-timeout: the head did not come in time"));
    CHECK_EQ(counts()->timed_out, 1);
}

/* ... nor do large ones: each comes in good time, all together do not. */
TEST(server_ends_a_head_in_large_pieces)
{
    static char piece[4 * KIB];
    RIG(r_.config.head_us = 100000);
    _cleanup_client_ struct client c;
    memset(piece, 'a', sizeof(piece));
    client_open(&c);
    CHECK(client_send(&c, "GET / HTTP/1.1\r\nA: "));
    for (int i = 0; i < 7 && !c.got.len; i++) {
        CHECK(client_send_n(&c, piece, sizeof(piece)));
        loop_timer_start(rig->loop, &rig->beat, 30000, 0);
        loop_run(rig->loop);
    }
    CHECK(c.got.len > 0);
    EXPECT(&c, ERROR("408 Request Timeout", "65",
                     "408 Request Timeout: head-timeout: the head did not come in time"));
}

/* Nor does it buy a reader time that it goes on asking. */
TEST(server_cuts_a_client_that_asks_and_does_not_read)
{
    RIG(r_.config.write_us = 100000, r_.wanted_bytes = 8 * MIB, r_.config.high_bytes = 64 * MIB);
    _cleanup_client_ struct client c;
    client_open(&c);
    loop_fd_stop(&c.watch);
    CHECK(client_send(&c, GET("/stream")));
    REQUIRE(WAIT(rig->produced_bytes > 0));
    uint64_t until_us = loop_now_us(rig->loop) + PATIENCE_US;
    while (counts()->timed_out == 0 && loop_now_us(rig->loop) < until_us) {
        (void)client_send(&c, GET("/none"));
        loop_timer_start(rig->loop, &rig->beat, 20000, 0);
        loop_run(rig->loop);
    }
    CHECK_EQ(counts()->timed_out, 1);
    CHECK(counts()->requests < 100);
}

TEST(server_ends_a_slow_body)
{
    RIG(r_.config.body_us = 50000);
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n"));
    while (!c.got.len && !c.ended) {
        if (!client_send(&c, "a"))
            break;
        loop_timer_start(rig->loop, &rig->beat, 5000, 0);
        loop_run(rig->loop);
    }
    EXPECT(&c, ERROR("408 Request Timeout", "65",
                     "408 Request Timeout: body-timeout: the body did not come in time"));
    CHECK_EQ(rig->gone, 1);
}

TEST(server_waits_for_a_handler_as_long_as_it_takes)
{
    RIG(r_.config.idle_us = 10000, r_.config.head_us = 10000, r_.config.body_us = 10000,
        r_.config.write_us = 10000);
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, GET("/late")));
    REQUIRE(WAIT(rig->late_count == 1));
    loop_timer_start(rig->loop, &rig->beat, 60000, 0);
    loop_run(rig->loop);
    http_answer(rig->late[0], 204, NULL, "", 0);
    EXPECT(&c, "HTTP/1.1 204 No Content\r\n\r\n");
}

TEST(server_cuts_a_client_that_does_not_read)
{
    RIG(r_.config.write_us = 30000, r_.wanted_bytes = 64 * MIB);
    _cleanup_client_ struct client c;
    client_open(&c);
    loop_fd_stop(&c.watch);
    CHECK(client_send(&c, GET("/stream")));
    CHECK(WAIT(rig->gone == 1));
    CHECK_EQ(counts()->timed_out, 1);
}

/* Connections */

TEST(server_makes_room_by_closing_the_longest_idle)
{
    RIG(r_.config.connections_max = 2);
    _cleanup_client_ struct client a, b, c;
    client_open(&a);
    CHECK(client_send(&a, GET("/hello")));
    EXPECT(&a, HELLO);
    client_open(&b);
    CHECK(client_send(&b, GET("/hello")));
    EXPECT(&b, HELLO);
    CHECK(client_send(&a, GET("/hello"))); /* now b has been idle longest */
    EXPECT(&a, HELLO);
    client_open(&c);
    CHECK(client_send(&c, GET("/hello")));
    EXPECT(&c, HELLO);
    EXPECT_END(&b);
    CHECK(!a.ended);
    CHECK_EQ(counts()->evicted, 1);
    CHECK_EQ(counts()->connections, 2);
}

TEST(server_lets_new_connections_wait_when_all_are_busy)
{
    RIG(r_.config.connections_max = 1);
    _cleanup_client_ struct client a, b;
    client_open(&a);
    CHECK(client_send(&a, "GET /late HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"));
    REQUIRE(WAIT(rig->late_count == 1));
    client_open(&b);
    CHECK(client_send(&b, GET("/hello")));
    loop_timer_start(rig->loop, &rig->beat, 20000, 0);
    loop_run(rig->loop);
    CHECK_EQ(counts()->accepted, 1);
    http_answer(rig->late[0], 200, NULL, "", 0);
    CHECK(WAIT(a.ended));
    client_close(&a);
    EXPECT(&b, HELLO);
}

TEST(server_tries_again_when_descriptors_run_out)
{
    struct rlimit before, none;
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    none = before;
    none.rlim_cur = 3;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    CHECK(client_send(&c, GET("/hello")));
    loop_timer_start(rig->loop, &rig->beat, 20000, 0);
    loop_run(rig->loop);
    CHECK_EQ(counts()->accepted, 0);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    EXPECT(&c, HELLO);
}

TEST(server_serves_unix_sockets)
{
    char text[300];
    struct sock_addr addr;
    RIG();
    (void)snprintf(text, sizeof(text), "unix:%s/s", tap_dir());
    REQUIRE(sock_addr_parse(text, &addr, NULL) == 0);
    int fd = sock_listen(&addr, 0600, NULL);
    REQUIRE(fd >= 0);
    REQUIRE(http_server_listen(rig->server, fd, NULL) == 0);
    rig->addr = addr;
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, GET("/hello")));
    EXPECT(&c, HELLO);
}

/* The end */

TEST(server_drains)
{
    RIG();
    _cleanup_client_ struct client idle, busy, begun;
    client_open(&idle);
    CHECK(client_send(&idle, GET("/hello")));
    EXPECT(&idle, HELLO);
    client_open(&busy);
    CHECK(client_send(&busy, GET("/late")));
    REQUIRE(WAIT(rig->late_count == 1));
    client_open(&begun);
    CHECK(client_send(&begun, GET("/late")));
    REQUIRE(WAIT(rig->late_count == 2));
    http_answer_begin(rig->late[1], 200);
    http_answer_stream(rig->late[1]);
    EXPECT(&begun, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    http_server_drain(rig->server);
    EXPECT_END(&idle);
    int fd = sock_connect(&rig->addr, NULL);
    CHECK(fd < 0 || sock_connected(fd) == -ECONNREFUSED);
    if (fd >= 0)
        (void)close(fd);
    CHECK_EQ(rig->drained, 0);
    http_answer(rig->late[0], 200, NULL, "", 0);
    EXPECT(&busy, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    EXPECT_END(&busy);
    http_answer_end(rig->late[1]);
    EXPECT(&begun, "0\r\n\r\n");
    EXPECT_END(&begun);
    client_close(&busy);
    client_close(&begun);
    CHECK(WAIT(rig->drained == 1));
    CHECK_EQ(counts()->connections, 0);
}

TEST(server_drains_at_once_when_nobody_is_there)
{
    RIG();
    http_server_drain(rig->server);
    CHECK_EQ(rig->drained, 0); /* not from inside */
    CHECK(WAIT(rig->drained == 1));
}

TEST(server_lets_the_loop_end)
{
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, GET("/hello")));
    EXPECT(&c, HELLO);
    http_server_drain(rig->server);
    CHECK(WAIT(c.ended));
    loop_timer_stop(&rig->beat);
    loop_run(rig->loop); /* returns: nothing is watched */
    CHECK_EQ(rig->drained, 1);
}

TEST(server_stops)
{
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, GET("/late")));
    REQUIRE(WAIT(rig->late_count == 1));
    http_server_stop(rig->server);
    CHECK_EQ(rig->gone, 1);
    CHECK(WAIT(c.ended));
}

TEST(server_may_be_ended_by_a_request)
{
    for (int stop = 0; stop < 2; stop++) {
        RIG();
        _cleanup_client_ struct client c, d;
        client_open(&c);
        CHECK(client_send(&c, GET("/late")));
        REQUIRE(WAIT(rig->late_count == 1));
        client_open(&d);
        CHECK(client_send(&d, stop ? GET("/stop") : GET("/drain")));
        if (!stop) {
            EXPECT(&d, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            http_answer(rig->late[0], 204, NULL, "", 0);
            EXPECT(&c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        }
        CHECK(WAIT(c.ended && d.ended));
        CHECK_EQ(rig->gone, stop ? 2 : 0);
    }
}

/* Handlers that go wrong */

TEST(server_never_writes_a_field_that_is_not_the_handlers)
{
    RIG();
    for (size_t i = 0; i < ARRAY_SIZE(bad_fields); i++) {
        _cleanup_client_ struct client c;
        char text[64];
        tap_note("%s: %s", bad_fields[i][0], bad_fields[i][1]);
        (void)snprintf(text, sizeof(text), "GET /bad%zu HTTP/1.1\r\n" HOST "\r\n", i);
        client_open(&c);
        CHECK(client_send(&c, text));
        EXPECT(&c, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n"
                   "Connection: close\r\n\r\n");
        EXPECT_END(&c);
    }
}

TEST(server_shows_that_an_answer_was_cut)
{
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, GET("/late")));
    REQUIRE(WAIT(rig->late_count == 1));
    http_answer_begin(rig->late[0], 200);
    http_answer_stream(rig->late[0]);
    (void)http_answer_write(rig->late[0], "half", 4);
    EXPECT(&c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    http_answer_cut(rig->late[0]);
    CHECK(WAIT(rig->gone == 1));
    CHECK(WAIT(c.ended));
    CHECK_STR(c.got.data, "");
}

/* Memory */

size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t
allocated_bytes(void)
{
    return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes()
                                                   : mallinfo2().uordblks;
}

TEST(server_needs_no_memory_for_more_requests)
{
    RIG();
    _cleanup_client_ struct client c;
    size_t before = 0;
    client_open(&c);
    for (int i = 0; i < 10000; i++) {
        REQUIRE(client_send(&c, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nab"));
        REQUIRE(WAIT(strstr(c.got.data, "\r\n\r\nab")));
        buf_clear(&c.got);
        if (i == 100)
            before = allocated_bytes();
    }
    CHECK_EQ(counts()->answered, 10000);
    CHECK_EQ(counts()->accepted, 1);
    CHECK(allocated_bytes() <= before + 4096);
}

TEST(server_keeps_little_for_idle_connections)
{
    enum { COUNT = 200 };
    static struct client clients[COUNT];
    RIG();
    size_t before = 0;
    for (int i = 0; i < COUNT; i++) {
        client_open(&clients[i]);
        CHECK(client_send(&clients[i], GET("/hello")));
        EXPECT(&clients[i], HELLO);
        buf_finish(&clients[i].got);
        if (i == 9)
            before = allocated_bytes();
    }
    /* Of these about 400 bytes are the client's watch. */
    size_t each = (allocated_bytes() - before) / (COUNT - 10);
    tap_note("%zu bytes each", each);
    CHECK(each < 1200);
    for (int i = 0; i < COUNT; i++)
        client_close(&clients[i]);
    CHECK(WAIT(counts()->connections == 0));
}
