#include "base/budget.h"

#include "tap.h"

#define S UINT64_C(1000000)

TEST(delays_double_and_the_budget_ends)
{
    static const struct budget budget = {.burst = 5, .delay_us = 10 * S, .start_us = 100 * S};
    static const uint64_t delays[] = {0, 10 * S, 20 * S, 40 * S, 80 * S, UINT64_MAX, UINT64_MAX};
    uint64_t sum = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(delays); i++)
        CHECK_EQ(budget_delay(&budget, i), delays[i]);
    /* As the supervisor does it: a start, a failure, a delay. */
    for (unsigned failures = 0; budget_delay(&budget, failures) != UINT64_MAX; failures++)
        sum += budget_delay(&budget, failures) + budget.start_us;
    CHECK_EQ(budget_bound(&budget), sum);
    CHECK_EQ(sum, 650 * S);
}

TEST(a_delay_has_an_upper_end)
{
    static const struct budget budget = {.burst = 100, .delay_us = 10 * S};
    CHECK_EQ(budget_delay(&budget, 99), BUDGET_DELAY_MAX_US);
}

/* Or a supervisor would not wait as long as it was told, and another longer than the bound says. */
TEST(a_long_delay_is_not_cut)
{
    static const struct budget budget = {.burst = 100, .delay_us = 3600 * S};
    CHECK_EQ(budget_delay(&budget, 1), 3600 * S);
    CHECK_EQ(budget_delay(&budget, 99), 3600 * S);
}

TEST(failures_are_forgotten_by_who_was_ready_for_long)
{
    static const struct budget budget = {.forgive_us = 600 * S};
    static const struct {
        uint64_t ready_at_us, now_us;
        unsigned failures, want;
    } rows[] = {
        {0, 5000 * S, 0, 1},        {0, 5000 * S, 3, 4},        {1000 * S, 1600 * S - 1, 3, 4},
        {1000 * S, 1600 * S, 3, 1}, {1000 * S, 1000 * S, 0, 1}, {1, UINT64_MAX, 3, 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        CHECK_EQ(budget_count(&budget, rows[i].failures, rows[i].ready_at_us, rows[i].now_us),
                 rows[i].want);
}
