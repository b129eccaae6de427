#include "client_rig.h"

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

/* However it comes: else a server could hold a call for ever by a byte now and then. */
TEST(client_waits_no_longer_for_a_head_that_drips)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nX: aaaaaaaaaa";
    RIG(r_.config.first_byte_us = 60000, r_.config.between_us = 60000);
    TOLD t = TOLD_INIT;
    _cleanup_end_ struct server_end e = END_INIT;
    get(&t, "GET", "/");
    REQUIRE(end_accept(&e));
    for (size_t i = 0; head[i] && !t.finished; i++) {
        char byte[] = {head[i], '\0'};
        end_send(&e, byte);
        run_for(20000);
    }
    CHECK_EQ(t.finished, 1);
    EXPECT_ERROR(&t, ERR_HTTP_TIMEOUT, HTTP_PHASE_ANSWER);
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
