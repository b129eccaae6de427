#include "http/server_int.h"
#include "server_rig.h"
#include "sys/clock.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/resource.h>

/* A request that is answered by its head, with a body that is not whole. */
#define UNWANTED "POST /none HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\na"

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
        run_for(20000);
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
        run_for(5000);
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
        run_for(1000);
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
        run_for(60000);
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
        run_for(5000);
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
        run_for(30000);
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
    uint64_t until_us = loop_now_us(rig->turn.loop) + LOOP_PATIENCE_US;
    while (counts()->timed_out == 0 && loop_now_us(rig->turn.loop) < until_us) {
        (void)client_send(&c, GET("/none"));
        run_for(20000);
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
        run_for(5000);
    }
    EXPECT(&c, ERROR("408 Request Timeout", "65",
                     "408 Request Timeout: body-timeout: the body did not come in time"));
    CHECK_EQ(rig->gone, 1);
}

/* Whatever it sends meanwhile: else it would hold its place for as long as it likes. */
TEST(server_gives_a_body_its_time_once)
{
    static char piece[5000];
    RIG(r_.config.body_us = 100000);
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "POST /late HTTP/1.1\r\n" HOST "Content-Length: 3000000\r\n\r\n"));
    uint64_t since_us = loop_now_us(rig->turn.loop);
    while (!c.got.len && !c.ended && rig->body_bytes < 2900000) {
        if (!client_send_n(&c, piece, sizeof(piece)))
            break;
        run_for(5000);
    }
    REQUIRE(WAIT(strstr(c.got.data, "408 Request Timeout: body-timeout")));
    CHECK(loop_now_us(rig->turn.loop) - since_us >= 100000);
    CHECK(rig->body_bytes < 2900000);
}

/* Nor does a pause give it more: who sends much at a time can make us pause. */
TEST(server_counts_the_time_of_a_body_over_pauses)
{
    static char piece[5000];
    RIG(r_.config.body_us = 100000, r_.pause_body = true);
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "POST /late HTTP/1.1\r\n" HOST "Content-Length: 3000000\r\n\r\n"));
    REQUIRE(WAIT(rig->late_count == 1));
    while (!c.got.len && !c.ended && rig->body_bytes < 2900000) {
        uint64_t before = rig->body_bytes;
        http_request_resume(rig->late[0]);
        run_for(5000);
        if (!rig->late[0] || !client_send_n(&c, piece, sizeof(piece)))
            break;
        (void)WAIT(rig->body_bytes > before || !rig->late[0]);
    }
    REQUIRE(WAIT(strstr(c.got.data, "408 Request Timeout: body-timeout")));
    CHECK(rig->body_bytes < 2900000);
}

TEST(server_gives_a_large_body_time_again)
{
    static char piece[5 * MIB];
    RIG(r_.config.body_us = 1000000);
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "POST /late HTTP/1.1\r\n" HOST "Content-Length: 5242881\r\n\r\n"));
    run_for(500000);
    REQUIRE(client_send_n(&c, piece, sizeof(piece)));
    REQUIRE(WAIT(rig->body_bytes == sizeof(piece)));
    run_for(600000);
    CHECK(client_send(&c, "a"));
    REQUIRE(WAIT(rig->body_bytes == sizeof(piece) + 1));
    http_answer(rig->late[0], 204, NULL, "", 0);
    EXPECT(&c, "HTTP/1.1 204 No Content\r\n\r\n");
}

/* It is over, and waits for no more of the body than the client sends at once. */
TEST(server_ends_a_request_with_its_answer)
{
    RIG(r_.config.linger_us = 20000);
    _cleanup_client_ struct client c, d;
    client_open(&c);
    CHECK(client_send(&c, UNWANTED));
    EXPECT(&c, "HTTP/1.1 204 No Content\r\n\r\n");
    CHECK_EQ(rig->answered, 1);
    CHECK_EQ(counts()->in_flight, 0);
    CHECK(client_send(&c, "bcdefghij" GET("/hello")));
    EXPECT(&c, HELLO);
    client_open(&d);
    CHECK(client_send(&d, UNWANTED));
    EXPECT(&d, "HTTP/1.1 204 No Content\r\n\r\n");
    EXPECT_END(&d);
    CHECK(WAIT(counts()->connections == 1));
}

