#include "http/crowd.h"

#include "base/hash.h"
#include "base/mem.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Of a host with IPv6: it may have any address that begins so. */
#define NETWORK_BYTES 8

#define MS_BITS 39 /* 17 years */
#define COUNT_MAX ((UINT64_C(1) << 24) - 1)

struct line {
    struct crowd_member *first, *last;
};

struct crowd_host {
    struct crowd_host *next; /* in its bucket */
    uint64_t address;
    struct heap_item by_count;
    struct line lines[CROWD_TURNS];
    unsigned members;
    unsigned may_go; /* of them */
};

void
crowd_finish(struct crowd *c)
{
    for (size_t i = 0; i < ARRAY_SIZE(c->buckets); i++)
        assert(!c->buckets[i]);
    heap_finish(&c->by_count);
}

uint64_t
crowd_address(const struct sock_addr *peer)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (peer->family == AF_INET)
        return hash_key(peer->ip, 4);
    if (peer->family != AF_INET6)
        return 0;
    if (memcmp(peer->ip, mapped, sizeof(mapped)) == 0)
        return hash_key(peer->ip + sizeof(mapped), 4);
    return hash_key(peer->ip, NETWORK_BYTES);
}

static struct crowd_host *
find(const struct crowd *c, uint64_t address)
{
    struct crowd_host *host = c->buckets[address % CROWD_BUCKETS];
    while (host && host->address != address)
        host = host->next;
    return host;
}

void
crowd_come(struct crowd *c, struct crowd_member *m, uint64_t address)
{
    struct crowd_host **bucket = &c->buckets[address % CROWD_BUCKETS];
    struct crowd_host *host = find(c, address);
    if (!host) {
        host = mem_new(struct crowd_host);
        host->address = address;
        host->next = *bucket;
        *bucket = host;
    }
    host->members++;
    *m = (struct crowd_member){.host = host, .turn = CROWD_STAYS};
}

void
crowd_leave(struct crowd *c, struct crowd_member *m)
{
    struct crowd_host *host = m->host;
    struct crowd_host **at = &c->buckets[host->address % CROWD_BUCKETS];
    crowd_stand(c, m, CROWD_STAYS, 0);
    m->host = NULL;
    if (--host->members > 0)
        return;
    while (*at != host)
        at = &(*at)->next;
    *at = host->next;
    free(host);
}

uint64_t
crowd_member_address(const struct crowd_member *m)
{
    return m->host->address;
}

/* Who gives way */

static struct crowd_member *
first_of(const struct crowd_host *host)
{
    for (size_t turn = 0; turn < CROWD_TURNS; turn++)
        if (host->lines[turn].first)
            return host->lines[turn].first;
    return NULL;
}

static uint64_t
weight(uint64_t may_go)
{
    return may_go > CROWD_FEW ? MIN(may_go, COUNT_MAX) : 0;
}

/* The least goes first: of who has most, then whose turn it is, then who has waited longest. */
static uint64_t
rank(const struct crowd_host *host)
{
    const struct crowd_member *first = first_of(host);
    return (COUNT_MAX - weight(host->may_go)) << (MS_BITS + 1) | (uint64_t)first->turn << MS_BITS |
           (first->since_us / 1000 & ((UINT64_C(1) << MS_BITS) - 1));
}

static void
rank_anew(struct crowd *c, struct crowd_host *host)
{
    if (host->by_count.place && host->may_go)
        heap_move(&c->by_count, &host->by_count, rank(host));
    else if (host->by_count.place)
        heap_remove(&c->by_count, &host->by_count);
    else if (host->may_go)
        heap_add(&c->by_count, &host->by_count, rank(host));
}

static void
step_out(struct crowd_member *m)
{
    struct line *line = &m->host->lines[m->turn];
    *(m->previous ? &m->previous->next : &line->first) = m->next;
    *(m->next ? &m->next->previous : &line->last) = m->previous;
    m->next = m->previous = NULL;
    m->host->may_go--;
}

static void
step_in(struct crowd_member *m)
{
    struct line *line = &m->host->lines[m->turn];
    m->previous = line->last;
    *(line->last ? &line->last->next : &line->first) = m;
    line->last = m;
    m->host->may_go++;
}

void
crowd_stand(struct crowd *c, struct crowd_member *m, enum crowd_turn turn, uint64_t now_us)
{
    if (m->turn == CROWD_STAYS && turn == CROWD_STAYS)
        return;
    if (m->turn != CROWD_STAYS)
        step_out(m);
    m->turn = turn;
    m->since_us = now_us;
    if (turn != CROWD_STAYS)
        step_in(m);
    rank_anew(c, m->host);
}

bool
crowd_any(const struct crowd *c)
{
    return c->by_count.count > 0;
}

/* The address of the newcomer counts him, too. */
struct crowd_member *
crowd_choose(const struct crowd *c, uint64_t address)
{
    const struct crowd_host *own = find(c, address);
    const struct heap_item *most = heap_first(&c->by_count);
    if (!most)
        return NULL;
    const struct crowd_host *host = container_of(most, const struct crowd_host, by_count);
    uint64_t has = own && own->may_go ? weight((uint64_t)own->may_go + 1) : 0;
    return first_of(has && has >= weight(host->may_go) ? own : host);
}
