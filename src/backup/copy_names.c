/* What blocks are called in the other repository, where only their content tells: so each that was
 * read is remembered, and of snapshots that both have the names lie side by side. */

#include "backup/copy_int.h"

#include <stdlib.h>
#include <string.h>

#define ROOM_MIN ((size_t)1024) /* a power of two, as all sizes */

static const struct block_id none;

void
name_pairs_finish(struct name_pairs *n)
{
    free(n->slots);
    *n = (struct name_pairs){0};
}

static bool
is_same(const struct block_id *a, const struct block_id *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static struct name_pair *
slot_of(const struct name_pairs *n, const struct block_id *here)
{
    size_t at = (size_t)hash_key(here, sizeof(*here)) & (n->room - 1);
    while (!is_same(&n->slots[at].here, &none) && !is_same(&n->slots[at].here, here))
        at = (at + 1) & (n->room - 1);
    return &n->slots[at];
}

static void
grow(struct name_pairs *n)
{
    _cleanup_free_ struct name_pair *old = n->slots;
    const size_t room = n->room;
    n->room = room ? 2 * room : ROOM_MIN;
    n->slots = mem_alloc(n->room * sizeof(*n->slots));
    for (size_t i = 0; i < room; i++)
        if (!is_same(&old[i].here, &none))
            *slot_of(n, &old[i].here) = old[i];
}

void
name_pairs_add(struct name_pairs *n, const struct block_id *here, const struct block_id *there)
{
    if (4 * (n->count + 1) > 3 * n->room)
        grow(n);
    struct name_pair *slot = slot_of(n, here);
    n->count += is_same(&slot->here, &none);
    *slot = (struct name_pair){*here, *there};
}

bool
name_pairs_find(const struct name_pairs *n, const struct block_id *here, struct block_id *ret_there)
{
    if (n->room == 0)
        return false;
    const struct name_pair *slot = slot_of(n, here);
    if (is_same(&slot->here, &none))
        return false;
    *ret_there = slot->there;
    return true;
}
