#include "gateway/flood.h"

#include "tap.h"

static const struct flood_bounds bounds = {10, 100};

TEST(a_flood_leaves_few_rows_of_each_and_is_told_as_a_sum)
{
    struct flood f = {0};
    for (unsigned minute = 1; minute <= 3; minute++) {
        unsigned rows = 0;
        for (unsigned i = 0; i < 1000; i++)
            rows += flood_take(&f, &bounds, 7);
        CHECK_EQ(rows, 10);
        CHECK(flood_take(&f, &bounds, 8));
        flood_turn(&f);
        CHECK_EQ(f.left_out, minute * 990); /* whether or not it was told meanwhile */
    }
    flood_turn(&f);
    CHECK_EQ(f.left_out, 3 * 990);
}

TEST(a_flood_of_many_leaves_few_rows_of_all)
{
    struct flood f = {0};
    unsigned rows = 0;
    for (unsigned i = 0; i < 100000; i++)
        rows += flood_take(&f, &bounds, i);
    CHECK_EQ(f.count, FLOOD_WHO_MAX);
    CHECK_EQ(rows, 100);
    flood_turn(&f);
    CHECK_EQ(f.left_out, 100000 - rows);
    CHECK(flood_take(&f, &bounds, 99999));
}

/* Who comes late among many shares what is left with the rest, and no more. */
TEST(a_flood_of_the_rest_is_bounded_as_one)
{
    static const struct flood_bounds wide = {10, 100000};
    struct flood f = {0};
    unsigned rows = 0;
    for (unsigned i = 0; i < FLOOD_WHO_MAX; i++)
        CHECK(flood_take(&f, &wide, i));
    for (unsigned i = 0; i < 1000; i++)
        rows += flood_take(&f, &wide, FLOOD_WHO_MAX + i);
    CHECK_EQ(rows, 10);
}
