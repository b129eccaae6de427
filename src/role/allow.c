#include "role/allow.h"

#include "config/config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static bool
is_within(const char *network, const uint8_t *bytes, size_t len)
{
    char address[INET6_ADDRSTRLEN];
    uint8_t base[16];
    size_t name = strcspn(network, "/");
    if (name >= sizeof(address))
        return false;
    memcpy(address, network, name);
    address[name] = '\0';
    if (inet_pton(len == 4 ? AF_INET : AF_INET6, address, base) != 1)
        return false; /* one of the other family */
    size_t bits = network[name] ? strtoul(network + name + 1, NULL, 10) : 8 * len;
    bits = MIN(bits, 8 * len);
    size_t whole = bits / 8;
    uint8_t rest = (uint8_t)(0xff00 >> (bits % 8));
    return memcmp(base, bytes, whole) == 0 &&
           (bits % 8 == 0 || ((base[whole] ^ bytes[whole]) & rest) == 0);
}

bool
allow_address(const struct config_list *networks, const uint8_t *bytes, size_t len)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (len == 16 && memcmp(bytes, mapped, sizeof(mapped)) == 0) {
        bytes += 12;
        len = 4;
    }
    for (size_t i = 0; i < networks->count; i++)
        if (is_within(networks->items[i], bytes, len))
            return true;
    return false;
}

bool
allow_peer(const struct config_list *networks, int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } peer;
    static const uint8_t here[4] = {127, 0, 0, 1};
    socklen_t len = sizeof(peer);
    memset(&peer, 0, sizeof(peer));
    if (getpeername(fd, &peer.any, &len) < 0)
        return false;
    if (peer.any.sa_family == AF_UNIX)
        return allow_address(networks, here, sizeof(here));
    if (peer.any.sa_family == AF_INET)
        return allow_address(networks, (const uint8_t *)&peer.v4.sin_addr, 4);
    return peer.any.sa_family == AF_INET6 && allow_address(networks, peer.v6.sin6_addr.s6_addr, 16);
}
