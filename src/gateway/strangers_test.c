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
        CHECK_EQ(flood_turn(&s.flood), 1000 - STRANGER_ROWS);
    }
    CHECK_EQ(flood_turn(&s.flood), 0);
}