TEST(server_waits_for_a_handler_as_long_as_it_takes)
{
    RIG(r_.config.idle_us = 10000, r_.config.head_us = 10000, r_.config.body_us = 10000,
        r_.config.write_us = 10000);
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, GET("/late")));
    REQUIRE(WAIT(rig->late_count == 1));
    run_for(60000);
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
    CHECK_EQ(rig->cut, 0); /* it is the client's doing */
}

/* Connections */

/* Half a head each: who holds all connections so keeps nobody out. */
TEST(server_makes_room_by_closing_who_has_not_asked)
{
    RIG(r_.config.connections_max = 2);
    _cleanup_client_ struct client a, b, c;
    client_open(&a);
    CHECK(client_send(&a, "GET / HTTP/1.1\r\nX"));
    run_for(10000);
    client_open(&b);
    CHECK(client_send(&b, "GET / HTTP/1.1\r\nX"));
    REQUIRE(WAIT(counts()->connections == 2));
    run_for(10000);
    client_open(&c);
    CHECK(client_send(&c, GET("/hello")));
    EXPECT(&c, HELLO);
    EXPECT_END(&a);
    CHECK(!b.ended);
    CHECK_EQ(counts()->evicted, 1);
}

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

TEST(server_makes_room_by_closing_whose_body_nobody_wants)
{
    RIG(r_.config.connections_max = 2);
    _cleanup_client_ struct client a, b, c;
    client_open(&a);
    CHECK(client_send(&a, UNWANTED));
    EXPECT(&a, "HTTP/1.1 204 No Content\r\n\r\n");
    client_open(&b);
    CHECK(client_send(&b, "POST /late HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\na"));
    REQUIRE(WAIT(rig->late_count == 1));
    client_open(&c);
    CHECK(client_send(&c, GET("/hello")));
    EXPECT(&c, HELLO);
    CHECK(WAIT(a.ended));
    CHECK(!b.ended);
    CHECK_EQ(counts()->evicted, 1);
}

#define LARGE_BYTES (16 * MIB)
#define LARGE_RIG(connections)                                                  \
    RIG(r_.config.connections_max = (connections), r_.config.stall_us = 300000, \
        r_.config.high_bytes = 2 * LARGE_BYTES)

/* Its answer is there, and nothing of it is read. */
static bool
open_unread(struct client *c, const char *requests)
{
    static const char large[LARGE_BYTES];
    size_t i = rig->late_count;
    client_open(c);
    loop_fd_stop(&c->watch);
    if (!client_send(c, requests) || !WAIT(rig->late_count == i + 1))
        return false;
    http_answer(rig->late[i], 200, NULL, large, sizeof(large));
    return WAIT(!rig->late[i]);
}

/* ... and nobody who does, however slowly. */
TEST(server_makes_room_by_closing_who_does_not_read)
{
    static char bytes[16 * KIB];
    LARGE_RIG(2);
    _cleanup_client_ struct client a, reads, c;
    size_t has_read = 0;
    REQUIRE(open_unread(&reads, GET("/late")));
    REQUIRE(open_unread(&a, GET("/late")));
    client_open(&c);
    CHECK(client_send(&c, GET("/hello")));
    while (c.got.len == 0 && has_read < LARGE_BYTES) {
        ssize_t n = recv(reads.fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        REQUIRE(n > 0 || errno == EAGAIN);
        has_read += n > 0 ? (size_t)n : 0;
        run_for(10000);
    }
    EXPECT(&c, HELLO);
    CHECK_EQ(counts()->evicted, 1);
    client_hear(&reads);
    client_hear(&a);
    CHECK(WAIT(has_read + reads.got.len > LARGE_BYTES));
    CHECK(WAIT(a.ended));
    CHECK(a.got.len < LARGE_BYTES);
}

/* Neither end of it holds more than a few KiB. */
static struct conn *
open_narrow(struct client *c)
{
    static const int little = 1, segment = 536;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(rig->addr.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *c = (struct client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little)) < 0 ||
        setsockopt(c->fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment)) < 0 ||
        connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0 || !WAIT(counts()->connections == 1))
        return NULL;
    struct conn *conn = container_of(rig->server->lists[CONN_IDLE].first, struct conn, wait);
    return setsockopt(conn->fd, SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)) < 0 ? NULL : conn;
}

