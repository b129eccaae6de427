#include "base/heap.h"

#include "tap.h"

/* A generator that gives the same numbers each time. */
static uint32_t
draw(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static bool
is_ordered(const struct heap *h)
{
    for (size_t i = 0; i < h->count; i++)
        if (h->items[i]->place != i + 1 || (i && h->items[(i - 1) / 2]->rank > h->items[i]->rank))
            return false;
    return true;
}

TEST(items_come_out_in_the_order_of_their_ranks)
{
    struct heap h = {0};
    struct heap_item items[100] = {0};
    uint32_t seed = 1;
    for (size_t i = 0; i < ARRAY_SIZE(items); i++)
        heap_add(&h, &items[i], draw(&seed) % 50);
    for (uint64_t last = 0; heap_first(&h);) {
        struct heap_item *first = heap_first(&h);
        CHECK(first->rank >= last);
        last = first->rank;
        heap_remove(&h, first);
        CHECK_EQ(first->place, 0);
        CHECK(is_ordered(&h));
    }
    heap_finish(&h);
}

/* Whatever is added, moved and taken out of the middle, the least is first. */
TEST(the_order_holds_over_any_changes)
{
    struct heap h = {0};
    struct heap_item items[64] = {0};
    uint32_t seed = 7;
    for (unsigned step = 0; step < 5000; step++) {
        struct heap_item *item = &items[draw(&seed) % ARRAY_SIZE(items)];
        if (!item->place)
            heap_add(&h, item, draw(&seed) % 1000);
        else if (draw(&seed) % 2)
            heap_move(&h, item, draw(&seed) % 1000);
        else
            heap_remove(&h, item);
        REQUIRE(is_ordered(&h));
    }
    heap_finish(&h);
}
