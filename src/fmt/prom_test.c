#include "fmt/prom.h"

#include "tap.h"

#include <errno.h>
#include <math.h>

static int
read_one(const char *text, struct prom_sample *s, struct err *err)
{
    struct prom_reader reader;
    *err = (struct err){0};
    prom_init(&reader, text, strlen(text));
    return prom_next(&reader, s, err);
}

TEST(samples_are_read)
{
    static const struct {
        const char *text, *name;
        double value;
    } rows[] = {
        {"up 1", "up", 1},
        {"up 1\n", "up", 1},
        {"  up \t 1 \r\n", "up", 1},
        {"a:b_c9 0.25", "a:b_c9", 0.25},
        {"x{} 3", "x", 3},
        {"x{ a = \"1\" , b=\"2\", } 3", "x", 3},
        {"x{a=\"}\",b=\"\\\"\"} 3", "x", 3},
        {"x 1.2e+010", "x", 1.2e10},
        {"x -7.5 1712345678901", "x", -7.5},
        {"x 2 # {trace=\"a\"} 1", "x", 2},
        {"x 2 1712345678.25 # {trace=\"a\"} 1", "x", 2},
        {"x +Inf", "x", INFINITY},
        {"x -Inf", "x", -INFINITY},
        {"x 123456789012345", "x", 123456789012345},
        {"x 12345678901234567890", "x", 12345678901234567890.0},
        {"x 0.1234567890123456789", "x", 0.1234567890123456789},
        {"# HELP x y\n# TYPE x counter\n\n#\nx 5", "x", 5},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct prom_sample s;
        struct err err;
        tap_note("%s", rows[i].text);
        REQUIRE(read_one(rows[i].text, &s, &err) == 1);
        CHECK(s.name_len == strlen(rows[i].name) && memcmp(s.name, rows[i].name, s.name_len) == 0);
        CHECK(s.value == rows[i].value);
    }
    struct prom_sample s;
    struct err err;
    CHECK(read_one("x NaN", &s, &err) == 1 && isnan(s.value));
    CHECK(read_one("x -nan", &s, &err) == 1 && isnan(s.value));
    CHECK(read_one("", &s, &err) == 0);
    CHECK(read_one("# EOF", &s, &err) == 0);
}

TEST(what_is_no_metric_is_refused)
{
    static const char *const bad[] = {
        "<html>",     "x",           "x ",
        "x{a=\"1\"}", "x{a=\"1\" 2", "x{a=1} 2",
        "x{a=\"1} 2", "x{=\"1\"} 2", "x{a=\"1\"b=\"2\"} 2",
        "9x 1",       "x one",       "x 0x10",
        "x 1 2 3",    "x 1 now",     "x infinity",
        "x 1e",       "x {a=\"1\"}", "x{a=\"\\",
        "x 1,5",      "x{a} 1",      "{a=\"1\"} 1",
        "x \0071",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct prom_sample s;
        struct err err;
        tap_note("%s", bad[i]);
        CHECK(read_one(bad[i], &s, &err) == -EBADMSG);
        CHECK_EQ(err.id, ERR_SYNTAX);
    }
    double value;
    CHECK(!prom_number("1\0"
                       "9",
                       3, &value));
    CHECK(!prom_number("\0", 1, &value));
    struct prom_reader reader;
    struct prom_sample s;
    struct err err = {0};
    static const char text[] = "a 1\n# b\nc\n";
    prom_init(&reader, text, strlen(text));
    CHECK(prom_next(&reader, &s, &err) == 1);
    CHECK(prom_next(&reader, &s, &err) < 0);
    CHECK_STR(err.what, "line 3 is not a metric: c");
}

TEST(labels_are_found)
{
    static const char text[] = "m{engine=\"0\",a=\"x\\\"}=,\",empty=\"\",le=\"+Inf\"} 1";
    struct prom_sample s;
    struct err err;
    const char *value;
    size_t len;
    REQUIRE(read_one(text, &s, &err) == 1);
    CHECK(prom_label_is(&s, "engine", "0"));
    CHECK(prom_label_is(&s, "a", "x\\\"}=,"));
    CHECK(prom_label_is(&s, "empty", ""));
    CHECK(prom_label_is(&s, "le", "+Inf"));
    CHECK(!prom_label_is(&s, "engine", "00") && !prom_label_is(&s, "engin", "0"));
    CHECK(!prom_label(&s, "b", &value, &len) && !prom_label(&s, "x", &value, &len));
    REQUIRE(read_one("m 1", &s, &err) == 1);
    CHECK(!prom_label(&s, "a", &value, &len));
}
