#include "gateway/histogram.h"

#include "fmt/prom.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

static const struct prom_family family = {"citadel_x_seconds", PROM_HISTOGRAM, "how long"};

/* The value of a sample of the page; a bucket's by its bound. */
static double
sample(const struct buf *page, const char *name, const char *bound)
{
    struct prom_reader reader;
    struct prom_sample s;
    prom_init(&reader, page->data, page->len);
    while (prom_next(&reader, &s, NULL) > 0)
        if (s.name_len == strlen(name) && memcmp(s.name, name, s.name_len) == 0 &&
            prom_label_is(&s, "model", "one") && (!bound || prom_label_is(&s, "le", bound)))
            return s.value;
    return -1;
}

TEST(histogram_counts_up_to_each_bound)
{
    static const uint64_t times_us[] = {0, 100, 101, 999, 1000, 1001, UINT64_C(2000000000)};
    _cleanup_buf_ struct buf page = BUF_INIT(64 * KIB);
    struct histogram h = {0};
    for (size_t i = 0; i < ARRAY_SIZE(times_us); i++)
        histogram_add(&h, times_us[i]);
    histogram_write(&page, &family, &h, HISTOGRAM_FINE, "model", "one");
    CHECK_EQ(sample(&page, "citadel_x_seconds_bucket", "1e-05"), 1);
    CHECK_EQ(sample(&page, "citadel_x_seconds_bucket", "0.0001"), 2);
    CHECK_EQ(sample(&page, "citadel_x_seconds_bucket", "0.001"), 5);
    CHECK_EQ(sample(&page, "citadel_x_seconds_bucket", "0.0025"), 6);
    CHECK_EQ(sample(&page, "citadel_x_seconds_bucket", "1000"), 6);
    CHECK_EQ(sample(&page, "citadel_x_seconds_bucket", "+Inf"), 7);
    CHECK_EQ(sample(&page, "citadel_x_seconds_count", NULL), 7);
    CHECK(sample(&page, "citadel_x_seconds_sum", NULL) > 2000);
}

TEST(histogram_may_be_of_nothing_in_particular)
{
    _cleanup_buf_ struct buf page = BUF_INIT(64 * KIB);
    struct histogram h = {0};
    histogram_add(&h, 20);
    histogram_write(&page, &family, &h, HISTOGRAM_FINE, NULL, NULL);
    CHECK(strstr(page.data, "\ncitadel_x_seconds_bucket{le=\"2.5e-05\"} 1\n"));
    CHECK(strstr(page.data, "\ncitadel_x_seconds_count 1\n"));
    CHECK(!strstr(page.data, "model"));
}

TEST(histogram_may_be_coarse)
{
    _cleanup_buf_ struct buf page = BUF_INIT(64 * KIB);
    struct histogram h = {0};
    for (uint64_t us = 1; us < 1000000; us *= 3)
        histogram_add(&h, us);
    histogram_write(&page, &family, &h, HISTOGRAM_COARSE, "model", "one");
    CHECK_EQ(sample(&page, "citadel_x_seconds_bucket", "0.0005"), -1);
    CHECK_EQ(sample(&page, "citadel_x_seconds_bucket", "0.001"), 7);
    CHECK_EQ(sample(&page, "citadel_x_seconds_bucket", "0.0025"), -1);
    CHECK_EQ(sample(&page, "citadel_x_seconds_bucket", "0.005"), 8);
    CHECK_EQ(sample(&page, "citadel_x_seconds_bucket", "1000"), 13);
    CHECK_EQ(sample(&page, "citadel_x_seconds_bucket", "+Inf"), 13);
    CHECK_EQ(sample(&page, "citadel_x_seconds_count", NULL), 13);
}

TEST(histogram_bounds_are_those_that_it_tells)
{
    static const char at[] = "le=\"";
    _cleanup_buf_ struct buf page = BUF_INIT(64 * KIB);
    struct histogram none = {0};
    size_t i = 0;
    histogram_write(&page, &family, &none, HISTOGRAM_FINE, NULL, NULL);
    for (const char *le = page.data; (le = strstr(le, at)) && i < HISTOGRAM_BUCKETS; i++) {
        struct histogram h = {0};
        le += sizeof(at) - 1;
        uint64_t us = (uint64_t)(strtod(le, NULL) * 1e6 + 0.5);
        histogram_add(&h, us);
        histogram_add(&h, us + 1);
        CHECK_EQ(h.counts[i], 1);
        CHECK_EQ(h.counts[i + 1], 1);
    }
    CHECK_EQ(i, HISTOGRAM_BUCKETS);
}
