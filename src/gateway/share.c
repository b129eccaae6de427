#include "gateway/share.h"

#include "base/hash.h"
#include "base/mem.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BUCKETS 1024
/* Of a host with IPv6: it may have any address that begins so. */
#define NETWORK_BYTES 8
#define IS_ADDRESS (UINT64_C(1) << 63) /* no key has such an id */

struct shares {
    struct share *buckets[BUCKETS];
};

struct shares *
shares_new(void)
{
    return mem_new(struct shares);
}

void
shares_free(struct shares *s)
{
    for (size_t i = 0; s && i < BUCKETS; i++)
        assert(!s->buckets[i]);
    free(s);
}

/* Whoever asks at a socket that is a file is one. */
uint64_t
share_address(int fd)
{
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof(peer);
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&peer;
    const struct sockaddr_in *in = (const struct sockaddr_in *)&peer;
    uint64_t hash = 0;
    if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
        return IS_ADDRESS;
    if (peer.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
        hash = hash_key(in6->sin6_addr.s6_addr + 12, 4);
    else if (peer.ss_family == AF_INET6)
        hash = hash_key(in6->sin6_addr.s6_addr, NETWORK_BYTES);
    else if (peer.ss_family == AF_INET)
        hash = hash_key(&in->sin_addr, sizeof(in->sin_addr));
    return hash | IS_ADDRESS;
}

static size_t
bucket_of(uint64_t caller)
{
    return hash_key(&caller, sizeof(caller)) % BUCKETS;
}

static struct share *
find(const struct shares *s, uint64_t caller)
{
    struct share *share = s->buckets[bucket_of(caller)];
    while (share && share->caller != caller)
        share = share->next;
    return share;
}

struct share *
share_take(struct shares *s, uint64_t caller)
{
    struct share **bucket = &s->buckets[bucket_of(caller)], *share = find(s, caller);
    if (!share) {
        share = mem_new(struct share);
        share->caller = caller;
        share->next = *bucket;
        *bucket = share;
    }
    share->requests++;
    return share;
}

unsigned
share_requests(const struct shares *s, uint64_t caller)
{
    const struct share *share = find(s, caller);
    return share ? share->requests : 0;
}

void
share_drop(struct shares *s, struct share *share)
{
    struct share **at = &s->buckets[bucket_of(share->caller)];
    if (--share->requests > 0)
        return;
    assert(share->bytes == 0);
    while (*at != share)
        at = &(*at)->next;
    *at = share->next;
    free(share);
}

bool
share_allows(uint64_t has, uint64_t wanted, uint64_t free)
{
    return wanted <= free && (has == 0 || has + wanted <= free - wanted);
}
