#include "fmt/json_scan.h"

#include "base/buf.h"
#include "base/mem.h"
#include "fmt/json.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"model", "stream", "n"};

/* A copy without a byte behind it, so that reading on is seen. */
static int
scan(const char *text, struct json_place places[3], struct err *err)
{
    size_t len = strlen(text);
    _cleanup_free_ char *copy = mem_alloc(MAX(len, (size_t)1));
    memcpy(copy, text, len);
    return json_scan(copy, len, names, ARRAY_SIZE(names), places, err);
}

TEST(members_are_found_where_they_stand)
{
    static const struct {
        const char *text, *model;
        enum json_kind kinds[3];
    } rows[] = {
        {"{}", NULL, {JSON_ABSENT, JSON_ABSENT, JSON_ABSENT}},
        {" { \"model\" : \"phi3\" } ", "\"phi3\"", {JSON_STRING}},
        {"{\"stream\":true,\"model\":\"a\",\"n\":-1.5e+3}",
         "\"a\"",
         {JSON_STRING, JSON_TRUE, JSON_NUMBER}},
        {"{\"mod\\u0065l\":\"a\"}", "\"a\"", {JSON_STRING}},
        {"{\"x\":{\"model\":\"inner\"},\"model\":null}", "null", {JSON_NULL}},
        {"{\"x\":[[],{},[{\"y\":[1,2]}]],\"model\":[1,{\"model\":2}],\"stream\":false}",
         "[1,{\"model\":2}]",
         {JSON_LIST, JSON_FALSE}},
        {"{\"model\":{\"a\":\"}\"},\"n\":0}",
         "{\"a\":\"}\"}",
         {JSON_MAP, JSON_ABSENT, JSON_NUMBER}},
        {"{\"models\":1,\"mode\":2,\"\":3}", NULL, {JSON_ABSENT}},
        {"{\"model\\u0073\":1,\"mode\\u0000\":2,\"mod\\ud800\":3,\"\\n\":4}", NULL, {JSON_ABSENT}},
        {"{\"x\":\"\\\\\",\"model\":\"\\\"model\\\":\"}", "\"\\\"model\\\":\"", {JSON_STRING}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct json_place places[3];
        struct err err = {0};
        CHECK_EQ(scan(rows[i].text, places, &err), 0);
        CHECK_STR(err.what, "");
        for (size_t k = 0; k < 3; k++)
            CHECK_EQ(places[k].kind, rows[i].kinds[k]);
        if (rows[i].model) {
            CHECK_EQ(places[0].len, strlen(rows[i].model));
            CHECK(strncmp(rows[i].text + places[0].at, rows[i].model, places[0].len) == 0);
        }
    }
}

TEST(what_is_no_json_is_refused_with_its_place)
{
    static const struct {
        const char *text, *what;
    } rows[] = {
        {"", "at byte 0 of the JSON: expected an object, found its end"},
        {"[]", "at byte 0 of the JSON: expected an object, found '['"},
        {"{", "at byte 1 of the JSON: expected a name in quotes, found its end"},
        {"{\"a\"}", "at byte 4 of the JSON: expected a colon, found '}'"},
        {"{\"a\":}", "at byte 5 of the JSON: expected a value, found '}'"},
        {"{\"a\":1,}", "at byte 7 of the JSON: expected a name in quotes, found '}'"},
        {"{\"a\":[1,]}", "at byte 8 of the JSON: expected a value, found ']'"},
        {"{\"a\":[1}", "at byte 7 of the JSON: expected ',' or ']', found '}'"},
        {"{\"a\":{\"b\":1]}", "at byte 11 of the JSON: expected ',' or '}', found ']'"},
        {"{\"a\":01}", "at byte 6 of the JSON: expected ',' or '}', found '1'"},
        {"{\"a\":-}", "at byte 6 of the JSON: expected a digit, found '}'"},
        {"{\"a\":1.}", "at byte 7 of the JSON: expected a digit, found '}'"},
        {"{\"a\":1e}", "at byte 7 of the JSON: expected a digit, found '}'"},
        {"{\"a\":nul}", "at byte 5 of the JSON: expected a value, found 'n'"},
        {"{\"a\":NaN}", "at byte 5 of the JSON: expected a value, found 'N'"},
        {"{\"a\":\"\\x\"}", "at byte 7 of the JSON: expected an escape that JSON has, found 'x'"},
        {"{\"a\":\"\\u12g4\"}",
         "at byte 10 of the JSON: expected an escape that JSON has, found 'g'"},
        {"{\"a\":\"\\u12",
         "at byte 10 of the JSON: expected an escape that JSON has, found its end"},
        {"{\"a\":\"\n\"}", "at byte 6 of the JSON: expected the rest of a string, found byte 0x0A"},
        {"{\"a\":\"0123456789012345678901234567",
         "at byte 34 of the JSON: expected the rest of a string, found its end"},
        {"{} {}", "at byte 3 of the JSON: expected nothing more, found '{'"},
        {"{\"model\":1,\"mo\\u0064el\":2}",
         "\"model\" is there twice, at bytes 9 and 24 of the JSON"},
        {"{'a':1}", "at byte 1 of the JSON: expected a name in quotes, found '''"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct json_place places[3] = {{.at = 77}};
        struct err err = {0};
        CHECK_EQ(scan(rows[i].text, places, &err), -EBADMSG);
        CHECK_STR(err.what, rows[i].what);
        CHECK_EQ(places[0].at, 77);
    }
}

/* Whoever sends a body chooses the names in it. */
TEST(nothing_is_allocated_for_a_name_whatever_it_is)
{
    static const char member[] = "\"\\u006dode\\n\":1,";
    _cleanup_buf_ struct buf text = BUF_INIT(64 * KIB);
    buf_add_char(&text, '{');
    for (unsigned i = 0; i < 1000; i++)
        buf_add_str(&text, member);
    buf_add_str(&text, "\"\\u006dodel\":\"\\u0061\"}");
    struct json_place places[3];
    char room[16];
    size_t before = tap_heap_asked();
    REQUIRE(json_scan(text.data, text.len, names, ARRAY_SIZE(names), places, NULL) == 0);
    REQUIRE(json_scan_text(text.data, &places[0], room, sizeof(room)) == 0);
    CHECK_EQ(tap_heap_asked(), before);
    CHECK_STR(room, "a");
}

/* A name as long as may be asked for is found, spelt plainly or not; a longer one is another. */
TEST(a_name_is_found_up_to_its_ceiling)
{
    char name[JSON_SCAN_NAME_MAX + 1] = "", text[16 * JSON_SCAN_NAME_MAX];
    memset(name, 'a', JSON_SCAN_NAME_MAX);
    const char *const longest[] = {name};
    for (unsigned escaped = 0; escaped < 2; escaped++) {
        struct json_place place;
        const char *letter = escaped ? "\\u0061" : "a";
        (void)snprintf(text, sizeof(text), "{\"%s%s\":1,\"%s%s\":22}", letter, name + 1, letter,
                       name);
        REQUIRE(json_scan(text, strlen(text), longest, 1, &place, NULL) == 0);
        CHECK_EQ(place.len, 1);
    }
}

/* Each byte of a long string takes each place in the pieces that are looked at together. */
TEST(long_strings_end_where_they_end)
{
    for (size_t len = 0; len < 70; len++) {
        char text[128];
        struct json_place places[3];
        (void)snprintf(text, sizeof(text), "{\"model\":\"%.*s\\\"x\"}", (int)len,
                       "0123456789012345678901234567890123456789012345678901234567890123456789");
        CHECK_EQ(scan(text, places, NULL), 0);
        CHECK_EQ(places[0].len, len + 5);
    }
}

TEST(nesting_has_a_ceiling)
{
    for (unsigned levels = JSON_SCAN_DEPTH_MAX - 1; levels <= JSON_SCAN_DEPTH_MAX; levels++) {
        _cleanup_buf_ struct buf text = BUF_INIT(4 * KIB);
        struct json_place places[3];
        struct err err = {0};
        buf_add_str(&text, "{\"n\":");
        for (unsigned i = 0; i < levels; i++)
            buf_add_char(&text, '[');
        for (unsigned i = 0; i < levels; i++)
            buf_add_char(&text, ']');
        buf_add_str(&text, "}");
        CHECK_EQ(scan(text.data, places, &err), levels < JSON_SCAN_DEPTH_MAX ? 0 : -EBADMSG);
    }
}

TEST(a_string_is_decoded_into_its_room)
{
    static const struct {
        const char *text, *want;
        int r;
    } rows[] = {
        {"\"phi3\"", "phi3", 0},
        {"\"\"", "", 0},
        {"\"a\\u00e9\\ud83d\\ude00\\n\"", "a\xC3\xA9\xF0\x9F\x98\x80\n", 0},
        {"\"0123456789abcde\"", "0123456789abcde", 0},
        {"\"0123456789abcdef\"", NULL, -EMSGSIZE},
        {"\"\\ud800\"", NULL, -EBADMSG},
        {"\"\xFF\"", NULL, -EBADMSG},
        {"\"a\\u0000b\"", NULL, -EBADMSG},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct json_place place = {JSON_STRING, 0, strlen(rows[i].text)};
        char room[16];
        CHECK_EQ(json_scan_text(rows[i].text, &place, room, sizeof(room)), rows[i].r);
        if (rows[i].r == 0)
            CHECK_STR(room, rows[i].want);
    }
}

static struct buf heard = BUF_INIT(1 * KIB);

static void
hear(struct json_scan *s unused_arg, const struct json_lead *lead, const char *bytes, size_t len,
     size_t spelt, bool ends)
{
    CHECK(spelt >= len && (spelt == len || spelt == 2 || spelt == 6));
    CHECK(lead->flags & (JSON_TOLD | JSON_INNER));
    buf_add(&heard, bytes, len);
    buf_add_str(&heard, ends ? "|" : "");
}

static void
look(struct json_scan *s unused_arg, const struct json_lead *into)
{
    buf_printf(&heard, "%s!", into->name);
}

static const struct json_strings strings = {
    .leads =
        (const struct json_lead[]){
            {JSON_NAME("a"), JSON_FROM},
            {JSON_NAME("t"), JSON_FROM | JSON_TOLD},
            {JSON_NAME("b"), JSON_WAY},
            {JSON_NAME("l"), JSON_WAY | JSON_LISTED},
            {JSON_NAME("in"), JSON_INTO | JSON_TOLD},
            {JSON_NAME("i"), JSON_INNER},
            {JSON_NAME("text"), JSON_TOLD},
            {NULL, 0, 0},
        },
    .told = hear,
    .looked = look,
};

TEST(strings_are_told_by_the_way_that_leads_to_them)
{
    static const struct {
        const char *text, *told;
    } rows[] = {
        {"{\"t\":\"x\",\"text\":\"y\",\"b\":{\"t\":\"z\"}}", "x|"},
        {"{\"a\":{\"t\":\"x\",\"b\":[[{\"text\":\"y\"}]],\"t\":\"\"}}", "x|y||"},
        {"{\"a\":{\"c\":{\"t\":\"x\"},\"b\":{\"c\":1,\"t\":\"y\"}}}", "y|"},
        {"{\"a\":[\"x\",{\"t\":[\"y\",{\"t\":\"z\"}]}],\"t\":null}", ""},
        {"{\"a\":{\"te\":\"x\",\"textt\":\"y\",\"\":\"z\",\"\\u0074\":\"q\"}}", ""},
        {"{\"a\":{\"t\":\"1\\n2\\u00e43\\\"\"}}", "1\n2\xc3\xa4"
                                                  "3\"|"},
        {"{\"a\":{\"t\":\"\\/\\u0041\\uD83D\\ude00\"}}", "/A????|"},
        {"{\"a\":{\"l\":{\"t\":\"x\"},\"l\":[{\"t\":\"y\"}],\"l\":\"z\"}}", "y|"},
        {"{\"a\":{\"i\":\"x\",\"in\":{\"i\":\"y\",\"t\":\"z\"},\"t\":\"v\"}}", "y|in!v|"},
        {"{\"a\":{\"in\":\"x\",\"in\":[{\"i\":\"y\",\"t\":\"z\"}],\"in\":{}}}", "x|in!"},
        {"{\"a\":{\"in\":{\"b\":{\"i\":\"x\",\"t\":\"y\"},\"in\":{\"i\":\"z\"},\"i\":\"v\"}}}",
         "v|in!"},
        {"{\"in\":{\"i\":\"x\"},\"a\":{\"c\":{\"in\":{\"i\":\"y\"}}}}", ""},
        {"{\"c\":{\"a\":{\"t\":\"x\"},\"t\":\"y\"},\"a\":{\"x\":{},\"t\":\"z\"}}", "z|"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t len = strlen(rows[i].text);
        for (size_t step = 1; step <= len; step++) {
            struct json_place places[3];
            struct json_scan s;
            tap_note("%s by %zu", rows[i].text, step);
            json_scan_begin(&s, names, ARRAY_SIZE(names), places);
            s.strings = &strings;
            for (size_t at = 0; at < len; at += step)
                REQUIRE(json_scan_more(&s, rows[i].text + at, MIN(step, len - at), NULL) == 0);
            CHECK_EQ(json_scan_end(&s, NULL), 0);
            buf_add_char(&heard, '\0');
            CHECK_STR(heard.data, rows[i].told);
            buf_clear(&heard);
        }
    }
    buf_finish(&heard);
}
