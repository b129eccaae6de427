#include "client_rig.h"

#include "http/server.h"

#include <stdio.h>
#include <sys/resource.h>

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

/* What is under way stays where it is; what is kept is not used there any more. */
TEST(client_goes_to_another_address)
{
    RIG();
    TOLD t = TOLD_INIT, u = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT, moved = END_INIT;
    struct sock_addr addr;
    sock_addr_text text;
    REQUIRE(warm(&e));
    get(&t, "GET", "/1");
    end_expect(&e, GET("/1"));
    REQUIRE(sock_addr_parse("127.0.0.1:0", &addr, NULL) == 0);
    _cleanup_close_ int listener = sock_listen(&addr, 0, NULL);
    addr.port = (uint16_t)sock_bound_port(listener);
    REQUIRE(http_client_move(rig->client, sock_addr_print(&addr, text), NULL) == 0);
    end_send(&e, OK("1", "1"));
    EXPECT_WHOLE(&t, 200, "1");
    CHECK_EQ(counts()->idle, 0);
    get(&u, "GET", "/2");
    REQUIRE(WAIT(moved.fd >= 0 || (moved.fd = sock_accept(listener, NULL)) >= 0));
    CHECK(end_expect(&moved, GET("/2")));
    end_send(&moved, OK("1", "2"));
    EXPECT_WHOLE(&u, 200, "2");
    CHECK(http_client_move(rig->client, "nowhere", NULL) < 0);
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
    EXPECT_ERROR(&u, ERR_SYSTEM, HTTP_PHASE_CONNECT);
    REQUIRE(end_accept(&e));
    end_send(&e, OK("0", ""));
    EXPECT_WHOLE(&t, 200, "");
}

/* Else a healthy server would be called dead for what we lack. */
TEST(client_without_descriptors_does_not_blame_the_server)
{
    RIG();
    TOLD t = TOLD_INIT;
    struct rlimit before, none;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max};
    REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    get(&t, "GET", "/");
    EXPECT_ERROR(&t, ERR_SYSTEM, HTTP_PHASE_CONNECT);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
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

/* ... and so may one of which the caller says that it does no harm. */
TEST(client_sends_a_repeatable_post_once_more)
{
    RIG();
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT, f = END_INIT;
    REQUIRE(warm(&e));
    t.call = http_call_new(rig->client, "POST", "/", &ops, &t);
    http_call_repeatable(t.call);
    http_call_length(t.call, 5);
    CHECK(http_call_write(t.call, "ab", 2));
    CHECK(http_call_write(t.call, "cde", 3));
    http_call_end(t.call);
    end_expect(&e, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde");
    end_close(&e);
    REQUIRE(end_accept(&f));
    end_expect(&f, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde");
    end_send(&f, OK("0", ""));
    EXPECT_WHOLE(&t, 200, "");
    CHECK_EQ(counts()->sent_anew, 1);
}

/* ... unless it was lost so late that somebody has worked on it. */
TEST(client_never_sends_once_more_what_was_worked_on)
{
    RIG();
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    REQUIRE(warm(&e));
    t.call = http_call_new(rig->client, "POST", "/", &ops, &t);
    http_call_repeatable(t.call);
    http_call_whole(t.call, "abcde", 5);
    end_expect(&e, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde");
    run_for(HTTP_LOST_US + 100000);
    end_close(&e);
    EXPECT_ERROR(&t, ERR_HTTP_CUT, HTTP_PHASE_REQUEST);
    CHECK_EQ(counts()->sent_anew, 0);
}

/* ... which needs no second time where there is no connection that could have been closed. */
TEST(client_sends_a_large_repeatable_post_on_a_new_connection)
{
    RIG(r_.config.high_bytes = 100, r_.config.low_bytes = 10);
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT, f = END_INIT;
    char body[101] = "";
    REQUIRE(warm(&e));
    memset(body, 'x', sizeof(body) - 1);
    t.call = http_call_new(rig->client, "POST", "/", &ops, &t);
    http_call_repeatable(t.call);
    http_call_whole(t.call, body, sizeof(body) - 1);
    REQUIRE(end_accept(&f));
    REQUIRE(WAIT((end_read(&f), f.got.len) > sizeof(body)));
    end_send(&f, OK("0", ""));
    EXPECT_WHOLE(&t, 200, "");
    CHECK_EQ(counts()->connects, 2);
    CHECK_EQ(counts()->idle, 2);
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

TEST(client_needs_no_memory_for_more_calls)
{
    struct http_service service = {.request = on_request};
    size_t before = 0;
    char text[400];
    (void)snprintf(text, sizeof(text), "unix:%s/s", tap_dir());
    RIG_AT(text);
    struct http_server *server =
        http_server_new(rig->turn.loop, &http_server_config_default, &service);
    REQUIRE(http_server_listen(server, take_fd(&rig->listener), NULL) == 0);
    for (int i = 0; i < 5000; i++) {
        TOLD t = TOLD_INIT;
        t.call = http_call_new(rig->client, "POST", "/", &ops, &t);
        http_call_whole(t.call, "hello", 5);
        EXPECT_WHOLE(&t, 200, "hello");
        buf_finish(&t.body);
        if (i == 100)
            before = tap_heap_bytes();
    }
    CHECK(tap_heap_bytes() <= before + 4096);
    CHECK_EQ(counts()->connects, 1);
    http_server_free(server);
}
