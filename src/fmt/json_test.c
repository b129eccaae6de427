#include "fmt/json.h"

#include "tests/tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CEILING (64 * MIB)

/* Parses and writes again: the compact document, or "LINE:COLUMN: what was wrong". */
static void
read_and_write(const char *text, size_t len, enum json_flags flags, struct buf *out)
{
    _cleanup_arena_ struct arena arena;
    struct value *root = NULL;
    struct value_at at = {0};
    struct err err = {0};
    arena_init(&arena, CEILING);
    buf_clear(out);
    /* A copy of the exact length: a read past its end is seen by the sanitizer. */
    _cleanup_free_ char *exact = malloc(len ? len : 1);
    memcpy(exact, text, len);
    int r = json_parse(&arena, exact, len, flags, &root, &at, &err);
    memset(exact, '#', len); /* the tree must not need it */
    if (r < 0) {
        CHECK(root == NULL);
        CHECK_EQ(r, -err_row(err.id)->err);
        buf_printf(out, "%u:%u: %s", at.line, at.column, err.what);
        return;
    }
    struct json_writer w;
    json_init(&w, out, false);
    json_value(&w, NULL, root);
}

struct document {
    const char *text;
    const char *want; /* NULL: the text itself */
};

static const struct document accepted[] = {
    /* literals and white space */
    {"null", NULL},
    {"true", NULL},
    {"false", NULL},
    {" null", "null"},
    {"null\n", "null"},
    {"\t\r\n true \t\r\n", "true"},
    {"[ ]", "[]"},
    {"{ }", "{}"},
    {"[]", NULL},
    {"{}", NULL},
    {" [\t1\r,\n2 ] ", "[1,2]"},
    {"{ \"a\" : 1 , \"b\" : 2 }", "{\"a\":1,\"b\":2}"},
    /* numbers keep their spelling */
    {"0", NULL},
    {"-0", NULL},
    {"7", NULL},
    {"-12", NULL},
    {"10", NULL},
    {"0.0", NULL},
    {"-0.0", NULL},
    {"1.25", NULL},
    {"1.50", NULL},
    {"0e1", NULL},
    {"0E+1", NULL},
    {"0e-0", NULL},
    {"1e5", NULL},
    {"1E5", NULL},
    {"1e+5", NULL},
    {"1e-5", NULL},
    {"12.5e12", NULL},
    {"1e400", NULL},
    {"1e-400", NULL},
    {"18446744073709551615", NULL},
    {"18446744073709551616", NULL},
    {"-9223372036854775808", NULL},
    {"123456789012345678901234567890", NULL},
    {"3.141592653589793238462643383279502884197", NULL},
    /* strings */
    {"\"\"", NULL},
    {"\"a\"", NULL},
    {"\"plain text that is longer than eight bytes\"", NULL},
    {"\"'\"", NULL},
    {"\"/\"", NULL},
    {"\"\\/\"", "\"/\""},
    {"\"\\\"\"", NULL},
    {"\"\\\\\"", NULL},
    {"\"\\b\\f\\n\\r\\t\"", NULL},
    {"\"\\u0041\"", "\"A\""},
    {"\"\\u00e9\\u00E9\"", "\"\xC3\xA9\xC3\xA9\""},
    {"\"\\u20ac\"", "\"\xE2\x82\xAC\""},
    {"\"\\ud83d\\ude00\"", "\"\xF0\x9F\x98\x80\""},
    {"\"\\uDBFF\\uDFFF\"", "\"\xF4\x8F\xBF\xBF\""},
    {"\"\\uD800\\uDC00\"", "\"\xF0\x90\x80\x80\""},
    {"\"\\uFFFF\"", "\"\xEF\xBF\xBF\""},
    {"\"\\uD7FF\\uE000\"", "\"\xED\x9F\xBF\xEE\x80\x80\""},
    {"\"\\u0000\"", NULL},
    {"\"a\\u0000b\"", NULL},
    {"\"\\u001f\"", NULL},
    {"\"\\u001F\"", "\"\\u001f\""},
    {"\"\\u007f\"", NULL},
    {"\"\x7F\"", "\"\\u007f\""},
    {"\"\xC2\x80\"", "\"\\u0080\""},
    {"\"\xC3\xA9t\xC3\xA9\"", NULL},
    {"\"\xE2\x82\xAC\"", NULL},
    {"\"\xF0\x9F\x98\x80\"", NULL},
    {"\"\xF4\x8F\xBF\xBF\"", NULL},
    {"\"\xEF\xBB\xBF\"", "\"\\ufeff\""},
    {"\"\xEF\xBF\xBE\"", NULL},
    {"\"seven77\\n and then \\t more, \\u0041 and the rest\"",
     "\"seven77\\n and then \\t more, A and the rest\""},
    {"\"\\\\u0041\"", NULL},
    {"\"\\\\\\\"\"", NULL},
    {"\"{}[],:\"", NULL},
    /* lists and maps */
    {"[null]", NULL},
    {"[1]", NULL},
    {"[1,\"a\",true,null,{},[]]", NULL},
    {"[[],[[]],[[[]]]]", NULL},
    {"[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]", NULL},
    {"{\"\":0}", NULL},
    {"{\"a\":{\"a\":{\"a\":1}}}", NULL},
    {"{\"a\":1,\"A\":2}", NULL},
    {"{\"a\":1,\"\\u0062\":2}", "{\"a\":1,\"b\":2}"},
    {"{\"\\u00e9\":1}", "{\"\xC3\xA9\":1}"},
    {"{\"a\":[{\"a\":1},{\"a\":2}]}", NULL},
    {"{\"__proto__\":1}", NULL},
    {"[{},{}]", NULL},
};

