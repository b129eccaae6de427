#include "gateway/tally.h"

#include "base/mem.h"
#include "gateway/ledger.h"

#include <stdlib.h>

static struct tally *
find_place(struct tallies *t, const struct key *key)
{
    struct tally *free_place = NULL;
    for (size_t i = 0; i < TALLY_KEYS_MAX; i++) {
        if (t->places[i].key == key)
            return &t->places[i];
        if (!t->places[i].key && !free_place)
            free_place = &t->places[i];
    }
    return free_place && !text_eq(key->name, TALLY_REST) ? free_place : &t->rest;
}

struct tally *
tally_begin(struct tallies *t, const struct key *key)
{
    struct tally *tally = find_place(t, key);
    if (tally != &t->rest)
        tally->key = key;
    tally->in_flight++;
    return tally;
}

/* An answer's first token comes with its first byte. */
static void
take_times(struct tally_times *times, const struct ledger_row *row, bool is_stream)
{
    uint64_t rest_us = row->duration_us - MIN(row->first_us, row->duration_us);
    histogram_add(&times->queue, row->queue_us);
    histogram_add(&times->first, row->first_us);
    histogram_add(&times->whole, row->duration_us);
    if (is_stream && row->tokens_out > 1)
        histogram_add(&times->gap, rest_us / (row->tokens_out - 1));
}

void
tally_end(struct tally *tally, const struct ledger_row *row, bool is_stream)
{
    assert(tally->in_flight > 0);
    tally->in_flight--;
    tally->requests++;
    tally->over_limit += row->status == 429;
    tally->tokens_in += row->tokens_in;
    tally->tokens_out += row->tokens_out;
    if (row->end != LEDGER_WHOLE || row->status >= 400)
        return;
    if (!tally->times)
        tally->times = mem_new(struct tally_times);
    take_times(tally->times, row, is_stream);
}

static bool
is_good(const struct tally *tally, uint64_t wall_us)
{
    return key_state(tally->key, wall_us) == KEY_ACTIVE;
}

/* What runs yet goes by its place, which is free only then. */
void
tallies_sweep(struct tallies *t, uint64_t wall_us)
{
    for (size_t i = 0; i < TALLY_KEYS_MAX; i++) {
        struct tally *tally = &t->places[i];
        if (!tally->key)
            continue;
        tally->is_told = is_good(tally, wall_us);
        if (!tally->is_told && tally->in_flight == 0) {
            free(tally->times);
            *tally = (struct tally){0};
        }
    }
}

void
tallies_finish(struct tallies *t)
{
    for (size_t i = 0; i < TALLY_KEYS_MAX; i++)
        free(t->places[i].times);
    free(t->rest.times);
}

const struct tally *
tallies_at(const struct tallies *t, size_t i, const char **ret_name)
{
    const struct tally *tally = i < TALLY_KEYS_MAX ? &t->places[i] : &t->rest;
    bool is_told = tally == &t->rest ? tally->requests || tally->in_flight : tally->is_told;
    *ret_name = tally->key ? tally->key->name : TALLY_REST;
    return is_told ? tally : NULL;
}
