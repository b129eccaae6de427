#include "gateway/share.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>

#define BUCKETS 1024
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

uint64_t
share_address(uint64_t address)
{
    return address | IS_ADDRESS;
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
