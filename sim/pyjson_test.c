#include "sim/pyjson.h"

#include "fmt/json.h"
#include "tap.h"

#include <stdio.h>

/* As Python 3.12 says it: json.loads(text). */
static const struct {
    const char *text, *want; /* NULL: nothing */
    size_t at;
} rows[] = {
    {"{}", NULL, 0},
    {" [1, -2.5e3, \"a\\u00e4\\n\", null, true, false, NaN, Infinity, -Infinity] ", NULL, 0},
    {"{\"a\": {\"b\": [{}, []]}}", NULL, 0},
    {"", "Expecting value", 0},
    {"  ", "Expecting value", 2},
    {"x", "Expecting value", 0},
    {"nul", "Expecting value", 0},
    {"-", "Expecting value", 0},
    {"{", "Expecting property name enclosed in double quotes", 1},
    {"{1", "Expecting property name enclosed in double quotes", 1},
    {"{\"a\": 1, }", "Expecting property name enclosed in double quotes", 9},
    {"{\"a\" 1}", "Expecting ':' delimiter", 5},
    {"{\"a\": }", "Expecting value", 6},
    {"{\"a\": 1 \"b\"}", "Expecting ',' delimiter", 8},
    {"{\"a\": 1", "Expecting ',' delimiter", 7},
    {"[1, ]", "Expecting value", 4},
    {"[", "Expecting value", 1},
    {"[1", "Expecting ',' delimiter", 2},
    {"[01]", "Expecting ',' delimiter", 2},
    {"[1.]", "Expecting ',' delimiter", 2},
    {"[1e]", "Expecting ',' delimiter", 2},
    {"{} {}", "Extra data", 3},
    {"1 x", "Extra data", 2},
    {"\"abc", "Unterminated string starting at", 0},
    {"[\"abc\\", "Unterminated string starting at", 1},
    {"\"a\tb\"", "Invalid control character at", 2},
    {"\"a\\x\"", "Invalid \\escape", 2},
    {"\"a\\u12\"", "Invalid \\uXXXX escape", 3},
    {"\"a\\u12g4\"", "Invalid \\uXXXX escape", 3},
    {"[\"\xc3\xa4\xe2\x82\xac\", x]", "Expecting value", 7}, /* characters are counted, not bytes */
};

TEST(complaints_are_those_of_python)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t at = 0;
        const char *got = pyjson_complaint(rows[i].text, strlen(rows[i].text), &at);
        tap_note("%s", rows[i].text);
        CHECK_STR(got, rows[i].want);
        CHECK_EQ(at, rows[i].at);
    }
}

/* Whoever complains, the other refuses too; and nobody looks deeper than a document may be. */
TEST(what_is_complained_of_is_no_json)
{
    char deep[2 * JSON_DEPTH_MAX + 8];
    size_t at;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        struct value *value;
        arena_init(&arena, 64 * KIB);
        int r =
            json_parse(&arena, rows[i].text, strlen(rows[i].text), JSON_PYTHON, &value, NULL, NULL);
        tap_note("%s", rows[i].text);
        CHECK_EQ(r < 0, rows[i].want != NULL);
    }
    memset(deep, '[', sizeof(deep));
    CHECK(!pyjson_complaint(deep, sizeof(deep), &at));
}
