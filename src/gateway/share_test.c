#include "gateway/share.h"

#include "tap.h"

/* What the n-th of those gets who want all they can get, one after the other. */
TEST(however_many_want_all_there_is_room_for_the_next)
{
    uint64_t free = 10000;
    for (unsigned n = 1; n <= 8; n++) {
        uint64_t has = 0;
        while (share_allows(has, 1, free)) {
            has++;
            free--;
        }
        tap_note("%u: %llu, and %llu are free", n, (unsigned long long)has,
                 (unsigned long long)free);
        CHECK(has > 0 && has + 1 >= free);
        CHECK(free > 0);
    }
}

TEST(callers_that_take_turns_get_as_much_as_each_other)
{
    uint64_t free = 9000, has[2] = {0};
    for (unsigned i = 0; i < 20000; i++) {
        if (!share_allows(has[i % 2], 1, free))
            continue;
        has[i % 2]++;
        free--;
    }
    CHECK_EQ(has[0], 3000);
    CHECK_EQ(has[1], 3000);
}

TEST(who_has_nothing_may_have_all_that_is_free)
{
    CHECK(share_allows(0, 100, 100));
    CHECK(!share_allows(0, 101, 100));
    CHECK(!share_allows(1, 100, 100));
    CHECK(share_allows(1, 49, 100));
    CHECK(!share_allows(2, 50, 100));
    CHECK(!share_allows(0, UINT64_MAX, 100));
}

TEST(a_caller_is_one_as_long_as_a_request_is_there)
{
    struct shares *s = shares_new();
    struct share *first = share_take(s, 7), *other = share_take(s, 8);
    CHECK(share_take(s, 7) == first);
    CHECK(other != first);
    CHECK_EQ(share_requests(s, 7), 2);
    CHECK_EQ(share_requests(s, 9), 0);
    first->bytes = 5;
    share_drop(s, first);
    CHECK_EQ(first->requests, 1);
    CHECK_EQ(first->bytes, 5);
    first->bytes = 0;
    share_drop(s, first);
    share_drop(s, other);
    shares_free(s);
}