static const struct document refused[] = {
    /* nothing, or something else */
    {"", "1:1: expected a value, found the end of the document"},
    {" \n ", "2:2: expected a value, found the end of the document"},
    {"\xEF\xBB\xBF{}", "1:1: expected a value, found a byte order mark"},
    {"\xFF\xFE", "1:1: expected a value, found byte 0xFF"},
    {"nul", "1:1: expected a value, found 'n'"},
    {"True", "1:1: expected a value, found 'T'"},
    {"NULL", "1:1: expected a value, found 'N'"},
    {"NaN", "1:1: expected a value, found 'N'"},
    {"Infinity", "1:1: expected a value, found 'I'"},
    {"-Infinity", "1:2: expected a digit, found 'I'"},
    {"'a'", "1:1: expected a value, found '''"},
    {"a", "1:1: expected a value, found 'a'"},
    {"\f1", "1:1: expected a value, found byte 0x0C"},
    {"\xC2\xA0null", "1:1: expected a value, found '\xC2\xA0'"},
    {"/* no */ 1", "1:1: expected a value, found '/'"},
    {"# no", "1:1: expected a value, found '#'"},
    {"nullx", "1:5: expected the end of the document, found 'x'"},
    {"{} {}", "1:4: expected the end of the document, found '{'"},
    {"1 2", "1:3: expected the end of the document, found '2'"},
    {"[1]]", "1:4: expected the end of the document, found ']'"},
    {"{}\n\n}", "3:1: expected the end of the document, found '}'"},
    {"\"a\" // no", "1:5: expected the end of the document, found '/'"},
    /* numbers */
    {"+1", "1:1: expected a value, found '+'"},
    {"-", "1:2: expected a digit, found the end of the document"},
    {"--1", "1:2: expected a digit, found '-'"},
    {"- 1", "1:2: expected a digit, found ' '"},
    {"-a", "1:2: expected a digit, found 'a'"},
    {".5", "1:1: expected a value, found '.'"},
    {"-.5", "1:2: expected a digit, found '.'"},
    {"1.", "1:3: expected a digit after the decimal point, found the end of the document"},
    {"1.e3", "1:3: expected a digit after the decimal point, found 'e'"},
    {"1.5.", "1:4: expected the end of the document, found '.'"},
    {"01", "1:2: expected the end of the document, found '1'"},
    {"-01", "1:3: expected the end of the document, found '1'"},
    {"1e", "1:3: expected a digit in the exponent, found the end of the document"},
    {"1e+", "1:4: expected a digit in the exponent, found the end of the document"},
    {"1ee2", "1:3: expected a digit in the exponent, found 'e'"},
    {"1e2.5", "1:4: expected the end of the document, found '.'"},
    {"0x1F", "1:2: expected the end of the document, found 'x'"},
    {"1_000", "1:2: expected the end of the document, found '_'"},
    {"[1a]", "1:3: expected ',' or ']', found 'a'"},
    {"\xEF\xBC\x91", "1:1: expected a value, found '\xEF\xBC\x91'"},
    /* strings */
    {"\"", "1:1: a string is not closed"},
    {"[\"a", "1:2: a string is not closed"},
    {"\"a\\", "1:4: expected one of \"\\/bfnrtu after a backslash, found the end of the document"},
    {"\"a\\\"", "1:1: a string is not closed"},
    {"\"\\x41\"", "1:3: expected one of \"\\/bfnrtu after a backslash, found 'x'"},
    {"\"\\'\"", "1:3: expected one of \"\\/bfnrtu after a backslash, found '''"},
    {"\"\\U0041\"", "1:3: expected one of \"\\/bfnrtu after a backslash, found 'U'"},
    {"\"\\\n\"", "1:3: expected one of \"\\/bfnrtu after a backslash, found byte 0x0A"},
    {"\"\\u\"", "1:4: expected four hexadecimal digits after \\u, found '\"'"},
    {"\"\\u00", "1:6: expected four hexadecimal digits after \\u, found the end of the document"},
    {"\"\\u004g\"", "1:7: expected four hexadecimal digits after \\u, found 'g'"},
    {"\"\\u 041\"", "1:4: expected four hexadecimal digits after \\u, found ' '"},
    {"\"\\ud800\"", "1:2: a string has half a surrogate pair, \\ud800"},
    {"\"\\udc00\"", "1:2: a string has half a surrogate pair, \\udc00"},
    {"\"\\udc00\\ud800\"", "1:2: a string has half a surrogate pair, \\udc00"},
    {"\"\\ud800\\ud800\"", "1:2: a string has half a surrogate pair, \\ud800"},
    {"\"\\ud800\\u0041\"", "1:2: a string has half a surrogate pair, \\ud800"},
    {"\"\\ud800x\"", "1:2: a string has half a surrogate pair, \\ud800"},
    {"\"\\ud800\\n\"", "1:2: a string has half a surrogate pair, \\ud800"},
    {"\"\\ud83d\\u\"", "1:10: expected four hexadecimal digits after \\u, found '\"'"},
    {"\"a\nb\"", "1:3: a string holds the control byte 0x0A, which is written \\u000a"},
    {"\"\t\"", "1:2: a string holds the control byte 0x09, which is written \\u0009"},
    {"\"12345678\x1F\"", "1:10: a string holds the control byte 0x1F, which is written \\u001f"},
    {"\"1234\x1F"
     "67890123456\"",
     "1:6: a string holds the control byte 0x1F, which is written \\u001f"},
    {"\"12\"4567890\"", "1:5: expected the end of the document, found '4'"},
    {"\"123456\\x01234567\"", "1:9: expected one of \"\\/bfnrtu after a backslash, found 'x'"},
    {"\"\x80\"", "1:2: a string is not UTF-8 at byte 0x80"},
    {"\"\xC3\"", "1:2: a string is not UTF-8 at byte 0xC3"},
    {"\"\xC0\xAF\"", "1:2: a string is not UTF-8 at byte 0xC0"},
    {"\"\xE0\x80\x80\"", "1:2: a string is not UTF-8 at byte 0xE0"},
    {"\"\xED\xA0\x80\"", "1:2: a string is not UTF-8 at byte 0xED"},
    {"\"\xF4\x90\x80\x80\"", "1:2: a string is not UTF-8 at byte 0xF4"},
    {"\"\xF5\x80\x80\x80\"", "1:2: a string is not UTF-8 at byte 0xF5"},
    {"\"\xE2\x82", "1:2: a string is not UTF-8 at byte 0xE2"},
    {"\"\xC3\xA9\xFF\"", "1:3: a string is not UTF-8 at byte 0xFF"},
    {"{\"\xC3\xA9\xC3\xA9\":!}", "1:7: expected a value, found '!'"},
    /* lists */
    {"[", "1:2: expected a value, found the end of the document"},
    {"]", "1:1: expected a value, found ']'"},
    {"[1", "1:3: expected ',' or ']', found the end of the document"},
    {"[1,", "1:4: expected a value, found the end of the document"},
    {"[1,]", "1:4: expected a value, found ']'"},
    {"[,1]", "1:2: expected a value, found ','"},
    {"[1,,2]", "1:4: expected a value, found ','"},
    {"[1 2]", "1:4: expected ',' or ']', found '2'"},
    {"[1:2]", "1:3: expected ',' or ']', found ':'"},
    {"[1}", "1:3: expected ',' or ']', found '}'"},
    {"[\n 1,\n 2\n", "4:1: expected ',' or ']', found the end of the document"},
    {"[\"a\",\n\"b\"\n\"c\"]", "3:1: expected ',' or ']', found '\"'"},
    {"[...]", "1:2: expected a value, found '.'"},
    /* maps */
    {"{", "1:2: expected a name in quotes, or '}', found the end of the document"},
    {"}", "1:1: expected a value, found '}'"},
    {"{1:2}", "1:2: expected a name in quotes, or '}', found '1'"},
    {"{a:2}", "1:2: expected a name in quotes, or '}', found 'a'"},
    {"{'a':2}", "1:2: expected a name in quotes, or '}', found '''"},
    {"{null:2}", "1:2: expected a name in quotes, or '}', found 'n'"},
    {"{\"a\"}", "1:5: expected ':' after a name, found '}'"},
    {"{\"a\",1}", "1:5: expected ':' after a name, found ','"},
    {"{\"a\":}", "1:6: expected a value, found '}'"},
    {"{\"a\"::1}", "1:6: expected a value, found ':'"},
    {"{\"a\":1", "1:7: expected ',' or '}', found the end of the document"},
    {"{\"a\":1,", "1:8: expected a name in quotes, found the end of the document"},
    {"{\"a\":1,}", "1:8: expected a name in quotes, found '}'"},
    {"{,\"a\":1}", "1:2: expected a name in quotes, or '}', found ','"},
    {"{\"a\":1 \"b\":2}", "1:8: expected ',' or '}', found '\"'"},
    {"{\"a\":1]", "1:7: expected ',' or '}', found ']'"},
    {"{\"a\" 1}", "1:6: expected ':' after a name, found '1'"},
    {"{\"a\":1,\"a\":1}", "1:8: the name 'a' stands twice in a map"},
    {"{\"a\":1,\n \"b\":{\"a\":2},\n \"\\u0061\":3}", "3:2: the name 'a' stands twice in a map"},
    {"{\"\":1,\"\":2}", "1:7: the name '' stands twice in a map"},
    {"{\"a\\u0000\":1}", "1:2: a name holds \\u0000"},
};

