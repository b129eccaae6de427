#include "gateway/breaker.h"

#include "tap.h"

static void
fail(struct breaker *b, unsigned times, uint64_t now_us)
{
    for (unsigned i = 0; i < times; i++)
        breaker_fail(b, breaker_begin(b), now_us);
}

TEST(breaker_opens_after_failures_in_a_row)
{
    struct breaker b = {0};
    fail(&b, BREAKER_FAILURES - 1, 100);
    CHECK(breaker_admits(&b, 100));
    CHECK(!breaker_begin(&b));
    breaker_succeed(&b);
    fail(&b, BREAKER_FAILURES - 1, 100);
    CHECK(breaker_admits(&b, 100));
    fail(&b, 1, 100);
    CHECK(!breaker_admits(&b, 100));
    CHECK_EQ(breaker_opens_us(&b, 100), 100 + BREAKER_PAUSE_US);
}

TEST(breaker_lets_one_at_a_time_find_out)
{
    struct breaker b = {0};
    uint64_t now = BREAKER_PAUSE_US;
    fail(&b, BREAKER_FAILURES, 0);
    CHECK(!breaker_admits(&b, now - 1));
    REQUIRE(breaker_admits(&b, now));
    CHECK(breaker_begin(&b));
    CHECK(!breaker_admits(&b, now));
    breaker_pass(&b, false); /* another, from before */
    CHECK(!breaker_admits(&b, now));
    breaker_pass(&b, true); /* its client has left: nobody knows more than before */
    REQUIRE(breaker_admits(&b, now));
    fail(&b, 1, now);
    CHECK_EQ(breaker_opens_us(&b, now), now + 2 * BREAKER_PAUSE_US);
    now += 2 * BREAKER_PAUSE_US;
    CHECK(breaker_begin(&b));
    breaker_succeed(&b);
    CHECK(breaker_admits(&b, 0));
}

TEST(breaker_is_not_kept_open_by_those_that_were_on_their_way)
{
    struct breaker b = {0};
    for (unsigned i = 0; i < 2 * BREAKER_FAILURES; i++)
        CHECK(!breaker_begin(&b));
    for (unsigned i = 0; i < 2 * BREAKER_FAILURES; i++)
        breaker_fail(&b, false, i);
    CHECK_EQ(breaker_opens_us(&b, 50), BREAKER_FAILURES - 1 + BREAKER_PAUSE_US);
}

TEST(breaker_pauses_no_longer_than_its_most)
{
    struct breaker b = {0};
    fail(&b, BREAKER_FAILURES, 0);
    for (int i = 0; i < 40; i++)
        fail(&b, 1, breaker_opens_us(&b, 0));
    CHECK_EQ(b.pause_us, BREAKER_PAUSE_MAX_US);
}
