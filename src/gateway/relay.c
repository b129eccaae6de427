#include "gateway/relay.h"

#include "gateway/relay_int.h"

#include <malloc.h>
#include <stdlib.h>

/* Prompts and talks that are remembered, at some 20 marks each. 4 MiB. */
#define AFFINITY_PLACES (UINT64_C(1) << 18)
#define MANY_REQUESTS 256 /* at a time: some MB */
#define TRIM_AFTER_US UINT64_C(1000000)

int
relay_new(struct loop *loop, const struct config *config, struct papers *papers,
          struct relay **ret_relay, struct err *reterr)
{
    struct relay *relay = mem_new(struct relay);
    relay->connections_max = UINT64_MAX;
    relay->loop = loop;
    relay->affinity = affinity_new(AFFINITY_PLACES);
    relay->shares = shares_new();
    relay->spool = spool_new(loop, SPOOL_PATIENCE_US);
    int r = routing_new(loop, config, papers, NULL, &relay->routing, reterr);
    if (r < 0)
        relay_free(relay);
    else
        *ret_relay = relay;
    return r;
}

int
relay_configure(struct relay *relay, struct config *config, struct papers *papers,
                struct err *reterr)
{
    struct routing *next, *before = relay->routing;
    int r = routing_new(relay->loop, config, papers, before, &next, reterr);
    if (r < 0)
        return r;
    next->owned = config;
    relay->routing = next;
    routing_enter(next);
    routing_drop(before);
    return 0;
}

struct config *
relay_take_config(struct relay *relay)
{
    return relay ? take_ptr(relay->routing->owned) : NULL;
}

void
relay_free(struct relay *relay)
{
    if (!relay)
        return;
    assert(relay->counts.requests == 0 && relay->counts.bodies_bytes == 0);
    loop_timer_stop(&relay->trim);
    routing_drop(relay->routing);
    affinity_free(relay->affinity);
    shares_free(relay->shares);
    spool_close(relay->spool);
    stored_free(relay->stored);
    backgrounds_finish(&relay->backgrounds);
    tallies_finish(&relay->tallies);
    free(relay);
}

void
relay_enter(struct relay *relay)
{
    relay->counts.requests++;
    relay->most = MAX(relay->most, relay->counts.requests);
}

/* The allocator would keep it. */
static void
on_trim(struct loop_timer *timer unused_arg)
{
    (void)malloc_trim(0);
}

/* What many requests had at a time goes back to the host once few of them are left; but while
 * crowds come and go, the next one has it. */
void
relay_leave(struct relay *relay)
{
    unsigned left = --relay->counts.requests;
    if (relay->most < MANY_REQUESTS || left > relay->most / 8)
        return;
    relay->most = left;
    relay->trim.expired = on_trim;
    loop_timer_start(relay->loop, &relay->trim, TRIM_AFTER_US, 0);
}

void
relay_tell_of_ends(struct relay *relay,
                   void (*over)(const struct ledger_row *row, const struct reply *reply, void *arg),
                   void *arg)
{
    relay->over = over;
    relay->over_arg = arg;
}

void
relay_keep_words(struct relay *relay, struct transcripts *transcripts)
{
    relay->transcripts = transcripts;
}

void
relay_export_spans(struct relay *relay, struct exporter *exporter)
{
    relay->exporter = exporter;
}

const struct target_table *
relay_targets(const struct relay *relay)
{
    return relay->routing->targets;
}

const struct backend *
relay_backend(const struct relay *relay, size_t i)
{
    return relay->routing->backends[i];
}

struct backend *
relay_backend_of(const struct relay *relay, const struct target_back *back)
{
    return routing_backend_of(relay->routing, back);
}

struct backend *
relay_backend_at(struct relay *relay, size_t i)
{
    return relay->routing->backends[i];
}

size_t
relay_backend_count(const struct relay *relay)
{
    return relay->routing->count;
}

const struct relay_counts *
relay_counts(const struct relay *relay)
{
    return &relay->counts;
}

void
relay_bound_connections(struct relay *relay, unsigned connections_max)
{
    relay->connections_max = connections_max;
}

struct tallies *
relay_tallies(struct relay *relay)
{
    return &relay->tallies;
}
