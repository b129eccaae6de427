#include "service/service.h"

#include "fmt/json.h"
#include "tap.h"

#define S UINT64_C(1000000)

TEST(delays_double_and_the_budget_ends)
{
    static const struct service_budget budget = {
        .burst = 5, .delay_us = 10 * S, .start_us = 100 * S};
    static const uint64_t delays[] = {0, 10 * S, 20 * S, 40 * S, 80 * S, UINT64_MAX, UINT64_MAX};
    uint64_t sum = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(delays); i++)
        CHECK_EQ(service_budget_delay(&budget, i), delays[i]);
    /* As the supervisor does it: a start, a failure, a delay. */
    for (unsigned failures = 0; service_budget_delay(&budget, failures) != UINT64_MAX; failures++)
        sum += service_budget_delay(&budget, failures) + budget.start_us;
    CHECK_EQ(service_budget_bound(&budget), sum);
    CHECK_EQ(sum, 650 * S);
}

TEST(a_delay_has_an_upper_end)
{
    static const struct service_budget budget = {.burst = 100, .delay_us = 3600 * S};
    CHECK_EQ(service_budget_delay(&budget, 99), SERVICE_DELAY_MAX_US);
}

TEST(a_status_reads_back_as_it_was_written)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf text = BUF_INIT(64 * KIB), again = BUF_INIT(64 * KIB);
    struct service_status s = {.name = "phi3",
                               .kind = "model",
                               .address = "127.0.0.1:11403",
                               .state = SERVICE_BACKING_OFF,
                               .since_us = 5,
                               .next_us = 9,
                               .status = "loading",
                               .reason = "it \"crashed\"",
                               .pid = 4711,
                               .restarts = 2,
                               .failures = 1,
                               .last_exit = 137};
    struct service_status back;
    struct json_writer w;
    struct value *root;
    arena_init(&arena, 64 * KIB);
    json_init(&w, &text, false);
    json_open_map(&w, NULL);
    service_status_print(&s, &w);
    json_close_map(&w);
    REQUIRE(json_parse(&arena, text.data, text.len, JSON_STRICT, &root, NULL, NULL) == 0);
    REQUIRE(service_status_read(root, &back));
    json_init(&w, &again, false);
    json_open_map(&w, NULL);
    service_status_print(&back, &w);
    json_close_map(&w);
    CHECK_STR(again.data, text.data);
}
