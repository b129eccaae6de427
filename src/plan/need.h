#pragma once

/* What a configured model takes of each of its GPUs, predicted. Pure. */

#include "config/types.h"
#include "model/demand.h"

struct config_model;

/* MODEL_UNKNOWN where it does not tell. */
struct plan_need {
    uint64_t weights_bytes;
    uint64_t request_bytes;  /* keys, values and state of one request of full length */
    uint64_t overhead_bytes; /* what the engine takes beside */
    uint64_t tokens;         /* of that request */
};

/* m: NULL when nothing is known of its files. */
struct plan_need plan_need_of(const struct config_model *c, const struct model *m);
uint64_t plan_need_sum(const struct plan_need *need); /* of what is known: less will not do */
/* The longest request, below `most` tokens, whose keys and values fit into so many bytes; 0: none
 * does, or it is not known. */
uint64_t plan_longest(const struct config_model *c, const struct model *m, uint64_t bytes,
                      uint64_t most);

/* Whether its engine reads the model's files; the others bring what they need. */
bool plan_reads_files(const struct config_model *c);
enum kv_dtype plan_kv_dtype(enum config_kv_cache_dtype dtype);
