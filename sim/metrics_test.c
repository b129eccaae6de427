#include "sim/metrics.h"

#include "tap.h"

#include <stdlib.h>

/* What Python's client library writes, by its own hand. */
TEST(numbers_stand_as_python_writes_them)
{
    static const struct {
        double value;
        const char *want;
    } rows[] = {
        {0, "0.0"},
        {1, "1.0"},
        {-2, "-2.0"},
        {0.5, "0.5"},
        {0.1, "0.1"},
        {1.0 / 3, "0.3333333333333333"},
        {120.25, "120.25"},
        {99999, "99999.0"},
        {999999, "999999.0"},
        {1000000, "1e+06"},
        {1234567, "1.234567e+06"},
        {12500000, "1.25e+07"},
        {1761686670.25, "1.76168667025e+09"},
        {0.0001, "0.0001"},
        {0.00001, "1e-05"},
        {2.5e-7, "2.5e-07"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT(64);
        metrics_add_number(&out, rows[i].value);
        CHECK_STR(out.data, rows[i].want);
        CHECK(strtod(out.data, NULL) == rows[i].value);
    }
}

TEST(a_value_goes_into_the_first_bucket_that_holds_it)
{
    static const struct {
        double value;
        unsigned bucket;
    } rows[] = {{0, 0}, {1, 0}, {1.5, 1}, {2, 1}, {20, 4}, {21, 5}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct metrics m;
        metrics_init(&m, 100);
        metrics_observe(&m, METRIC_PARAMS_N, rows[i].value, 3);
        tap_note("%g", rows[i].value);
        CHECK_EQ(m.meters[METRIC_PARAMS_N].buckets[rows[i].bucket], 3);
        CHECK_EQ(m.meters[METRIC_PARAMS_N].count, 3);
        CHECK(m.meters[METRIC_PARAMS_N].value == 3 * rows[i].value);
    }
}

TEST(buckets_of_tokens_end_at_the_longest_request)
{
    static const struct {
        uint64_t most;
        unsigned count;
        double last;
    } rows[] = {{1, 1, 1}, {9, 3, 5}, {10, 4, 10}, {8192, 12, 5000}, {UINT64_MAX, 39, 5e12}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct metrics m;
        metrics_init(&m, rows[i].most);
        const struct meter *meter = &m.meters[METRIC_REQUEST_PROMPT];
        tap_note("%llu", (unsigned long long)rows[i].most);
        CHECK_EQ(meter->bound_count, rows[i].count);
        CHECK(meter->bounds[meter->bound_count - 1] == rows[i].last);
        CHECK(meter->bound_count < METRIC_BUCKETS_MAX);
    }
}

TEST(labels_are_escaped)
{
    _cleanup_buf_ struct buf out = BUF_INIT(64);
    metrics_add_label(&out, "a\"b\\c\nd");
    CHECK_STR(out.data, "a\\\"b\\\\c\\nd");
}

/* A release tells what it has, and no other. */
TEST(a_page_is_that_of_its_release)
{
    static const struct {
        const char *name;
        unsigned first, last;
    } rows[] = {
        {"vllm:num_requests_running{", 8, 99},
        {"vllm:gpu_cache_usage_perc{", 8, 10},
        {"vllm:kv_cache_usage_perc{", 9, 99},
        {"vllm:time_per_output_token_seconds_count{", 8, 12},
        {"vllm:inter_token_latency_seconds_count{", 11, 99},
        {"vllm:num_requests_waiting_by_reason{", 20, 99},
    };
    static const unsigned releases[] = {8, 9, 10, 11, 12, 13, 19, 20, 32};
    for (size_t i = 0; i < ARRAY_SIZE(releases); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT(1 * MIB);
        struct metrics m;
        const struct metrics_now now = {
            .model = "m", .release = releases[i], .cache_labels = "block_size=\"16\""};
        metrics_init(&m, 8192);
        metrics_print(&m, &now, &out);
        for (size_t n = 0; n < ARRAY_SIZE(rows); n++) {
            bool there = releases[i] >= rows[n].first && releases[i] <= rows[n].last;
            tap_note("%s in release %u", rows[n].name, releases[i]);
            CHECK_EQ(strstr(out.data, rows[n].name) != NULL, there);
        }
    }
}
