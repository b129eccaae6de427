#include "gateway/breaker.h"

#include "tap.h"

#define NOT_ADMITTED UINT64_MAX

static uint64_t
begin(struct breaker *b, uint64_t now_us)
{
    uint64_t trial;
    return breaker_begin(b, now_us, &trial) ? trial : NOT_ADMITTED;
}

static void
fail(struct breaker *b, unsigned times, uint64_t now_us)
{
    for (unsigned i = 0; i < times; i++)
        breaker_fail(b, begin(b, now_us), now_us);
}

TEST(breaker_opens_after_failures_in_a_row)
{
    struct breaker b = {0};
    fail(&b, BREAKER_FAILURES - 1, 100);
    CHECK(breaker_admits(&b, 100));
    CHECK_EQ(begin(&b, 100), 0);
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
    CHECK_EQ(begin(&b, now - 1), NOT_ADMITTED);
    REQUIRE(breaker_admits(&b, now));
    uint64_t trial = begin(&b, now);
    CHECK(trial != 0 && trial != NOT_ADMITTED);
    CHECK(!breaker_admits(&b, now));
    CHECK_EQ(begin(&b, now), NOT_ADMITTED);
    breaker_pass(&b, 0); /* another, from before */
    CHECK(!breaker_admits(&b, now));
    breaker_pass(&b, trial); /* its client has left: nobody knows more than before */
    REQUIRE(breaker_admits(&b, now));
    fail(&b, 1, now);
    CHECK_EQ(breaker_opens_us(&b, now), now + 2 * BREAKER_PAUSE_US);
    now += 2 * BREAKER_PAUSE_US;
    CHECK_EQ(begin(&b, now), trial + 2);
    breaker_succeed(&b);
    CHECK(breaker_admits(&b, 0));
}

TEST(breaker_lets_others_follow_a_trial_that_lasts)
{
    struct breaker b = {0};
    uint64_t now = BREAKER_PAUSE_US;
    breaker_last(&b); /* there is none */
    CHECK_EQ(b.failures, 0);
    fail(&b, BREAKER_FAILURES, 0);
    uint64_t trial = begin(&b, now);
    CHECK(breaker_is_tried(&b));
    CHECK_EQ(breaker_opens_us(&b, now), now + BREAKER_TRIAL_US);
    breaker_last(&b);
    CHECK(!breaker_is_tried(&b));
    CHECK_EQ(begin(&b, now), 0);
    breaker_fail(&b, trial, now); /* after all */
    CHECK_EQ(begin(&b, now), NOT_ADMITTED);
    CHECK_EQ(breaker_opens_us(&b, now), now + 2 * BREAKER_PAUSE_US);
}

/* One that answered meanwhile has closed it, and it opened again: what the late
 * one tells is not of now. */
TEST(breaker_knows_a_trial_of_an_earlier_time)
{
    struct breaker b = {0};
    uint64_t now = BREAKER_PAUSE_US;
    fail(&b, BREAKER_FAILURES, 0);
    uint64_t late = begin(&b, now);
    breaker_succeed(&b);
    fail(&b, BREAKER_FAILURES, now);
    now += BREAKER_PAUSE_US;
    uint64_t trial = begin(&b, now);
    CHECK(trial != late && trial != NOT_ADMITTED);
    breaker_fail(&b, late, now);
    CHECK_EQ(b.pause_us, BREAKER_PAUSE_US);
    CHECK_EQ(begin(&b, now), NOT_ADMITTED);
    breaker_pass(&b, late);
    CHECK_EQ(begin(&b, now), NOT_ADMITTED);
    breaker_fail(&b, trial, now);
    CHECK_EQ(b.pause_us, 2 * BREAKER_PAUSE_US);
}

TEST(breaker_is_not_kept_open_by_those_that_were_on_their_way)
{
    struct breaker b = {0};
    for (unsigned i = 0; i < 2 * BREAKER_FAILURES; i++)
        CHECK_EQ(begin(&b, 0), 0);
    for (unsigned i = 0; i < 2 * BREAKER_FAILURES; i++)
        breaker_fail(&b, false, i);
    CHECK_EQ(breaker_opens_us(&b, 50), BREAKER_FAILURES - 1 + BREAKER_PAUSE_US);
}

TEST(breaker_counts_all_that_one_loss_cuts_as_one)
{
    struct breaker b = {0};
    for (unsigned i = 0; i < 2 * BREAKER_FAILURES; i++)
        breaker_cut(&b, 0, i, 100);
    CHECK_EQ(b.failures, 1);
    for (unsigned i = 1; i < BREAKER_FAILURES; i++) {
        CHECK(breaker_admits(&b, 100 * i));
        breaker_cut(&b, 0, 100 * i + 1, 100 * i + 100); /* each set out behind the last */
    }
    CHECK(!breaker_admits(&b, 100 * BREAKER_FAILURES));
    uint64_t now = breaker_opens_us(&b, 0), trial = begin(&b, now);
    breaker_cut(&b, 0, 1, now + 1);
    CHECK(breaker_is_tried(&b));
    breaker_cut(&b, trial, now, now + 1);
    CHECK(!breaker_is_tried(&b));
    CHECK_EQ(b.pause_us, 2 * BREAKER_PAUSE_US);
}

TEST(breaker_pauses_no_longer_than_its_most)
{
    struct breaker b = {0};
    fail(&b, BREAKER_FAILURES, 0);
    for (int i = 0; i < 40; i++)
        fail(&b, 1, breaker_opens_us(&b, 0));
    CHECK_EQ(b.pause_us, BREAKER_PAUSE_MAX_US);
}
