#include "http/server_int.h"
#include "server_rig.h"
#include "sys/clock.h"

#include <stdio.h>

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
        run_for(0);
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
    run_for(1000);
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

TEST(server_counts_an_answer)
{
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, GET("/counted") "HEAD /counted HTTP/1.1\r\n" HOST "\r\n"));
    EXPECT(&c, "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\nonetwelve bytes"
               "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n");
    CHECK(client_send(&c, "GET /counted HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" GET("/none")));
    EXPECT(&c, "HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: keep-alive\r\n\r\n"
               "onetwelve bytesHTTP/1.1 204 No Content\r\n\r\n");
    CHECK_EQ(counts()->accepted, 1);
}

TEST(server_sends_head_and_first_bytes_at_once)
{
    static const char *const paths[] = {"/hello", "/pieces", "/counted"};
    RIG();
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        char text[4096];
        int pair[2]; /* whose packets are what was sent in one call */
        REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
        REQUIRE(http_server_adopt(rig->server, pair[1]) == 0);
        int len = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n" HOST "\r\n", paths[i]);
        CHECK_EQ(send(pair[0], text, (size_t)len, 0), len);
        CHECK(WAIT(rig->answered == i + 1));
        ssize_t n = recv(pair[0], text, sizeof(text) - 1, 0);
        text[MAX(n, 0)] = '\0';
        CHECK(strstr(text, "hello") || strstr(text, "twelve bytes"));
        CHECK(recv(pair[0], text, sizeof(text), 0) < 0);
        (void)close(pair[0]);
    }
}

/* Errors that the server tells itself */

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
explain_json(void *arg unused_arg, unsigned status, const char *reason, const char *why unused_arg,
             struct buf *body)
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

/* Who has connected before is answered, and told that it is over; whoever asks nothing is cut. */
TEST(server_that_drains_answers_who_has_just_connected)
{
    RIG();
    _cleanup_client_ struct client c, silent;
    client_open(&c);
    client_open(&silent);
    REQUIRE(WAIT(http_server_counts(rig->server)->connections == 2));
    http_server_drain(rig->server);
    http_server_configure(rig->server, &rig->config); /* a reload meanwhile changes nothing */
    CHECK(client_send(&c, GET("/late")));
    REQUIRE(WAIT(rig->late_count == 1));
    http_answer(rig->late[0], 200, NULL, "", 0);
    EXPECT(&c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    EXPECT_END(&c);
    EXPECT_END(&silent);
    CHECK(WAIT(rig->drained == 1));
}

#define DISMISSED \
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

/* Each hears it, once, whatever it waits for; also who has just connected. */
TEST(server_dismisses_who_is_in_flight)
{
    RIG();
    _cleanup_client_ struct client waits, begun, sends, asks, other;
    struct client *const all[] = {&waits, &begun, &sends, &asks};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        client_open(all[i]);
    CHECK(client_send(&waits, GET("/late") GET("/late")));
    REQUIRE(WAIT(rig->late_count == 1));
    CHECK(client_send(&begun, GET("/late")));
    REQUIRE(WAIT(rig->late_count == 2));
    http_answer_begin(rig->late[1], 200);
    http_answer_stream(rig->late[1]);
    rig->late[1]->user = rig;
    EXPECT(&begun, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    CHECK(client_send(&sends, "POST /late HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\na"));
    REQUIRE(WAIT(rig->late_count == 3));
    client_open(&other);
    CHECK(client_send(&other, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\na"));
    REQUIRE(WAIT(counts()->in_flight == 4 && counts()->connections == 5));
    http_server_drain(rig->server);
    http_server_dismiss(rig->server);
    EXPECT(&waits, DISMISSED);
    EXPECT_END(&waits);
    EXPECT(&begun, "3\r\nbye\r\n0\r\n\r\n");
    EXPECT_END(&begun);
    EXPECT(&sends, DISMISSED);
    EXPECT_END(&sends);
    CHECK(WAIT(other.ended));
    CHECK_STR(other.got.data, "");
    CHECK(client_send(&asks, GET("/late")));
    EXPECT(&asks, DISMISSED);
    CHECK_EQ(rig->dismissed, 4);
    CHECK_EQ(rig->gone, 1);
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        client_close(all[i]);
    CHECK(WAIT(rig->drained == 1));
}

/* Whoever has not asked yet is not waited for. */
TEST(server_dismisses_who_has_half_a_head)
{
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "POST /late HTTP/1.1\r\n" HOST));
    REQUIRE(WAIT(rig->server->lists[CONN_HEAD].first));
    http_server_drain(rig->server);
    run_for(10000);
    CHECK(!c.ended);
    uint64_t began_us = clock_now_us();
    http_server_dismiss(rig->server);
    EXPECT_END(&c);
    CHECK(WAIT(rig->drained == 1));
    CHECK(clock_now_us() - began_us < http_server_config_default.linger_us);
    CHECK_STR(c.got.data, "");
}

/* Nor does a buffer that is kept for the next one have what was in it. */
TEST(server_keeps_nothing_of_answers_with_secrets)
{
    for (int has_secrets = 0; has_secrets < 2; has_secrets++) {
        RIG(r_.config.has_secrets = has_secrets);
        _cleanup_client_ struct client c;
        client_open(&c);
        CHECK(client_send(&c, GET("/hello")));
        EXPECT(&c, HELLO);
        REQUIRE(WAIT(rig->server->spares.first));
        const struct exchange *x = container_of(rig->server->spares.first, struct exchange, spare);
        REQUIRE(x->out.room > 0);
        CHECK_EQ(memmem(x->out.data, x->out.room, "hello", 5) == NULL, has_secrets);
    }
}

/* It is the server's doing. */
TEST(server_cuts_whom_it_cannot_dismiss)
{
    RIG();
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "POST /kept HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\na"));
    REQUIRE(WAIT(rig->late_count == 1));
    http_server_drain(rig->server);
    http_server_dismiss(rig->server);
    CHECK(WAIT(c.ended));
    CHECK_STR(c.got.data, "");
    CHECK_EQ(rig->gone, 1);
    CHECK_EQ(rig->cut, 1);
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
    loop_timer_stop(&rig->turn.beat);
    loop_run(rig->turn.loop); /* returns: nothing is watched */
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
