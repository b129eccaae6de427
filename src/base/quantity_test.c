#include "base/quantity.h"

#include "tap.h"

TEST(bytes_are_read)
{
    static const struct {
        const char *text;
        uint64_t want;
    } good[] = {
        {"0", 0},
        {"17", 17},
        {"17B", 17},
        {"4KiB", 4096},
        {"1.5GiB", 1610612736},
        {"500GB", 500000000000},
        {"80 GiB", 80 * GIB},
        {"1kB", 1000},
        {"18446744073709551615", UINT64_MAX},
        {"0.5KiB", 512},
    };
    static const char *const bad[] = {"",
                                      "-1",
                                      "1.",
                                      "GiB",
                                      "1Gib",
                                      "1 2",
                                      "1e3",
                                      "16384PiB",
                                      " 1",
                                      "1  GiB",
                                      "1.0000000001GiB",
                                      "18446744073709551616"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        uint64_t n = 1;
        tap_note("%s", good[i].text);
        REQUIRE(quantity_parse_bytes(good[i].text, &n, NULL) == 0);
        CHECK(n == good[i].want);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        uint64_t n;
        struct err err = {0};
        tap_note("%s", bad[i]);
        CHECK(quantity_parse_bytes(bad[i], &n, &err) < 0);
        CHECK_EQ(err.id, ERR_VALUE);
    }
}

TEST(durations_are_read)
{
    static const struct {
        const char *text;
        uint64_t want;
    } good[] = {
        {"90", 90000000},     {"90s", 90000000}, {"1.5m", 90000000},    {"2h", 7200000000},
        {"7d", 604800000000}, {"250ms", 250000}, {"1h30m", 5400000000}, {"1w", 604800000000},
        {"5us", 5},           {"0", 0},
    };
    static const char *const bad[] = {"",     "s",   "1x",  "30m1h", "1h1h",
                                      "1h30", "-1s", "1 h", "1hm",   "99999999999999w"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        uint64_t n = 1;
        tap_note("%s", good[i].text);
        REQUIRE(quantity_parse_us(good[i].text, &n, NULL) == 0);
        CHECK(n == good[i].want);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        uint64_t n;
        tap_note("%s", bad[i]);
        CHECK(quantity_parse_us(bad[i], &n, NULL) < 0);
    }
}

TEST(numbers_have_edges)
{
    int64_t i;
    uint64_t u;
    double real;
    CHECK(quantity_parse_i64("-9223372036854775808", &i, NULL) == 0 && i == INT64_MIN);
    CHECK(quantity_parse_i64("9223372036854775807", &i, NULL) == 0 && i == INT64_MAX);
    CHECK(quantity_parse_i64("9223372036854775808", &i, NULL) < 0);
    CHECK(quantity_parse_i64("-9223372036854775809", &i, NULL) < 0);
    CHECK(quantity_parse_i64("--1", &i, NULL) < 0);
    CHECK(quantity_parse_u64("1.0", &u, NULL) < 0);
    CHECK(quantity_parse_real("0.9", &real, NULL) == 0 && real > 0.899 && real < 0.901);
    CHECK(quantity_parse_real("nan", &real, NULL) < 0);
    CHECK(quantity_parse_real("0x1p3", &real, NULL) < 0);
    CHECK(quantity_parse_real("1e999", &real, NULL) < 0);
    CHECK(quantity_parse_percent("85%", &real, NULL) == 0 && real == 85);
    CHECK(quantity_parse_percent("101", &real, NULL) < 0);
    CHECK(quantity_parse_percent("%", &real, NULL) < 0);
}

TEST(what_is_printed_reads_back)
{
    uint64_t n = 1;
    for (int i = 0; i < 20000; i++) {
        quantity_text text;
        uint64_t back = 0;
        n = n * 6364136223846793005u + 1442695040888963407u;
        uint64_t value = n >> (i % 64);
        if (i % 3 == 0)
            value &= ~UINT64_C(0) << (i % 40);
        tap_note("%llu", (unsigned long long)value);
        REQUIRE(quantity_parse_bytes(quantity_print_bytes(value, text), &back, NULL) == 0);
        REQUIRE(back == value);
        REQUIRE(quantity_parse_us(quantity_print_us(value, text), &back, NULL) == 0);
        REQUIRE(back == value);
    }
}

TEST(sizes_are_told_in_the_unit_that_makes_them_short)
{
    static const struct {
        uint64_t bytes;
        const char *want;
    } rows[] = {{0, "0"},
                {17, "17"},
                {1000, "1kB"},
                {1024, "1KiB"},
                {1001, "1001"},
                {500000000000, "500GB"},
                {80 * GIB, "80GiB"},
                {1536 * MIB, "1536MiB"},
                {UINT64_MAX, "18446744073709551615"}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        quantity_text text;
        CHECK_STR(quantity_print_bytes(rows[i].bytes, text), rows[i].want);
    }
}

TEST(people_see_three_digits)
{
    quantity_text text;
    CHECK_STR(quantity_show_bytes(93405585408, text), "87.0 GiB");
    CHECK_STR(quantity_show_bytes(1023, text), "1023 B");
    CHECK_STR(quantity_show_bytes(1024, text), "1.00 KiB");
    CHECK_STR(quantity_show_bytes(999 * MIB + MIB / 2, text), "0.98 GiB");
    CHECK_STR(quantity_show_count(46702792704, text), "46.7 B");
    CHECK_STR(quantity_show_count(999, text), "999");
}
