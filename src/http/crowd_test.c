#include "server_rig.h"

#include "http/crowd.h"

#include <arpa/inet.h>
#include <errno.h>

#define HALF_A_HEAD "GET / HTTP/1.1\r\nX"

static uint64_t
address_of(const char *text)
{
    struct sock_addr addr;
    if (!sock_addr_parse(text, &addr, NULL))
        return crowd_address(&addr);
    CHECK_STR(text, "an address");
    return 0;
}

TEST(a_crowd_knows_an_address_by_what_one_host_may_have)
{
    CHECK(address_of("10.0.0.1:1") == address_of("10.0.0.1:2"));
    CHECK(address_of("10.0.0.1:1") != address_of("10.0.0.2:1"));
    CHECK(address_of("[::ffff:10.0.0.1]:1") == address_of("10.0.0.1:1"));
    CHECK(address_of("[::ffff:10.0.0.1]:1") != address_of("[::ffff:10.0.0.2]:1"));
    CHECK(address_of("[2001:db8::1]:1") == address_of("[2001:db8::2:0:0:2]:1"));
    CHECK(address_of("[2001:db8::1]:1") != address_of("[2001:db8:0:1::1]:1"));
    CHECK(address_of("unix:/a") == address_of("unix:/b"));
    CHECK(address_of("unix:/a") != address_of("10.0.0.1:1"));
}

/* Members of a host; the i-th since i milliseconds. */
static void
come(struct crowd *c, struct crowd_member *members, size_t count, uint64_t address,
     enum crowd_turn turn)
{
    for (size_t i = 0; i < count; i++) {
        crowd_come(c, &members[i], address);
        crowd_stand(c, &members[i], turn, 1000 * i);
    }
}

static void
leave(struct crowd *c, struct crowd_member *members, size_t count)
{
    for (size_t i = 0; i < count; i++)
        crowd_leave(c, &members[i]);
}

TEST(of_a_crowd_somebody_of_the_largest_gives_way)
{
    enum { MANY = 100, SOME = 20 };
    static struct crowd_member many[MANY], some[SOME], one;
    static struct crowd c;
    CHECK(!crowd_any(&c) && !crowd_choose(&c, 1));
    come(&c, some, SOME, 2, CROWD_FIRST); /* it would be their turn */
    come(&c, many, MANY, 1, CROWD_LATER);
    come(&c, &one, 1, 3, CROWD_FIRST);
    CHECK(crowd_choose(&c, 2) == &many[0]);
    CHECK(crowd_choose(&c, 3) == &many[0]);
    CHECK(crowd_choose(&c, 4) == &many[0]);
    CHECK(crowd_choose(&c, 1) == &many[0]); /* they displace themselves */
    crowd_stand(&c, &many[1], CROWD_FIRST, 5000000);
    CHECK(crowd_choose(&c, 4) == &many[1]);
    for (size_t i = SOME; i < MANY; i++)
        crowd_stand(&c, &many[i], CROWD_STAYS, 0);
    CHECK(crowd_choose(&c, 1) == &many[1]); /* as many, but for the newcomer */
    CHECK(crowd_choose(&c, 2) == &some[0]);
    for (size_t i = 0; i < SOME; i++)
        crowd_stand(&c, &many[i], CROWD_STAYS, 0);
    CHECK(crowd_choose(&c, 1) == &some[0]); /* who is worked for is no crowd */
    leave(&c, many, MANY);
    leave(&c, some, SOME);
    CHECK(crowd_choose(&c, 1) == &one);
    leave(&c, &one, 1);
    CHECK(!crowd_any(&c) && !crowd_choose(&c, 1));
    crowd_finish(&c);
}

TEST(of_few_each_gives_way_in_turn)
{
    static struct crowd_member a[CROWD_FEW], b[2];
    static struct crowd c;
    come(&c, a, ARRAY_SIZE(a) - 1, 1, CROWD_LATER);
    come(&c, b, 2, 2, CROWD_FIRST);
    CHECK(crowd_choose(&c, 1) == &b[0]);
    CHECK(crowd_choose(&c, 3) == &b[0]);
    crowd_stand(&c, &b[0], CROWD_LATER, 9000);
    CHECK(crowd_choose(&c, 3) == &b[1]);
    crowd_stand(&c, &b[1], CROWD_STAYS, 0);
    CHECK(crowd_choose(&c, 2) == &a[0]);
    crowd_stand(&c, &a[0], CROWD_LATER, 10000);
    CHECK(crowd_choose(&c, 2) == &a[1]);
    leave(&c, a, ARRAY_SIZE(a) - 1);
    CHECK(crowd_choose(&c, 1) == &b[0]);
    leave(&c, b, 2);
    crowd_finish(&c);
}

/* In a server */