TEST(accepts_what_the_rfc_allows)
{
    _cleanup_buf_ struct buf got = BUF_INIT(CEILING);
    for (size_t i = 0; i < ARRAY_SIZE(accepted); i++) {
        const struct document *d = &accepted[i];
        tap_note("%s", d->text);
        read_and_write(d->text, strlen(d->text), JSON_STRICT, &got);
        CHECK_STR(got.data, d->want ? d->want : d->text);
    }
}

TEST(refuses_the_rest_and_says_where)
{
    _cleanup_buf_ struct buf got = BUF_INIT(CEILING);
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        const struct document *d = &refused[i];
        tap_note("%s", d->text);
        read_and_write(d->text, strlen(d->text), JSON_STRICT, &got);
        CHECK_STR(got.data, d->want);
    }
}

TEST(refuses_zero_bytes_in_the_text)
{
    _cleanup_buf_ struct buf got = BUF_INIT(CEILING);
    read_and_write("1\0", 2, JSON_STRICT, &got);
    CHECK_STR(got.data, "1:2: expected the end of the document, found byte 0x00");
    read_and_write("\"\0\"", 3, JSON_STRICT, &got);
    CHECK_STR(got.data, "1:2: a string holds the control byte 0x00, which is written \\u0000");
    read_and_write("\"\\\0\"", 4, JSON_STRICT, &got);
    CHECK_STR(got.data, "1:3: expected one of \"\\/bfnrtu after a backslash, found byte 0x00");
}

