#include "unit/rest.h"

#include "base/mem.h"
#include "tap.h"

TEST(what_rests_does_so_until_it_is_ended)
{
    _cleanup_arena_ struct arena arena;
    const char *store = tap_dir(), **units;
    size_t count = 7;
    arena_init(&arena, 64 * KIB);
    CHECK_EQ(unit_rest_list(store, &arena, &units, &count, NULL), 0);
    CHECK_EQ(count, 0);
    CHECK_EQ(unit_rest_end(store, "citadel-a.service", NULL), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(unit_rest_begin(store, "citadel-a.service", NULL), 0);
    CHECK(unit_rests(store, "citadel-a.service"));
    CHECK(!unit_rests(store, "citadel-b.service"));
    CHECK_EQ(unit_rest_list(store, &arena, &units, &count, NULL), 0);
    REQUIRE(count == 1);
    CHECK_STR(units[0], "citadel-a.service");
    CHECK_EQ(unit_rest_end(store, "citadel-a.service", NULL), 0);
    CHECK(!unit_rests(store, "citadel-a.service"));
}
