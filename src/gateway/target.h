#pragma once

/* Which back ends a name of a model means: served names, LoRA adapters, aliases, the default model,
 * models of other hosts with their weights, and what is asked when none of these can answer. Made
 * of a configuration that was checked, and never changed; it outlives the table. */

#include "base/err.h"

struct config;
struct config_model;
struct config_peer;
struct key;
struct target_table;

/* One server that answers to a name. */
struct target_back {
    const struct config_model *model; /* of this host; or */
    const struct config_peer *peer;   /* of another */
    const char *name;                 /* under which it is asked there */
    uint32_t weight;
};

struct target {
    const char *name; /* a served one: no alias */
    const struct target_back *backs;
    size_t back_count;
    const struct target *const *fallbacks; /* in their order, each once, and not itself */
    size_t fallback_count;
};

struct target_table *target_table_new(const struct config *config) must_check;
void target_table_free(struct target_table *table);

/* "" asks for the default model. NO_MODEL, with the nearest name there is: what a key may not ask
 * for is not there for it. key: NULL: whoever asks may ask for all. */
int target_find(const struct target_table *table, const struct key *key, const char *name,
                const struct target **ret_target, struct err *reterr) must_check;

/* All names under which something can be asked, aliases included, one after the other; NULL behind
 * the last. */
const char *target_name(const struct target_table *table, size_t i);

/* How a back end is now. */
struct target_load {
    bool usable;
    uint32_t in_flight; /* and waiting there */
    uint32_t seen;      /* how much of this request it has seen before (affinity.h) */
};

/* The back end that has seen the most of the request, as long as it has not more than a quarter
 * and one above its share of what all have to do; else the one that has the least to do for its
 * weight, and among equals the next one each time that `turn` grows. One of weight 0 only where no
 * other is usable. NULL: none is. */
const struct target_back *target_choose(const struct target *target,
                                        const struct target_load *loads, uint64_t turn);
