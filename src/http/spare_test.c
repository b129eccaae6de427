#include "http/spare.h"

#include "tap.h"

TEST(the_last_spare_given_is_taken_first)
{
    struct spares spares = {0};
    struct spare a, b;
    CHECK(!spares_take(&spares));
    CHECK(spares_give(&spares, &a) && spares_give(&spares, &b));
    CHECK(spares_take(&spares) == &b);
    CHECK(spares_take(&spares) == &a);
    CHECK(!spares_take(&spares));
}

TEST(no_more_spares_are_kept_than_may_be)
{
    static struct spare all[1000];
    struct spares spares = {0};
    unsigned kept = 0, taken = 0;
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        kept += spares_give(&spares, &all[i]);
    CHECK(kept > 0 && kept <= 100);
    while (spares_take(&spares))
        taken++;
    CHECK_EQ(taken, kept);
}

TEST(a_spare_buffer_keeps_a_room_of_ordinary_size)
{
    static const char large[1 * MIB];
    _cleanup_buf_ struct buf b = BUF_INIT(2 * MIB);
    buf_add(&b, large, 1000);
    spare_trim(&b);
    CHECK(b.len == 0 && b.room >= 1000);
    buf_add(&b, large, sizeof(large));
    spare_trim(&b);
    CHECK(b.len == 0 && b.room == 0);
}

TEST(room_is_lent_to_one_at_a_time)
{
    _cleanup_buf_ struct buf room = BUF_INIT(BUF_CEILING_MAX), a = BUF_INIT(100), b = BUF_INIT(200);
    buf_add_str(&a, "taken");
    const char *bytes = a.data;
    spare_return(&room, &a);
    CHECK(a.room == 0 && a.len == 0 && a.ceiling_bytes == 100);
    spare_lend(&room, &b);
    CHECK(b.data == bytes && b.len == 0 && b.ceiling_bytes == 200 && room.room == 0);
    buf_add_str(&a, "meanwhile");
    spare_return(&room, &b);
    spare_return(&room, &a);
    CHECK(room.data == bytes && a.room == 0 && b.room == 0);
}

TEST(who_has_room_is_lent_none)
{
    _cleanup_buf_ struct buf room = BUF_INIT(BUF_CEILING_MAX), a = BUF_INIT(100);
    buf_add_str(&room, "other");
    buf_add_str(&a, "waits for its rest");
    spare_lend(&room, &a);
    CHECK_STR(a.data, "waits for its rest");
    CHECK(room.room > 0);
}