/* Every document cut short is refused, unless what is left is a whole number. */
TEST(refuses_every_truncation)
{
    static const char text[] = "{\"name\\u00e9\": [1.5e3, -2, \"\xC3\xA9\\ud83d\\ude00\", {\"a\": "
                               "[true, false, null]}, \"the end of a longer string\"]}";
    _cleanup_buf_ struct buf got = BUF_INIT(CEILING);
    read_and_write(text, strlen(text), JSON_STRICT, &got);
    CHECK(got.data[0] == '{');
    for (size_t len = 0; len < strlen(text); len++) {
        tap_note("%zu bytes", len);
        read_and_write(text, len, JSON_STRICT, &got);
        CHECK(strncmp(got.data, "1:", 2) == 0);
    }
}

TEST(python_words_are_numbers_nobody_can_read)
{
    static const struct document documents[] = {
        {"NaN", "null"},
        {"[Infinity,-Infinity,NaN]", "[null,null,null]"},
        {"-NaN", "1:2: expected a digit, found 'N'"},
        {"+Infinity", "1:1: expected a value, found '+'"},
        {"nan", "1:1: expected a value, found 'n'"},
        {"Infinit", "1:1: expected a value, found 'I'"},
    };
    _cleanup_buf_ struct buf got = BUF_INIT(CEILING);
    for (size_t i = 0; i < ARRAY_SIZE(documents); i++) {
        tap_note("%s", documents[i].text);
        read_and_write(documents[i].text, strlen(documents[i].text), JSON_PYTHON, &got);
        CHECK_STR(got.data, documents[i].want);
    }
    _cleanup_arena_ struct arena arena;
    struct value *v;
    double real;
    arena_init(&arena, CEILING);
    REQUIRE(json_parse(&arena, "-Infinity", 9, JSON_PYTHON, &v, NULL, NULL) == 0);
    CHECK_EQ(v->type, VALUE_NUMBER);
    CHECK_STR(v->text, "-Infinity");
    CHECK(!value_real(v, &real));
}

