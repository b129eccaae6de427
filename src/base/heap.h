#pragma once

/* A binary heap of items that lie in structs of the caller: the least first, and any of them can be
 * taken out or moved when its rank changed. Adding is O(log n), and grows the array of pointers. */

#include "base/util.h"

struct heap_item {
    uint64_t rank;
    size_t place; /* 1 + index; 0: in no heap */
};

struct heap {
    struct heap_item **items;
    size_t count;
    size_t room;
};

void heap_finish(struct heap *h);
void heap_add(struct heap *h, struct heap_item *item, uint64_t rank);
void heap_remove(struct heap *h, struct heap_item *item);
void heap_move(struct heap *h, struct heap_item *item, uint64_t rank); /* to its new rank */

static inline struct heap_item *
heap_first(const struct heap *h)
{
    return h->count ? h->items[0] : NULL;
}
