/* The client against a server that does exactly what a test says, byte by byte. All share a loop. */

#include "http/client.h"

#include "http/fetch.h"
#include "http/server.h"
#include "sys/loop.h"
#include "sys/sock.h"
#include "tap.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_US (20 * 1000000)

struct rig {
    struct loop *loop;
    struct http_client *client;
    struct http_client_config config;
    sock_addr_text address;
    int listener;
    struct loop_timer beat;
};

static struct rig *rig;

static void
on_beat(struct loop_timer *timer)
{
    loop_stop(container_of(timer, struct rig, beat)->loop);
}

static void
run_for(uint64_t us)
{
    loop_timer_start(rig->loop, &rig->beat, us, 0);
    loop_run(rig->loop);
}

/* Runs the loop until something holds. */
#define WAIT(condition)                                            \
    ({                                                             \
        uint64_t until_us_ = loop_now_us(rig->loop) + PATIENCE_US; \
        while (!(condition) && loop_now_us(rig->loop) < until_us_) \
            run_for(1000);                                         \
        (condition);                                               \
    })

static bool
rig_start(struct rig *r, const char *where)
{
    struct sock_addr addr;
    rig = r;
    r->beat.expired = on_beat;
    if (loop_new(&r->loop, NULL) < 0 || sock_addr_parse(where, &addr, NULL) < 0)
        return false;
    r->listener = sock_listen(&addr, 0600, NULL);
    if (r->listener < 0)
        return false;
    if (addr.family == AF_INET)
        addr.port = (uint16_t)sock_bound_port(r->listener);
    (void)sock_addr_print(&addr, r->address);
    return http_client_new(r->loop, r->address, "h", &r->config, &r->client, NULL) == 0;
}

static void
finish_rig(struct rig **rp)
{
    struct rig *r = *rp;
    if (r->client)
        CHECK_EQ(http_client_counts(r->client)->in_flight, 0);
    http_client_free(r->client);
    loop_timer_stop(&r->beat);
    loop_free(r->loop);
    if (r->listener >= 0)
        (void)close(r->listener);
}

#define RIG_AT(where, ...)                                      \
    struct rig r_ = {.config = http_client_config_default};     \
    __VA_ARGS__;                                                \
    _cleanup_(finish_rig) struct rig *finish_ unused_arg = &r_; \
    REQUIRE(rig_start(&r_, where))
#define RIG(...) RIG_AT("127.0.0.1:0", __VA_ARGS__)

static const struct http_client_counts *
counts(void)
{
    return http_client_counts(rig->client);
}

/* The server's end of a connection */

struct server_end {
    int fd;
    struct buf got;
    bool ended;
};

static void
end_close(struct server_end *e)
{
    if (e->fd >= 0)
        (void)close(e->fd);
    e->fd = -1;
    buf_finish(&e->got);
}

#define _cleanup_end_ _cleanup_(end_close)
#define END_INIT                             \
    {                                        \
        .fd = -1, .got = BUF_INIT(256 * MIB) \
    }

static bool
end_accept(struct server_end *e)
{
    return WAIT(e->fd >= 0 || (e->fd = sock_accept(rig->listener, NULL)) >= 0);
}

