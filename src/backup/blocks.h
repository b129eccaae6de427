#pragma once

/* Names of blocks as a set: 43 to 86 bytes each. */

#include "backup/pack.h"

struct blocks {
    struct block_id *slots; /* zeros: free */
    size_t room, count;     /* at most 3/4 of the room */
};

void blocks_finish(struct blocks *b);
/* Whether it was there; from here on it is. */
bool blocks_add(struct blocks *b, const struct block_id *id);
bool blocks_has(const struct blocks *b, const struct block_id *id);
/* Whether it was there; from here on it is not. */
bool blocks_remove(struct blocks *b, const struct block_id *id);
