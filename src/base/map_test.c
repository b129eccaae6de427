#include "base/map.h"

#include "base/mem.h"
#include "base/vec.h"
#include "tap.h"

#include <stdio.h>

TEST(a_map_finds_what_was_added)
{
    _cleanup_map_ struct map m = {0};
    _cleanup_arena_ struct arena a;
    arena_init(&a, 64 * MIB);
    CHECK(map_get(&m, "nothing") == NULL);
    for (int i = 0; i < 100000; i++) {
        char *name = arena_printf(&a, "model.layers.%d.weight", i);
        REQUIRE(name && map_add(&m, name, name) == name);
    }
    CHECK_EQ(m.count, 100000);
    for (int i = 0; i < 100000; i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "model.layers.%d.weight", i);
        const char *found = map_get(&m, name);
        REQUIRE(found && strcmp(found, name) == 0);
    }
    CHECK(map_get(&m, "model.layers.100000.weight") == NULL);
    CHECK(map_get_n(&m, "model.layers.1.weightless", strlen("model.layers.1.weight")) != NULL);
}

TEST(the_first_of_a_name_stays)
{
    _cleanup_map_ struct map m = {0};
    int first = 1, second = 2;
    CHECK(map_add(&m, "a", &first) == &first);
    CHECK(map_add(&m, "a", &second) == &first);
    CHECK_EQ(m.count, 1);
    CHECK(map_add(&m, "", &second) == &second);
    CHECK(map_get(&m, "") == &second);
}

TEST(a_list_grows_and_keeps_its_items)
{
    VEC(int) v = {0};
    for (int i = 0; i < 1000; i++)
        vec_push(&v, i);
    CHECK_EQ(v.count, 1000);
    int want = 0;
    vec_foreach (&v, it)
        CHECK_EQ(*it, want++);
    CHECK_EQ(want, 1000);
    *vec_add(&v) += 5; /* new items are zero */
    CHECK_EQ(v.items[1000], 5);
    vec_finish(&v);
    CHECK_EQ(v.count, 0);
    vec_foreach (&v, it)
        CHECK(it == NULL);
}
