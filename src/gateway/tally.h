#pragma once

/* What was asked for under each key, for who draws it over time: by the name of the key, and of
 * so many keys at most. The rest is counted together as TALLY_REST, and so is a key that is
 * called that. A key has its place from its first request on, until it is good no more: then
 * its name is told no more. */

#include "gateway/histogram.h"
#include "gateway/key.h"

struct ledger_row;

#define TALLY_KEYS_MAX 100
#define TALLY_REST "other"

/* How long requests took that were answered: metric.def says what of them. */
struct tally_times {
    struct histogram queue, first, gap, whole;
};

struct tally {
    const struct key *key; /* NULL: the place is free; or it is the rest */
    uint64_t requests;     /* that are over */
    uint64_t over_limit;   /* of these: sent away, since a limit of the key was reached */
    uint64_t tokens_in, tokens_out;
    unsigned in_flight;
    struct tally_times *times; /* NULL: none was answered yet */
    bool is_told;              /* as tallies_sweep() has found it */
};

/* Zeroed: nothing was counted. */
struct tallies {
    struct tally rest;
    struct tally places[TALLY_KEYS_MAX];
};

/* A request, from its head to its end. The key outlives the tallies. */
struct tally *tally_begin(struct tallies *t, const struct key *key) must_check;
void tally_end(struct tally *tally, const struct ledger_row *row, bool is_stream);
void tallies_finish(struct tallies *t); /* no request is left */

/* Before they are told: those of keys that are not good now are given up. */
void tallies_sweep(struct tallies *t, uint64_t wall_us);
/* One after the other, and under which name; NULL: there is nothing to tell at that place. */
#define TALLIES_COUNT (TALLY_KEYS_MAX + 1)
const struct tally *tallies_at(const struct tallies *t, size_t i, const char **ret_name) must_check;