TEST(every_node_knows_its_place)
{
    static const char text[] = "{\n  \"\xC3\xA9\": [1,\r\n \"\xE2\x82\xAC\", true],\n"
                               "  \"b\": {\"c\": null}}";
    _cleanup_arena_ struct arena arena;
    struct value *root;
    arena_init(&arena, CEILING);
    REQUIRE(json_parse(&arena, text, strlen(text), JSON_STRICT, &root, NULL, NULL) == 0);
    CHECK_EQ(root->at.line, 1);
    CHECK_EQ(root->at.column, 1);
    CHECK_EQ(root->count, 2);
    CHECK_EQ(root->name_at.line, 0);
    const struct value *list = root->first;
    CHECK_STR(list->name, "\xC3\xA9");
    CHECK_EQ(list->name_at.line, 2);
    CHECK_EQ(list->name_at.column, 3);
    CHECK_EQ(list->at.column, 8); /* columns count characters */
    CHECK_EQ(list->count, 3);
    const struct value *last = list->first->next->next;
    CHECK_EQ(last->at.line, 3);
    CHECK_EQ(last->at.column, 7);
    CHECK(last->boolean);
    CHECK_STR(last->text, "true");
    CHECK(last->next == NULL);
    const struct value *c = value_get(value_get(root, "b"), "c");
    REQUIRE(c);
    CHECK_EQ(c->type, VALUE_NULL);
    CHECK_EQ(c->at.line, 4);
    CHECK_EQ(c->at.column, 14);
}

