#include "gateway/trace.h"

#include "tap.h"

#include <string.h>

#define T "4bf92f3577b34da6a3ce929d0e0e4736"
#define P "00f067aa0ba902b7"

TEST(a_parent_is_what_the_standard_has)
{
    static const struct {
        const char *text;
        bool want;
    } rows[] = {
        {"00-" T "-" P "-01", true},
        {"00-" T "-" P "-00", true},
        {"01-" T "-" P "-01", true},
        {"cc-" T "-" P "-01-more", true},
        {"00-" T "-" P "-01-more", false},
        {"cc-" T "-" P "-01more", false},
        {"ff-" T "-" P "-01", false},
        {"0x-" T "-" P "-01", false},
        {"00-4BF92F3577B34DA6A3CE929D0E0E4736-" P "-01", false},
        {"00-00000000000000000000000000000000-" P "-01", false},
        {"00-" T "-0000000000000000-01", false},
        {"00-" T "_" P "-01", false},
        {"00_" T "-" P "-01", false},
        {"00-" T "-" P "-0", false},
        {"00-" T "-" P "-0g", false},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("%s", rows[i].text);
        CHECK_EQ(trace_is_parent(rows[i].text, strlen(rows[i].text)), rows[i].want);
    }
}

TEST(a_trace_is_the_callers_or_begins_here)
{
    struct trace t, other;
    trace_parent text;
    CHECK(trace_is_sampled("00-" T "-" P "-01") && trace_is_sampled("00-" T "-" P "-0f"));
    CHECK(!trace_is_sampled("00-" T "-" P "-00") && !trace_is_sampled("00-" T "-" P "-fe"));
    trace_begin(&t, "cc-" T "-" P "-01-more");
    CHECK_STR(t.id, T);
    CHECK_STR(t.parent, P);
    (void)trace_print(&t, text);
    CHECK(trace_is_parent(text, strlen(text)) && trace_is_sampled(text));
    CHECK(strncmp(text, "00-" T "-", 36) == 0 && memcmp(text + 36, t.call, 16) == 0);
    trace_begin(&other, NULL);
    (void)trace_print(&other, text);
    CHECK(trace_is_parent(text, strlen(text)));
    CHECK_STR(other.parent, "");
    CHECK(strcmp(other.id, T) != 0 && strcmp(other.span, t.span) != 0);
    trace_call(&t);
    CHECK(strcmp(t.call, t.span) != 0 && strcmp(t.call, other.call) != 0);
}
