#include "backup/blocks.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define ROOM_MIN ((size_t)1024) /* a power of two, as all sizes */

static const struct block_id none;

void
blocks_finish(struct blocks *b)
{
    free(b->slots);
    *b = (struct blocks){0};
}

static bool
is_same(const struct block_id *a, const struct block_id *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static size_t
home_of(const struct blocks *b, const struct block_id *id)
{
    return (size_t)hash_key(id, sizeof(*id)) & (b->room - 1);
}

/* Where it is, or would be. Digests of what others made are no keys to rely on: hence the hash. */
static struct block_id *
slot_of(const struct blocks *b, const struct block_id *id)
{
    size_t at = home_of(b, id);
    while (!is_same(&b->slots[at], &none) && !is_same(&b->slots[at], id))
        at = (at + 1) & (b->room - 1);
    return &b->slots[at];
}

static void
grow(struct blocks *b)
{
    _cleanup_free_ struct block_id *old = b->slots;
    size_t room = b->room;
    b->room = room ? 2 * room : ROOM_MIN;
    b->slots = mem_alloc(b->room * sizeof(*b->slots));
    for (size_t i = 0; i < room; i++)
        if (!is_same(&old[i], &none))
            *slot_of(b, &old[i]) = old[i];
}

bool
blocks_add(struct blocks *b, const struct block_id *id)
{
    if (4 * (b->count + 1) > 3 * b->room)
        grow(b);
    struct block_id *slot = slot_of(b, id);
    if (is_same(slot, id))
        return true;
    *slot = *id;
    b->count++;
    return false;
}

bool
blocks_has(const struct blocks *b, const struct block_id *id)
{
    return b->room > 0 && is_same(slot_of(b, id), id) && !is_same(id, &none);
}

/* What comes behind it moves up, as far as it may: so no search ends early. */
bool
blocks_remove(struct blocks *b, const struct block_id *id)
{
    if (!blocks_has(b, id))
        return false;
    size_t hole = (size_t)(slot_of(b, id) - b->slots);
    for (size_t at = (hole + 1) & (b->room - 1); !is_same(&b->slots[at], &none);
         at = (at + 1) & (b->room - 1)) {
        size_t home = home_of(b, &b->slots[at]);
        if (((at - home) & (b->room - 1)) < ((at - hole) & (b->room - 1)))
            continue;
        b->slots[hole] = b->slots[at];
        hole = at;
    }
    b->slots[hole] = none;
    b->count--;
    return true;
}
