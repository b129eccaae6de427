#pragma once

/* What the prefix cache has: blocks of prompts, each known by what it and all before it say. */

#include "base/util.h"

struct prefix {
    uint64_t *blocks; /* by a part of their hash; the last that came stays */
};

void prefix_init(struct prefix *prefix);
void prefix_finish(struct prefix *prefix);
void prefix_clear(struct prefix *prefix);

/* Of the tokens of a prompt, how many are in blocks that are there; its blocks are there from now
 * on. At least one token is always left to compute. */
uint64_t prefix_take(struct prefix *prefix, const char *text, size_t len, uint64_t block_tokens);