TEST(strings_know_their_length)
{
    _cleanup_arena_ struct arena arena;
    struct value *v;
    arena_init(&arena, CEILING);
    REQUIRE(json_parse(&arena, "[\"a\\u0000b\",\"ab\"]", 17, JSON_STRICT, &v, NULL, NULL) == 0);
    CHECK_EQ(v->first->len, 3);
    CHECK_EQ(memcmp(v->first->text, "a\0b", 4), 0);
    CHECK(value_str(v->first) == NULL);
    CHECK_STR(value_str(v->first->next), "ab");
}

TEST(depth_has_a_limit)
{
    _cleanup_buf_ struct buf text = BUF_INIT(4 * MIB), got = BUF_INIT(CEILING);
    for (int i = 0; i < JSON_DEPTH_MAX; i++)
        buf_add_char(&text, '[');
    for (int i = 0; i < JSON_DEPTH_MAX; i++)
        buf_add_char(&text, ']');
    read_and_write(text.data, text.len, JSON_STRICT, &got);
    CHECK_STR(got.data, text.data);
    buf_clear(&text);
    for (int i = 0; i < 1000000; i++)
        buf_add_str(&text, i % 2 ? "{\"a\":" : "[");
    read_and_write(text.data, text.len, JSON_STRICT, &got);
    CHECK_STR(got.data, "1:193: nested deeper than 64 levels");
}

static void
add_members(struct buf *text, int count)
{
    buf_add_char(text, '{');
    for (int i = 0; i < count; i++)
        buf_printf(text, "%s\"member %d\":%d", i ? "," : "", i, i);
}

TEST(duplicates_are_found_in_maps_of_every_size)
{
    _cleanup_buf_ struct buf text = BUF_INIT(CEILING), got = BUF_INIT(CEILING);
    for (int count = 1; count < 40; count++) {
        for (int twice = 0; twice < count; twice++) {
            char want[64];
            tap_note("member %d of %d", twice, count);
            buf_clear(&text);
            add_members(&text, count);
            (void)snprintf(want, sizeof(want), "1:%zu: the name 'member %d' stands twice in a map",
                           text.len + 2, twice);
            buf_printf(&text, ",\"member %d\":0}", twice);
            read_and_write(text.data, text.len, JSON_STRICT, &got);
            CHECK_STR(got.data, want);
        }
    }
}