static void
end_read(struct server_end *e)
{
    char bytes[65536];
    ssize_t n;
    while ((n = recv(e->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        buf_add(&e->got, bytes, (size_t)n);
    e->ended |= n == 0 || errno != EAGAIN;
}

static bool
end_expect(struct server_end *e, const char *text)
{
    bool got = WAIT((end_read(e), e->got.len) >= strlen(text) || e->ended);
    CHECK_STR(e->got.data, text);
    buf_clear(&e->got);
    return got;
}

static void
end_send(struct server_end *e, const char *text)
{
    CHECK_EQ(send(e->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void
end_reset(struct server_end *e)
{
    struct linger now = {.l_onoff = 1};
    (void)setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    end_close(e);
}

/* Calls */

struct told {
    struct http_call *call;
    unsigned status;
    unsigned heads, writables, finished;
    struct buf body;
    enum http_phase phase;
    struct err error;
    bool cancel_at_head, cancel_at_body, pause_at_body;
};

static void
on_head(struct http_call *call)
{
    struct told *t = call->user;
    t->heads++;
    t->status = call->head.status;
    if (t->cancel_at_head)
        http_call_cancel(call);
}

static void
on_body(struct http_call *call, const char *bytes, size_t len)
{
    struct told *t = call->user;
    buf_add(&t->body, bytes, len);
    if (t->pause_at_body)
        http_call_pause(call);
    if (t->cancel_at_body)
        http_call_cancel(call);
}

static void
on_writable(struct http_call *call)
{
    struct told *t = call->user;
    t->writables++;
}

static void
on_finished(struct http_call *call, const struct err *error)
{
    struct told *t = call->user;
    t->finished++;
    t->phase = call->phase;
    t->call = NULL;
    if (error)
        t->error = *error;
    http_call_cancel(call); /* allowed, and without meaning */
    loop_stop(rig->loop);
}

static const struct http_call_ops ops = {
    .head = on_head, .body = on_body, .writable = on_writable, .finished = on_finished};

static void
told_finish(struct told *t)
{
    buf_finish(&t->body);
}

#define TOLD _cleanup_(told_finish) struct told
#define TOLD_INIT                   \
    {                               \
        .body = BUF_INIT(256 * MIB) \
    }

static void
get(struct told *t, const char *method, const char *target)
{
    t->call = http_call_new(rig->client, method, target, &ops, t);
    http_call_whole(t->call, "", 0);
}

#define EXPECT_ERROR(told, wanted_id, wanted_phase) \
    do {                                            \
        CHECK(WAIT((told)->finished));              \
        CHECK_EQ((told)->error.id, wanted_id);      \
        CHECK_EQ((told)->phase, wanted_phase);      \
        CHECK((told)->error.what[0]);               \
    } while (0)

#define EXPECT_WHOLE(told, wanted_status, wanted_body) \
    do {                                               \
        CHECK(WAIT((told)->finished));                 \
        CHECK_STR((told)->error.what, "");             \
        CHECK_EQ((told)->status, wanted_status);       \
        CHECK_STR((told)->body.data, wanted_body);     \
    } while (0)

#define GET(target) "GET " target " HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK(length, body) "HTTP/1.1 200 OK\r\nContent-Length: " length "\r\n\r\n" body

TEST(client_gets)
{
    RIG();
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    get(&t, "GET", "/a?b");
    CHECK_EQ(t.finished, 0);
    REQUIRE(end_accept(&e));
    end_expect(&e, GET("/a?b"));
    end_send(&e, OK("5", "hello"));
    EXPECT_WHOLE(&t, 200, "hello");
    CHECK_EQ(t.finished, 1);
    CHECK_EQ(t.heads, 1);
    CHECK_EQ(counts()->idle, 1);
}

TEST(client_sends_a_body)
{
    RIG();
    TOLD t = TOLD_INIT, u = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    t.call = http_call_new(rig->client, "POST", "/", &ops, &t);
    http_call_field(t.call, "Content-Type", "text/plain");
    http_call_whole(t.call, "abc", 3);
    REQUIRE(end_accept(&e));
    end_expect(&e, "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\n"
                   "Content-Length: 3\r\n\r\nabc");
    end_send(&e, "HTTP/1.1 204 No Content\r\n\r\n");
    EXPECT_WHOLE(&t, 204, "");
    get(&u, "POST", "/");
    end_expect(&e, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    end_send(&e, OK("0", ""));
    EXPECT_WHOLE(&u, 200, "");
}

TEST(client_streams_a_body)
{
    RIG();
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    t.call = http_call_new(rig->client, "POST", "/", &ops, &t);
    http_call_stream(t.call);
    REQUIRE(end_accept(&e));
    end_expect(&e, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    CHECK(http_call_write(t.call, "abc", 3));
    end_expect(&e, "3\r\nabc\r\n");
    CHECK(http_call_write(t.call, "de", 2));
    http_call_end(t.call);
    end_expect(&e, "2\r\nde\r\n0\r\n\r\n");
    end_send(&e, OK("0", ""));
    EXPECT_WHOLE(&t, 200, "");
    CHECK_EQ(counts()->idle, 1);
}

TEST(client_reads_every_framing)
{
    static const struct {
        const char *method;
        const char *answer;
        unsigned status;
        const char *body;
        bool ends; /* the connection, to end the body */
        bool kept; /* the connection, afterwards */
    } rows[] = {
        {"GET", OK("3", "abc"), 200, "abc", false, true},
        {"GET",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", 200,
         "abc", false, true},
        {"GET", "HTTP/1.1 200 OK\r\n\r\nabc", 200, "abc", true, false},
        {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, "abc", false, false},
        {"GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", 200, "a",
         false, false},
        {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", 304, "", false, true},
        {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 200, "", false, true},
        {"GET",
         "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" OK("1", "a"), 200,
         "a", false, true},
        {"GET", OK("1", "a") "HTTP/1.1 200 OK\r\n", 200, "a", false, false}, /* unasked for */
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        for (int bytewise = 0; bytewise < 2; bytewise++) {
            RIG();
            TOLD t = TOLD_INIT;
            _cleanup_end_ struct server_end e = END_INIT;
            tap_note("row %zu, %s", i, bytewise ? "byte by byte" : "whole");
            get(&t, rows[i].method, "/");
            REQUIRE(end_accept(&e) && WAIT((end_read(&e), e.got.len)));
            for (const char *c = rows[i].answer; bytewise && *c; c++) {
                (void)send(e.fd, c, 1, MSG_NOSIGNAL);
                run_for(0);
            }
            if (!bytewise)
                end_send(&e, rows[i].answer);
            if (rows[i].ends) {
                run_for(1000);
                CHECK_EQ(t.finished, 0);
                end_close(&e);
            }
            EXPECT_WHOLE(&t, rows[i].status, rows[i].body);
            if (!bytewise)
                CHECK_EQ(counts()->idle, rows[i].kept);
        }
    }
}

TEST(client_refuses_bad_answers)
{
    static const char *const rows[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "HTTP/1.1 200 OK\n\n",
        "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", /* above the ceiling */
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        RIG(r_.config.body_bytes_max = 10);
        TOLD t = TOLD_INIT;
        _cleanup_end_ struct server_end e = END_INIT;
        tap_note("row %zu", i);
        get(&t, "GET", "/");
        REQUIRE(end_accept(&e));
        end_send(&e, rows[i]);
        EXPECT_ERROR(&t, ERR_HTTP_ANSWER, HTTP_PHASE_ANSWER);
        CHECK_EQ(counts()->idle, 0);
    }
}

/* An answer of which a piece could not be kept is never told as if it were whole. */
TEST(client_never_shortens_an_answer)
{
    static const struct http_call_ops collecting = {.finished = on_finished};
    RIG(r_.config.body_bytes_max = 10);
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    t.call = http_call_new(rig->client, "GET", "/", &collecting, &t);
    http_call_whole(t.call, "", 0);
    CHECK_EQ(t.call->content.ceiling_bytes, 10);
    t.call->content.ceiling_bytes = 3; /* as if memory ran out */
    REQUIRE(end_accept(&e));
    end_send(&e, OK("5", "hello"));
    EXPECT_ERROR(&t, ERR_HTTP_ANSWER, HTTP_PHASE_ANSWER);
    CHECK(strstr(t.error.what, "no room"));
}

TEST(client_bounds_interim_answers)
{
    RIG();
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    get(&t, "GET", "/");
    REQUIRE(end_accept(&e));
    for (int i = 0; i < 17; i++)
        end_send(&e, "HTTP/1.1 102 Processing\r\n\r\n");
    EXPECT_ERROR(&t, ERR_HTTP_ANSWER, HTTP_PHASE_ANSWER);
}

TEST(client_never_sends_a_field_that_is_not_the_callers)
{
    static const char *const fields[][2] = {
        {"A", "b\r\nC: d"},
        {"A", " b"},
        {"Host", "other"},
        {"Content-Length", "0"},
        {"Transfer-Encoding", "chunked"},
        {"Connection", "close"},
    };
    RIG();
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        TOLD t = TOLD_INIT;
        tap_note("%s", fields[i][0]);
        t.call = http_call_new(rig->client, "GET", "/", &ops, &t);
        http_call_field(t.call, fields[i][0], fields[i][1]);
        http_call_whole(t.call, "", 0);
        CHECK_EQ(t.finished, 0); /* not from inside */
        EXPECT_ERROR(&t, ERR_HTTP_REQUEST, HTTP_PHASE_CONNECT);
    }
    TOLD u = TOLD_INIT;
    get(&u, "GET", "/ HTTP/1.1\r\nX: y");
    EXPECT_ERROR(&u, ERR_HTTP_REQUEST, HTTP_PHASE_CONNECT);
    CHECK_EQ(counts()->connects, 0);
}

/* Losing the connection */

TEST(client_tells_when_nobody_listens)
{
    RIG();
    TOLD t = TOLD_INIT;
    (void)close(rig->listener);
    rig->listener = -1;
    get(&t, "GET", "/");
    EXPECT_ERROR(&t, ERR_HTTP_CONNECT, HTTP_PHASE_CONNECT);
    CHECK(strstr(t.error.what, rig->address));
}

TEST(client_tells_when_no_answer_comes)
{
    RIG();
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    get(&t, "GET", "/");
    REQUIRE(end_accept(&e));
    end_expect(&e, GET("/"));
    end_close(&e);
    EXPECT_ERROR(&t, ERR_HTTP_CUT, HTTP_PHASE_REQUEST);
}

TEST(client_tells_when_the_answer_is_cut)
{
    static const char *const rows[] = {
        "H",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        RIG();
        TOLD t = TOLD_INIT;
        _cleanup_end_ struct server_end e = END_INIT;
        tap_note("row %zu", i);
        get(&t, "GET", "/");
        REQUIRE(end_accept(&e));
        end_send(&e, rows[i]);
        end_close(&e);
        EXPECT_ERROR(&t, ERR_HTTP_CUT, HTTP_PHASE_ANSWER);
    }
}

TEST(client_tells_a_reset_from_an_end)
{
    RIG();
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    get(&t, "GET", "/");
    REQUIRE(end_accept(&e));
    end_send(&e, "HTTP/1.1 200 OK\r\n\r\nabc"); /* until the connection ends */
    REQUIRE(WAIT(t.body.len == 3));
    end_reset(&e);
    EXPECT_ERROR(&t, ERR_HTTP_CUT, HTTP_PHASE_ANSWER);
}

/* A server may answer before it has read the whole request, and close. */
TEST(client_hears_an_early_answer)
{
    static char large[8 << 20];
    RIG();
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    t.call = http_call_new(rig->client, "POST", "/", &ops, &t);
    http_call_whole(t.call, large, sizeof(large));
    REQUIRE(end_accept(&e));
    end_send(&e, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!");
    EXPECT_WHOLE(&t, 413, "no!");
    CHECK_EQ(counts()->idle, 0);
}

/* Kept connections */

/* Leaves a connection in the pool. */
static bool
warm(struct server_end *e)
{
    TOLD t = TOLD_INIT;
    get(&t, "GET", "/warm");
    if (!end_accept(e) || !end_expect(e, GET("/warm")))
        return false;
    end_send(e, OK("0", ""));
    return WAIT(t.finished) && counts()->idle == 1;
}

TEST(client_uses_a_connection_again)
{
    RIG();
    _cleanup_end_ struct server_end e = END_INIT;
    REQUIRE(warm(&e));
    REQUIRE(warm(&e));
    REQUIRE(warm(&e));
    CHECK_EQ(counts()->connects, 1);
    CHECK_EQ(counts()->reused, 2);
}

TEST(client_opens_one_connection_a_call_at_a_time)
{
    RIG();
    TOLD t = TOLD_INIT, u = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT, f = END_INIT;
    get(&t, "GET", "/1");
    get(&u, "GET", "/2");
    REQUIRE(end_accept(&e));
    REQUIRE(end_accept(&f));
    end_expect(&e, GET("/1"));
    end_expect(&f, GET("/2"));
    end_send(&f, OK("1", "2"));
    EXPECT_WHOLE(&u, 200, "2");
    end_send(&e, OK("1", "1"));
    EXPECT_WHOLE(&t, 200, "1");
    CHECK_EQ(counts()->idle, 2);
}

TEST(client_drops_a_kept_connection_that_ends_or_speaks)
{
    RIG();
    _cleanup_end_ struct server_end e = END_INIT, f = END_INIT;
    REQUIRE(warm(&e));
    end_close(&e);
    CHECK(WAIT(counts()->idle == 0));
    REQUIRE(warm(&f));
    end_send(&f, "HTTP/1.1 408 Request Timeout\r\n\r\n");
    CHECK(WAIT(counts()->idle == 0));
}

TEST(client_drops_idle_connections_in_time)
{
    RIG(r_.config.idle_us = 20000);
    _cleanup_end_ struct server_end e = END_INIT;
    REQUIRE(warm(&e));
    CHECK(WAIT(counts()->idle == 0));
    CHECK(WAIT((end_read(&e), e.ended)));
}

TEST(client_keeps_no_more_than_it_may)
{
    RIG(r_.config.idle_max = 1);
    TOLD t = TOLD_INIT, u = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT, f = END_INIT;
    get(&t, "GET", "/");
    get(&u, "GET", "/");
    REQUIRE(end_accept(&e));
    REQUIRE(end_accept(&f));
    end_send(&e, OK("0", ""));
    end_send(&f, OK("0", ""));
    CHECK(WAIT(t.finished && u.finished));
    CHECK_EQ(counts()->idle, 1);
}

TEST(client_that_keeps_none_says_so)
{
    RIG(r_.config.idle_max = 0);
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    get(&t, "GET", "/");
    REQUIRE(end_accept(&e));
    end_expect(&e, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    end_send(&e, OK("0", ""));
    EXPECT_WHOLE(&t, 200, "");
    CHECK(WAIT((end_read(&e), e.ended)));
}

TEST(client_opens_no_more_than_it_may)
{
    RIG(r_.config.connections_max = 1);
    TOLD t = TOLD_INIT, u = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    get(&t, "GET", "/");
    get(&u, "GET", "/");
    EXPECT_ERROR(&u, ERR_HTTP_CONNECT, HTTP_PHASE_CONNECT);
    REQUIRE(end_accept(&e));
    end_send(&e, OK("0", ""));
    EXPECT_WHOLE(&t, 200, "");
}

/* The race of keep-alive: the server closes just when the next request is on its way. */
TEST(client_sends_an_idempotent_request_once_more)
{
    RIG();
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT, f = END_INIT;
    REQUIRE(warm(&e));
    get(&t, "GET", "/");
    end_expect(&e, GET("/"));
    end_close(&e);
    REQUIRE(end_accept(&f));
    end_expect(&f, GET("/"));
    end_send(&f, OK("2", "ok"));
    EXPECT_WHOLE(&t, 200, "ok");
    CHECK_EQ(counts()->sent_anew, 1);
}

TEST(client_never_sends_a_post_twice)
{
    RIG();
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    REQUIRE(warm(&e));
    get(&t, "POST", "/");
    end_expect(&e, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    end_close(&e);
    EXPECT_ERROR(&t, ERR_HTTP_CUT, HTTP_PHASE_REQUEST);
    CHECK_EQ(counts()->sent_anew, 0);
    CHECK_EQ(counts()->connects, 1);
}

/* ... but one of which nothing has left yet may go elsewhere. */
TEST(client_sends_an_unsent_post_elsewhere)
{
    RIG();
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT, f = END_INIT;
    REQUIRE(warm(&e));
    end_reset(&e); /* the loop has not run since: the pool does not know */
    get(&t, "POST", "/");
    REQUIRE(end_accept(&f));
    end_expect(&f, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    end_send(&f, OK("0", ""));
    EXPECT_WHOLE(&t, 200, "");
}

TEST(client_sends_once_more_once_only)
{
    RIG();
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT, f = END_INIT;
    REQUIRE(warm(&e));
    get(&t, "GET", "/");
    end_expect(&e, GET("/"));
    end_close(&e);
    REQUIRE(end_accept(&f));
    end_expect(&f, GET("/"));
    end_close(&f);
    EXPECT_ERROR(&t, ERR_HTTP_CUT, HTTP_PHASE_REQUEST);
}

TEST(client_does_not_send_anew_when_an_answer_has_begun)
{
    RIG();
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    REQUIRE(warm(&e));
    get(&t, "GET", "/");
    end_expect(&e, GET("/"));
    end_send(&e, "HTTP/1.1 2");
    end_close(&e);
    EXPECT_ERROR(&t, ERR_HTTP_CUT, HTTP_PHASE_ANSWER);
    CHECK_EQ(counts()->sent_anew, 0);
}

/* Timeouts */

TEST(client_waits_so_long_for_the_first_byte)
{
    RIG(r_.config.first_byte_us = 30000);
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    get(&t, "GET", "/");
    REQUIRE(end_accept(&e));
    EXPECT_ERROR(&t, ERR_HTTP_TIMEOUT, HTTP_PHASE_REQUEST);
    CHECK(strstr(t.error.what, "did not begin to answer within 30ms"));
    CHECK(WAIT((end_read(&e), e.ended)));
}

TEST(client_waits_so_long_between_bytes)
{
    RIG(r_.config.between_us = 60000);
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    get(&t, "GET", "/");
    REQUIRE(end_accept(&e));
    end_send(&e, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    for (int i = 0; i < 5; i++) { /* longer than the limit, all together */
        run_for(20000);
        end_send(&e, "a");
    }
    CHECK_EQ(t.finished, 0);
    EXPECT_ERROR(&t, ERR_HTTP_TIMEOUT, HTTP_PHASE_ANSWER);
    CHECK(strstr(t.error.what, "did not go on with its answer within 60ms"));
    CHECK_STR(t.body.data, "aaaaa");
}

TEST(client_waits_so_long_for_all)
{
    RIG(r_.config.total_us = 60000);
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    get(&t, "GET", "/");
    REQUIRE(end_accept(&e));
    end_send(&e, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    while (!t.finished) {
        run_for(5000);
        (void)send(e.fd, "a", 1, MSG_NOSIGNAL);
    }
    EXPECT_ERROR(&t, ERR_HTTP_TIMEOUT, HTTP_PHASE_ANSWER);
    CHECK(strstr(t.error.what, "did not complete its answer within 60ms"));
}

/* A listener whose queue is full drops what comes: connecting takes for ever. */
TEST(client_waits_so_long_for_a_connection)
{
    RIG(r_.config.connect_us = 50000);
    struct sock_addr addr;
    int held[8];
    TOLD t = TOLD_INIT;
    CHECK_EQ(listen(rig->listener, 0), 0);
    REQUIRE(sock_addr_parse(rig->address, &addr, NULL) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(held); i++)
        held[i] = sock_connect(&addr, NULL);
    get(&t, "GET", "/");
    EXPECT_ERROR(&t, ERR_HTTP_TIMEOUT, HTTP_PHASE_CONNECT);
    CHECK(strstr(t.error.what, "did not accept a connection within 50ms"));
    for (size_t i = 0; i < ARRAY_SIZE(held); i++)
        (void)close(held[i]);
}

TEST(client_does_not_hurry_its_caller)
{
    RIG(r_.config.first_byte_us = 20000, r_.config.between_us = 20000);
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    t.pause_at_body = true;
    t.call = http_call_new(rig->client, "POST", "/", &ops, &t);
    http_call_stream(t.call);
    run_for(60000);
    CHECK_EQ(t.finished, 0);
    http_call_end(t.call);
    REQUIRE(end_accept(&e));
    end_send(&e, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    REQUIRE(WAIT(t.body.len == 1));
    run_for(60000);
    CHECK_EQ(t.finished, 0);
    end_send(&e, "0\r\n\r\n");
    http_call_resume(t.call);
    EXPECT_WHOLE(&t, 200, "a");
}

/* Back-pressure */

TEST(client_holds_an_answer_back)
{
    static char block[1 << 16];
    const size_t whole = 32 * MIB;
    size_t sent = 0;
    RIG();
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    t.pause_at_body = true;
    get(&t, "GET", "/");
    REQUIRE(end_accept(&e));
    end_send(&e, "HTTP/1.1 200 OK\r\nContent-Length: 33554432\r\n\r\n");
    for (int idle = 0; idle < 20;) {
        ssize_t n =
            send(e.fd, block, MIN(sizeof(block), whole - sent), MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle + 1;
        run_for(1000);
    }
    CHECK(sent < 24 * MIB);
    CHECK(t.body.len <= 16 * KIB);
    t.pause_at_body = false;
    http_call_resume(t.call);
    while (sent < whole) {
        ssize_t n =
            send(e.fd, block, MIN(sizeof(block), whole - sent), MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        run_for(0);
    }
    CHECK(WAIT(t.finished));
    CHECK_EQ(t.body.len, whole);
}

TEST(client_holds_its_caller_back)
{
    static char block[1 << 16];
    size_t written = 0;
    RIG();
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    t.call = http_call_new(rig->client, "POST", "/", &ops, &t);
    http_call_stream(t.call);
    REQUIRE(end_accept(&e));
    for (;;) {
        unsigned before = t.writables;
        while (http_call_write(t.call, block, sizeof(block)))
            written += sizeof(block);
        written += sizeof(block);
        run_for(20000);
        if (t.writables == before)
            break;
        REQUIRE(written < 32 * MIB);
    }
    unsigned before = t.writables;
    while (t.writables == before) {
        end_read(&e);
        run_for(1000);
    }
    http_call_end(t.call);
    CHECK(WAIT((end_read(&e), e.got.len) > written &&
               strcmp(e.got.data + e.got.len - 5, "0\r\n\r\n") == 0));
    end_send(&e, OK("0", ""));
    EXPECT_WHOLE(&t, 200, "");
}

/* Cancelling */

TEST(client_cancels_at_any_point)
{
    RIG();
    TOLD t = TOLD_INIT, u = TOLD_INIT, v = TOLD_INIT, w = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT, f = END_INIT, g = END_INIT;
    http_call_cancel(http_call_new(rig->client, "GET", "/", &ops, &t)); /* unwritten */
    get(&t, "GET", "/");
    http_call_cancel(t.call); /* unsent */
    CHECK_EQ(counts()->in_flight, 0);
    get(&t, "GET", "/");
    REQUIRE(end_accept(&e));
    end_expect(&e, GET("/"));
    http_call_cancel(t.call); /* sent */
    CHECK(WAIT((end_read(&e), e.ended)));
    u.cancel_at_head = true;
    get(&u, "GET", "/");
    REQUIRE(end_accept(&f));
    end_send(&f, OK("5", "hello"));
    CHECK(WAIT(u.heads == 1));
    CHECK(WAIT((end_read(&f), f.ended)));
    CHECK_EQ(u.body.len, 0);
    v.cancel_at_body = true;
    get(&v, "GET", "/");
    REQUIRE(end_accept(&g));
    end_send(&g, OK("10", "hello"));
    CHECK(WAIT(v.body.len == 5));
    CHECK(WAIT((end_read(&g), g.ended)));
    get(&w, "GET", "/"); /* with the client */
    run_for(1000);
    http_client_free(take_ptr(rig->client));
    CHECK_EQ(t.finished + u.finished + v.finished + w.finished, 0);
}

/* Together with our own server */

static void
echo_complete(struct http_request *r)
{
    http_answer(r, 200, NULL, r->content.data, r->content.len);
}

static const struct http_request_ops echo_ops = {.complete = echo_complete};

static void
on_request(struct http_request *r)
{
    r->ops = &echo_ops;
}

size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t
allocated_bytes(void)
{
    return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes()
                                                   : mallinfo2().uordblks;
}

TEST(client_needs_no_memory_for_more_calls)
{
    struct http_service service = {.request = on_request};
    size_t before = 0;
    char text[400];
    (void)snprintf(text, sizeof(text), "unix:%s/s", tap_dir());
    RIG_AT(text);
    struct http_server *server = http_server_new(rig->loop, &http_server_config_default, &service);
    REQUIRE(http_server_listen(server, take_fd(&rig->listener), NULL) == 0);
    for (int i = 0; i < 5000; i++) {
        TOLD t = TOLD_INIT;
        t.call = http_call_new(rig->client, "POST", "/", &ops, &t);
        http_call_whole(t.call, "hello", 5);
        EXPECT_WHOLE(&t, 200, "hello");
        buf_finish(&t.body);
        if (i == 100)
            before = allocated_bytes();
    }
    CHECK(allocated_bytes() <= before + 4096);
    CHECK_EQ(counts()->connects, 1);
    http_server_free(server);
}

/* Fetching */

struct script {
    int listener;
    const char *answer;
};

static void *
play(void *arg)
{
    struct script *s = arg;
    char bytes[4096];
    int fd;
    while ((fd = sock_accept(s->listener, NULL)) == -EAGAIN)
        ;
    while (recv(fd, bytes, sizeof(bytes), 0) < 0 && errno == EAGAIN)
        ;
    (void)send(fd, s->answer, strlen(s->answer), MSG_NOSIGNAL);
    (void)close(fd);
    return NULL;
}

static int
fetch_from(const char *answer, unsigned *ret_status, struct buf *ret_body, struct err *reterr)
{
    struct sock_addr addr;
    struct script script = {.answer = answer};
    sock_addr_text address;
    pthread_t thread;
    int r = sock_addr_parse("127.0.0.1:0", &addr, NULL);
    assert(r == 0);
    script.listener = sock_listen(&addr, 0600, NULL);
    addr.port = (uint16_t)sock_bound_port(script.listener);
    struct http_fetch fetch = {.address = sock_addr_print(&addr, address), .target = "/"};
    r = pthread_create(&thread, NULL, play, &script);
    assert(r == 0);
    int got = http_fetch(&fetch, ret_status, ret_body, reterr);
    (void)pthread_join(thread, NULL);
    (void)close(script.listener);
    return got;
}

TEST(fetch_returns_answers_and_errors)
{
    _cleanup_buf_ struct buf body = BUF_INIT(5);
    struct err err = {0};
    unsigned status;
    CHECK_EQ(fetch_from(OK("5", "hello"), &status, &body, &err), 0);
    CHECK_EQ(status, 200);
    CHECK_STR(body.data, "hello");
    buf_clear(&body);
    CHECK_EQ(fetch_from("HTTP/1.1 503 Busy\r\n\r\nlater", &status, &body, &err), 0);
    CHECK_EQ(status, 503);
    CHECK_STR(body.data, "later");
    buf_clear(&body);
    CHECK_EQ(fetch_from(OK("6", "hello!"), &status, &body, &err), -EBADMSG);
    CHECK_EQ(err.id, ERR_HTTP_ANSWER);
    CHECK_EQ(fetch_from("", &status, &body, &err), -ECONNRESET);
    body.failed = true; /* as if memory ran out */
    CHECK_EQ(fetch_from(OK("1", "h"), &status, &body, &err), -EBADMSG);
    CHECK(strstr(err.what, "no room"));
    struct http_fetch fetch = {.address = "127.0.0.1:99999", .target = "/"};
    CHECK_EQ(http_fetch(&fetch, &status, &body, &err), -EINVAL);
}
