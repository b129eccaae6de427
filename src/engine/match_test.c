#include "engine/match_int.h"

#include "tap.h"

#include <math.h>

TEST(patterns_match_lines)
{
    static const struct {
        const char *pattern, *line;
        bool matches;
        double figure; /* the first; 0: none */
        const char *what;
    } rows[] = {
        {"abc", "xxabcxx", true, 0, NULL},
        {"abc", "xxabxx", false, 0, NULL},
        {"^abc", "abcxx", true, 0, NULL},
        {"^abc", "xabc", false, 0, NULL},
        {"a*b*c", "a..b..c", true, 0, NULL},
        {"a*b*c", "a..c..b", false, 0, NULL},
        {"a*", "xa", true, 0, NULL},
        {"*", "", true, 0, NULL},
        {"abab*c", "aabababc", true, 0, NULL},
        {"size: {n} tokens", "size: 1,028,832 tokens", true, 1028832, NULL},
        {"({n}, ", "(0.92, 20.28 GiB)", true, 0.92, NULL},
        {"is {n}.", "is 15984. Try", true, 15984, NULL},
        {"={n}", "=2048.0 or", true, 2048, NULL},
        {"{n}x", "1.22x", true, 1.22, NULL},
        {"memory: {n}", "memory: -1.44 GiB", true, -1.44, NULL},
        {"n {n}", "n ten", false, 0, NULL},
        {"{n} [", "1 2/3 4 [", true, 4, NULL},
        {"{n}", "1,2,3", true, 1, NULL},
        {"{n}", "12345678901234567890123456789", true, 678901234567890123456789.0, NULL},
        {"took {x_gib}", "took 784.00 MiB and", true, 784.0 / 1024, NULL},
        {"took {x_gib} and", "took 23.58GiB and", true, 23.58, NULL},
        {"took {x_gib}/", "took 17.1/22.05 GiB", true, 17.1, NULL},
        {"took {x_gib}", "took 14.9888 GB", true, 14.9888, NULL},
        {"method {what} is", "the method fp8 is not", true, 0, "fp8"},
        {"method {what} is", "the method fp8", false, 0, NULL},
        {"error: {what}", "error: no more", true, 0, "no more"},
        {"error: {what}", "error: ", true, 0, ""},
        {"at {what} port {n}", "at ::1 port 80", true, 80, "::1"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct match m = {0};
        tap_note("%s on %s", rows[i].pattern, rows[i].line);
        CHECK_EQ(match_line(rows[i].pattern, rows[i].line, &m), rows[i].matches);
        CHECK_EQ(m.count > 0, rows[i].figure != 0);
        if (m.count > 0)
            CHECK(fabs(m.figures[0].value - rows[i].figure) <= 1e-9 * fabs(rows[i].figure));
        CHECK_EQ(m.what != NULL, rows[i].what != NULL);
        if (m.what && rows[i].what)
            CHECK(m.what_len == strlen(rows[i].what) &&
                  memcmp(m.what, rows[i].what, m.what_len) == 0);
    }
}
