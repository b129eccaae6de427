#include "gateway/peer.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is no part of an address may be a secret: a user and his password, or a query. */
static int
refuse(const char *option, const char *url, const char *wanted, struct err *reterr)
{
    size_t len = strcspn(url, "?#");
    const char *slashes = strstr(url, "//");
    if (memchr(url, '@', len))
        len = slashes ? (size_t)(slashes + 2 - url) : 0;
    int r = err_set(reterr, ERR_VALUE, "%s is '%.*s%s', expected %s", option, (int)len, url,
                    url[len] ? "..." : "", wanted);
    err_fix(reterr, "write it as http://HOST:PORT");
    return r;
}

static bool
read_port(const char *text, size_t len, unsigned *ret_port)
{
    unsigned port = 0;
    if (len == 0 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    *ret_port = port;
    return port > 0 && port <= UINT16_MAX;
}

static bool
take_host(struct peer_url *u, const char *host, size_t len)
{
    uint8_t ip[16];
    bool is_bracketed = len > 2 && host[0] == '[' && host[len - 1] == ']';
    if (is_bracketed) {
        host++;
        len -= 2;
    }
    if (len == 0 || len > PEER_HOST_MAX)
        return false;
    memcpy(u->host, host, len);
    u->host[len] = '\0';
    bool is_6 = inet_pton(AF_INET6, u->host, ip) == 1;
    u->is_ip = is_6 || inet_pton(AF_INET, u->host, ip) == 1;
    return is_6 == is_bracketed;
}

static bool
take_authority(struct peer_url *u, const char *text, size_t len)
{
    const char *bracket = memchr(text, ']', len), *from = bracket ? bracket : text;
    const char *colon = memchr(from, ':', len - (size_t)(from - text));
    size_t host_len = colon ? (size_t)(colon - text) : len;
    if (len >= sizeof(u->authority) || !take_host(u, text, host_len))
        return false;
    (void)snprintf(u->authority, sizeof(u->authority), "%.*s", (int)len, text);
    u->port = u->is_tls ? 443 : 80;
    return !colon || read_port(colon + 1, len - host_len - 1, &u->port);
}

static void
take_base(struct peer_url *u, const char *text)
{
    u->base = text;
    u->base_len = strlen(text);
    while (u->base_len > 0 && text[u->base_len - 1] == '/')
        u->base_len--;
    if (u->base_len >= 3 && memcmp(text + u->base_len - 3, "/v1", 3) == 0)
        u->base_len -= 3;
}

int
peer_read_url(const char *option, const char *url, struct peer_url *ret_url, struct err *reterr)
{
    struct peer_url u = {.is_tls = text_starts(url, "https://")};
    if (!u.is_tls && !text_starts(url, "http://"))
        return refuse(option, url, "http:// or https://", reterr);
    const char *authority = strstr(url, "//") + 2;
    size_t len = strcspn(authority, "/?#");
    if (strpbrk(authority, "?#@\\ "))
        return refuse(option, url, "an address without a query, a fragment or a user", reterr);
    if (!take_authority(&u, authority, len))
        return refuse(option, url, "a host, and a port from 1 to 65535", reterr);
    take_base(&u, authority + len);
    *ret_url = u;
    return 0;
}