static void
open_from(struct client *c, const char *ip)
{
    struct sockaddr_in from = {.sin_family = AF_INET}, to = from;
    *c = (struct client){.got = BUF_INIT(256 * MIB), .watch.ready = on_client};
    CHECK_EQ(inet_pton(AF_INET, ip, &from.sin_addr), 1);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(rig->addr.port);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(bind(c->fd, (struct sockaddr *)&from, sizeof(from)) == 0);
    CHECK(connect(c->fd, (struct sockaddr *)&to, sizeof(to)) == 0 || errno == EINPROGRESS);
    client_hear(c);
}

enum { FLOOD = 20 };

static bool
flood(struct client clients[FLOOD], const char *ip, const char *text)
{
    for (size_t i = 0; i < FLOOD; i++) {
        open_from(&clients[i], ip);
        if (!client_send(&clients[i], text))
            return false;
        run_for(0);
    }
    return true;
}

static unsigned
close_all(struct client clients[FLOOD])
{
    unsigned ended = 0;
    for (size_t i = 0; i < FLOOD; i++) {
        ended += clients[i].ended;
        client_close(&clients[i]);
    }
    return ended;
}

/* Whoever has just connected, or was answered, keeps his place. */
TEST(server_keeps_those_of_other_addresses_from_a_flood_of_heads)
{
    static struct client first[FLOOD], more[FLOOD];
    RIG(r_.config.connections_max = FLOOD);
    _cleanup_client_ struct client silent, idle, late;
    open_from(&idle, "127.0.0.2");
    CHECK(client_send(&idle, GET("/hello")));
    EXPECT(&idle, HELLO);
    open_from(&late, "127.0.0.1");
    CHECK(client_send(&late, GET("/late")));
    REQUIRE(WAIT(rig->late_count == 1));
    CHECK(flood(first, "127.0.0.1", HALF_A_HEAD));
    open_from(&silent, "127.0.0.3");
    CHECK(flood(more, "127.0.0.1", HALF_A_HEAD));
    CHECK(WAIT(counts()->accepted == 2 * FLOOD + 3));
    CHECK(client_send(&silent, GET("/hello")));
    EXPECT(&silent, HELLO);
    CHECK(client_send(&idle, GET("/hello")));
    EXPECT(&idle, HELLO);
    http_answer(rig->late[0], 204, NULL, "", 0);
    EXPECT(&late, "HTTP/1.1 204 No Content\r\n\r\n");
    CHECK_EQ(counts()->connections, FLOOD);
    CHECK_EQ(counts()->evicted, FLOOD + 3);
    run_for(1000);
    CHECK_EQ(close_all(first) + close_all(more), FLOOD + 3);
}

/* Of one address, too: who came last and has not spoken goes behind heads that began before. */
TEST(server_closes_heads_that_do_not_end_before_who_has_just_connected)
{
    static struct client heads[FLOOD];
    RIG(r_.config.connections_max = FLOOD);
    _cleanup_client_ struct client silent, other;
    CHECK(flood(heads, "127.0.0.1", HALF_A_HEAD));
    REQUIRE(WAIT(counts()->connections == FLOOD));
    run_for(2000);
    client_open(&silent);
    client_open(&other);
    CHECK(client_send(&other, GET("/hello")));
    EXPECT(&other, HELLO);
    CHECK(client_send(&silent, GET("/hello")));
    EXPECT(&silent, HELLO);
    CHECK_EQ(counts()->evicted, 2);
    CHECK_EQ(close_all(heads), 2);
}

/* Whatever he reads: he has asked for more before. */
TEST(server_makes_room_by_closing_who_asks_faster_than_he_reads)
{
    RIG(r_.config.connections_max = 2, r_.config.stall_us = 60 * UINT64_C(1000000));
    _cleanup_client_ struct client a, late, c;
    client_open(&late);
    CHECK(client_send(&late, GET("/late")));
    REQUIRE(WAIT(rig->late_count == 1));
    client_open(&a);
    loop_fd_stop(&a.watch);
    CHECK(setsockopt(a.fd, SOL_SOCKET, SO_RCVBUF, &(int){2304}, sizeof(int)) == 0);
    uint64_t before;
    do { /* until his answers wait here */
        before = counts()->requests;
        for (int i = 0; i < 1000; i++)
            (void)!send(a.fd, GET("/hello"), sizeof(GET("/hello")) - 1, MSG_NOSIGNAL);
        run_for(5000);
    } while (counts()->requests > before);
    client_open(&c);
    CHECK(client_send(&c, GET("/hello")));
    EXPECT(&c, HELLO);
    CHECK_EQ(counts()->evicted, 1);
    CHECK(!late.ended);
    CHECK_EQ(counts()->connections, 2);
}