/* Being looked at, as where there is no room, gives nobody more time: he has to take 4 KiB in it. */
TEST(server_cuts_who_reads_too_little_while_it_looks_at_him)
{
    static const char large[64 * KIB];
    char bytes[256];
    RIG(r_.config.write_us = 1000000);
    _cleanup_client_ struct client c;
    struct conn *conn = open_narrow(&c);
    REQUIRE(conn && client_send(&c, GET("/late")) && WAIT(rig->late_count == 1));
    http_answer(rig->late[0], 200, NULL, large, sizeof(large));
    REQUIRE(WAIT(!rig->late[0]));
    uint64_t until_us = clock_now_us() + 4 * rig->config.write_us;
    while (counts()->connections > 0 && clock_now_us() < until_us) {
        conn_look(conn);
        REQUIRE(recv(c.fd, bytes, sizeof(bytes), MSG_DONTWAIT) != 0);
        run_for(100000);
    }
    CHECK_EQ(counts()->connections, 0);
    CHECK_EQ(counts()->timed_out, 1);
}

TEST(server_leaves_who_does_not_read_while_it_works_for_him)
{
    LARGE_RIG(1);
    _cleanup_client_ struct client a, c;
    REQUIRE(open_unread(&a, GET("/late") GET("/late")));
    REQUIRE(WAIT(rig->late_count == 2));
    client_open(&c);
    CHECK(client_send(&c, GET("/hello")));
    REQUIRE(WAIT(rig->server->full));
    struct conn *first = container_of(rig->server->lists[CONN_WRITE].first, struct conn, wait);
    for (int looks = 0; looks < 3; looks++)
        conn_look(first);
    REQUIRE(first->state == CONN_WRITE && first->member.turn == CROWD_STAYS);
    http_answer(rig->late[1], 204, NULL, "", 0);
    EXPECT(&c, HELLO);
    CHECK_EQ(counts()->evicted, 1);
    CHECK_EQ(rig->answered, 3);
}

TEST(server_makes_room_once_one_has_been_answered)
{
    RIG(r_.config.connections_max = 1);
    _cleanup_client_ struct client a, b;
    client_open(&a);
    CHECK(client_send(&a, GET("/late")));
    REQUIRE(WAIT(rig->late_count == 1));
    client_open(&b);
    CHECK(client_send(&b, GET("/hello")));
    run_for(20000);
    CHECK_EQ(counts()->accepted, 1);
    http_answer(rig->late[0], 204, NULL, "", 0);
    EXPECT(&b, HELLO);
    EXPECT(&a, "HTTP/1.1 204 No Content\r\n\r\n");
    EXPECT_END(&a);
    CHECK_EQ(counts()->evicted, 1);
}

/* ... or more are allowed. */
TEST(server_takes_who_waits_when_more_are_allowed)
{
    RIG(r_.config.connections_max = 1);
    _cleanup_client_ struct client a, b;
    client_open(&a);
    CHECK(client_send(&a, GET("/late")));
    REQUIRE(WAIT(rig->late_count == 1));
    client_open(&b);
    CHECK(client_send(&b, GET("/hello")));
    run_for(20000);
    rig->config.connections_max = 2;
    http_server_configure(rig->server, &rig->config);
    EXPECT(&b, HELLO);
    CHECK(!a.ended);
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
    run_for(20000);
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
    run_for(20000);
    CHECK_EQ(counts()->accepted, 0);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    EXPECT(&c, HELLO);
}

/* Who says nothing has one that another needs. */
TEST(server_makes_room_when_descriptors_run_out)
{
    struct rlimit before, few;
    RIG();
    _cleanup_client_ struct client silent, c;
    client_open(&silent);
    REQUIRE(WAIT(counts()->accepted == 1));
    client_open(&c);
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    few = before;
    few.rlim_cur = (rlim_t)dup(0);
    REQUIRE(close((int)few.rlim_cur) == 0 && setrlimit(RLIMIT_NOFILE, &few) == 0);
    CHECK(client_send(&c, GET("/hello")));
    CHECK(WAIT(silent.ended));
    EXPECT(&c, HELLO);
    CHECK_EQ(counts()->evicted, 1);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
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

/* Memory */

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
            before = tap_heap_bytes();
    }
    CHECK_EQ(counts()->answered, 10000);
    CHECK_EQ(counts()->accepted, 1);
    CHECK(tap_heap_bytes() <= before + 4096);
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
            before = tap_heap_bytes();
    }
    /* Of these about 400 bytes are the client's watch. */
    size_t each = (tap_heap_bytes() - before) / (COUNT - 10);
    tap_note("%zu bytes each", each);
    CHECK(each < 1200);
    for (int i = 0; i < COUNT; i++)
        client_close(&clients[i]);
    CHECK(WAIT(counts()->connections == 0));
}
