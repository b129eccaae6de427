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
