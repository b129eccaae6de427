#include "base/heap.h"

#include "base/mem.h"

#include <stdlib.h>

void
heap_finish(struct heap *h)
{
    free(h->items);
    *h = (struct heap){0};
}

static void
set(struct heap *h, size_t at, struct heap_item *item)
{
    h->items[at] = item;
    item->place = at + 1;
}

static void
sift_up(struct heap *h, size_t at, struct heap_item *item)
{
    for (; at > 0 && h->items[(at - 1) / 2]->rank > item->rank; at = (at - 1) / 2)
        set(h, at, h->items[(at - 1) / 2]);
    set(h, at, item);
}

static void
sift_down(struct heap *h, size_t at, struct heap_item *item)
{
    for (size_t child; (child = 2 * at + 1) < h->count; at = child) {
        if (child + 1 < h->count && h->items[child + 1]->rank < h->items[child]->rank)
            child++;
        if (h->items[child]->rank >= item->rank)
            break;
        set(h, at, h->items[child]);
    }
    set(h, at, item);
}

void
heap_add(struct heap *h, struct heap_item *item, uint64_t rank)
{
    assert(item->place == 0);
    if (h->count == h->room) {
        size_t room = h->room ? 2 * h->room : 8;
        h->items = mem_grow(h->items, h->room * sizeof(struct heap_item *),
                            room * sizeof(struct heap_item *));
        h->room = room;
    }
    item->rank = rank;
    sift_up(h, h->count++, item);
}

void
heap_move(struct heap *h, struct heap_item *item, uint64_t rank)
{
    size_t at = item->place - 1;
    assert(at < h->count && h->items[at] == item);
    bool up = rank < item->rank;
    item->rank = rank;
    if (up)
        sift_up(h, at, item);
    else
        sift_down(h, at, item);
}

void
heap_remove(struct heap *h, struct heap_item *item)
{
    size_t at = item->place - 1;
    assert(at < h->count && h->items[at] == item);
    struct heap_item *last = h->items[--h->count];
    if (last != item) {
        set(h, at, last);
        if (at > 0 && h->items[(at - 1) / 2]->rank > last->rank)
            sift_up(h, at, last);
        else
            sift_down(h, at, last);
    }
    item->place = 0;
}