static double
seconds_to_parse(int members)
{
    _cleanup_buf_ struct buf text = BUF_INIT(CEILING);
    _cleanup_arena_ struct arena arena;
    struct timespec start, end;
    struct value *root;
    arena_init(&arena, CEILING);
    add_members(&text, members);
    buf_add_char(&text, '}');
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    CHECK(json_parse(&arena, text.data, text.len, JSON_STRICT, &root, NULL, NULL) == 0);
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    CHECK_EQ(root->count, members);
    return (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
}

/* Comparing each name with all others would take 400 times as long for 20 times as many. */
TEST(large_maps_are_read_in_linear_time)
{
    double small = seconds_to_parse(10000);
    double large = seconds_to_parse(200000);
    tap_note("%.4f s for 10,000 members, %.4f s for 200,000", small, large);
    CHECK(large < 100 * small);
}

TEST(memory_has_a_ceiling)
{
    static const char text[] = "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]";
    static const char map[] = "{\"a\":{\"b\":{\"c\":{\"d\":{\"e\":{\"f\":{\"g\":{}}}}}}}}";
    size_t refusals = 0;
    for (size_t ceiling = 0; ceiling < 4096; ceiling += 16) {
        for (int i = 0; i < 2; i++) {
            _cleanup_arena_ struct arena arena;
            struct value *root = NULL;
            struct err err = {0};
            arena_init(&arena, ceiling);
            int r = json_parse(&arena, i ? map : text, i ? strlen(map) : strlen(text), JSON_STRICT,
                               &root, NULL, &err);
            CHECK(r == 0 || (r == -EFBIG && err.id == ERR_TOO_LARGE && !root));
            refusals += r < 0;
        }
    }
    CHECK(refusals > 100);
}

TEST(errors_are_optional)
{
    _cleanup_arena_ struct arena arena;
    struct value *root;
    arena_init(&arena, CEILING);
    CHECK_EQ(json_parse(&arena, "[1,", 3, JSON_STRICT, &root, NULL, NULL), -EBADMSG);
}

TEST(writes_pretty)
{
    _cleanup_buf_ struct buf out = BUF_INIT(CEILING);
    struct json_writer w;
    json_init(&w, &out, true);
    json_open_map(&w, NULL);
    json_str(&w, "name", "a \"b\"");
    json_open_list(&w, "empty");
    json_close_list(&w);
    json_open_list(&w, "list");
    json_u64(&w, NULL, UINT64_MAX);
    json_i64(&w, NULL, INT64_MIN);
    json_open_map(&w, NULL);
    json_bool(&w, "yes", true);
    json_null(&w, "nothing");
    json_close_map(&w);
    json_close_list(&w);
    json_str(&w, "no text", NULL);
    json_close_map(&w);
    CHECK_STR(out.data, "{\n"
                        "  \"name\": \"a \\\"b\\\"\",\n"
                        "  \"empty\": [],\n"
                        "  \"list\": [\n"
                        "    18446744073709551615,\n"
                        "    -9223372036854775808,\n"
                        "    {\n"
                        "      \"yes\": true,\n"
                        "      \"nothing\": null\n"
                        "    }\n"
                        "  ],\n"
                        "  \"no text\": null\n"
                        "}");
}

TEST(writes_real_numbers_that_read_back)
{
    static const struct {
        double n;
        const char *want;
    } numbers[] = {
        {0, "0"},
        {-0.0, "-0"},
        {1, "1"},
        {0.1, "0.1"},
        {-2.5, "-2.5"},
        {1e300, "1e+300"},
        {5e-324, "4.94065645841247e-324"},
        {1.0 / 3, "0.3333333333333333"},
        {1e308 * 10, "null"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT(CEILING);
        struct json_writer w;
        json_init(&w, &out, false);
        json_real(&w, NULL, numbers[i].n);
        CHECK_STR(out.data, numbers[i].want);
        if (strcmp(out.data, "null") != 0)
            CHECK(strtod(out.data, NULL) == numbers[i].n);
    }
}

TEST(writes_any_bytes_as_valid_json)
{
    _cleanup_buf_ struct buf out = BUF_INIT(CEILING), again = BUF_INIT(CEILING);
    char bytes[256];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)i;
    struct json_writer w;
    json_init(&w, &out, false);
    json_strn(&w, NULL, bytes, sizeof(bytes));
    read_and_write(out.data, out.len, JSON_STRICT, &again);
    CHECK_STR(again.data, out.data);
    CHECK(strstr(out.data, "\\u0000\\u0001") && strstr(out.data, "~\\u007f\xEF\xBF\xBD"));
}

TEST(writes_what_is_dangerous_as_escapes)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"\xC2\x9B"
         "31m",
         "\"\\u009b31m\""},
        {"\xE2\x80\xAE\xE2\x80\xA8", "\"\\u202e\\u2028\""},
        {"\xEF\xBB\xBF\x7F", "\"\\ufeff\\u007f\""},
        {"\xC3\xA9\xF0\x9F\xA6\x99", "\"\xC3\xA9\xF0\x9F\xA6\x99\""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT(CEILING);
        _cleanup_arena_ struct arena arena;
        struct value *value = NULL;
        struct json_writer w;
        tap_note("row %zu", i);
        json_init(&w, &out, false);
        json_str(&w, NULL, rows[i].text);
        CHECK_STR(out.data, rows[i].want);
        arena_init(&arena, CEILING);
        REQUIRE(json_parse(&arena, out.data, out.len, JSON_STRICT, &value, NULL, NULL) == 0);
        CHECK_STR(value_str(value), rows[i].text);
    }
}
