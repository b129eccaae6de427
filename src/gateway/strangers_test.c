#include "gateway/strangers.h"

#include "tap.h"

TEST(strangers_are_all_counted_and_few_of_one_address_written_down)
{
    struct strangers s = {0};
    for (unsigned minute = 1; minute <= 3; minute++) {
        unsigned rows = 0;
        for (unsigned i = 0; i < 1000; i++)
            rows += strangers_take(&s, STRANGER_KEY, 7);
        CHECK_EQ(rows, STRANGER_ROWS);
        CHECK(strangers_take(&s, STRANGER_ADDRESS, 8));
        CHECK(!strangers_take(&s, STRANGER_PATH, 9));
        CHECK_EQ(s.counts[STRANGER_KEY], minute * 1000);
        CHECK_EQ(s.counts[STRANGER_ADDRESS], minute);
        CHECK_EQ(s.counts[STRANGER_PATH], minute);
        CHECK_EQ(strangers_turn(&s), 1000 - STRANGER_ROWS);
    }
    CHECK_EQ(strangers_turn(&s), 0);
}

TEST(strangers_of_many_addresses_are_written_down_up_to_a_number)
{
    struct strangers s = {0};
    unsigned rows = 0;
    for (unsigned i = 0; i < 100000; i++)
        rows += strangers_take(&s, STRANGER_KEY, i);
    CHECK_EQ(s.count, STRANGERS_MAX);
    CHECK(rows >= STRANGERS_MAX && rows <= STRANGERS_ROWS);
    CHECK_EQ(strangers_turn(&s), 100000 - rows);
    CHECK(strangers_take(&s, STRANGER_KEY, 99999));
}
