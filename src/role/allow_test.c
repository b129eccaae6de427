#include "role/allow.h"

#include "config/config.h"
#include "tap.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

TEST(an_address_is_within_a_network_bit_by_bit)
{
    static const struct {
        const char *network, *address;
        bool want;
    } rows[] = {
        {"127.0.0.1", "127.0.0.1", true},
        {"127.0.0.1", "127.0.0.2", false},
        {"192.168.10.0/24", "192.168.10.255", true},
        {"192.168.10.0/24", "192.168.11.0", false},
        {"192.168.10.0/23", "192.168.11.7", true},
        {"10.0.0.128/25", "10.0.0.127", false},
        {"10.0.0.128/25", "10.0.0.200", true},
        {"0.0.0.0/0", "8.8.8.8", true},
        {"0.0.0.0/0", "::1", false},
        {"::1", "::1", true},
        {"::/0", "2001:db8::1", true},
        {"::/0", "127.0.0.1", false},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"2001:db8::/33", "2001:db8:7fff::", true},
        {"127.0.0.1", "::ffff:127.0.0.1", true},
        {"::ffff:0:0/96", "::ffff:127.0.0.1", false}, /* it counts as IPv4 */
        {"127.0.0.1/32", "127.0.0.1", true},
        {"::1/128", "::2", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *items[] = {"203.0.113.9", rows[i].network};
        struct config_list list = {items, 2};
        bool six = strchr(rows[i].address, ':') != NULL;
        uint8_t bytes[16];
        tap_note("%s in %s", rows[i].address, rows[i].network);
        REQUIRE(inet_pton(six ? AF_INET6 : AF_INET, rows[i].address, bytes) == 1);
        CHECK_EQ(allow_address(&list, bytes, six ? 16 : 4), rows[i].want);
    }
    CHECK(!allow_address(&(struct config_list){0}, (const uint8_t[]){127, 0, 0, 1}, 4));
}

TEST(who_comes_by_a_file_is_of_this_host)
{
    const char *here = "127.0.0.0/8", *there = "10.0.0.0/8";
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    CHECK(allow_peer(&(struct config_list){&here, 1}, ends[0]));
    CHECK(!allow_peer(&(struct config_list){&there, 1}, ends[0]));
    (void)close(ends[0]);
    (void)close(ends[1]);
}
