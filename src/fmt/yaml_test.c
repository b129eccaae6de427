#include "fmt/yaml.h"

#include "fmt/json.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_BYTES (32 * MIB)

/* The tree as one line of JSON; "" on error. */
static const char *
as_json(const char *text, size_t len)
{
    static char line[4096];
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf out = BUF_INIT(sizeof(line) - 1);
    struct json_writer w;
    struct value *v;
    arena_init(&arena, ARENA_BYTES);
    line[0] = '\0';
    if (yaml_parse(&arena, text, len, &v, NULL, NULL) == 0) {
        json_init(&w, &out, false);
        json_value(&w, NULL, v);
        memcpy(line, out.data, out.len + 1);
    }
    return line;
}

TEST(plain_scalars_mean_what_the_core_schema_says)
{
    static const struct {
        const char *text;
        enum value_type want;
    } rows[] = {
        {"", VALUE_NULL},        {"~", VALUE_NULL},        {"null", VALUE_NULL},
        {"true", VALUE_BOOL},    {"False", VALUE_BOOL},    {"yes", VALUE_STRING},
        {"no", VALUE_STRING},    {"on", VALUE_STRING},     {"0", VALUE_NUMBER},
        {"-12", VALUE_NUMBER},   {"+1.5e3", VALUE_NUMBER}, {".5", VALUE_NUMBER},
        {"1.", VALUE_NUMBER},    {"0x1F", VALUE_NUMBER},   {"0o17", VALUE_NUMBER},
        {".inf", VALUE_NUMBER},  {"-.Inf", VALUE_NUMBER},  {".NaN", VALUE_NUMBER},
        {"0x", VALUE_STRING},    {"0o8", VALUE_STRING},    {".", VALUE_STRING},
        {"1e", VALUE_STRING},    {"1e+", VALUE_STRING},    {"1.2.3", VALUE_STRING},
        {"12:30", VALUE_STRING}, {"1_000", VALUE_STRING},  {"tRUE", VALUE_STRING},
        {"nULL", VALUE_STRING},  {"-", VALUE_STRING},      {"+", VALUE_STRING},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("%s", rows[i].text);
        CHECK_EQ(yaml_plain_type(rows[i].text, strlen(rows[i].text)), rows[i].want);
    }
}

TEST(documents_become_trees)
{
    static const struct {
        const char *text;
        const char *want;
    } rows[] = {
        {"", "null"},
        {"# nothing\n", "null"},
        {"---\n...\n", "null"},
        {"a: 1\nb: two\nc:\n", "{\"a\":1,\"b\":\"two\",\"c\":null}"},
        {"a: [1, '2', true]\n", "{\"a\":[1,\"2\",true]}"},
        {"- x\n- - y\n  - z: {}\n", "[\"x\",[\"y\",{\"z\":{}}]]"},
        {"a: &x {k: v}\nb: *x\nc: *x\n",
         "{\"a\":{\"k\":\"v\"},\"b\":{\"k\":\"v\"},\"c\":{\"k\":\"v\"}}"},
        {"a: &x 1\nb: &x 2\nc: *x\n", "{\"a\":1,\"b\":2,\"c\":2}"},
        {"t: |\n  one\n  two\n", "{\"t\":\"one\\ntwo\\n\"}"},
        {"t: \"a\\tb\\u00e9\"\n", "{\"t\":\"a\\tb\303\251\"}"},
        {"a: !!str 12\nb: !!int 12\nc: ! 12\n", "{\"a\":\"12\",\"b\":12,\"c\":\"12\"}"},
        {"\xEF\xBB\xBF"
         "a: 1\r\nb: 2\r\n",
         "{\"a\":1,\"b\":2}"},
        {"'<<': 1\n", "{\"<<\":1}"},
        {"? a\n: b\n", "{\"a\":\"b\"}"},
        {"true: 1\n12: 2\n", "{\"true\":1,\"12\":2}"},
        {"a: 0x1F\nb: .5\nc: +3\nd: .inf\ne: 007\n",
         "{\"a\":31,\"b\":0.5,\"c\":3,\"d\":null,\"e\":7}"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("%s", rows[i].text);
        CHECK_STR(as_json(rows[i].text, strlen(rows[i].text)), rows[i].want);
    }
}

TEST(every_node_knows_its_place)
{
    static const char text[] =
        "\xEF\xBB\xBF# caf\303\251\nmodels:\n  \"\303\251t\303\251\":   [a, {b: c}]\n";
    _cleanup_arena_ struct arena arena;
    struct value *v;
    arena_init(&arena, ARENA_BYTES);
    REQUIRE(yaml_parse(&arena, text, sizeof(text) - 1, &v, NULL, NULL) == 0);
    const struct value *list = v->first->first;
    const struct value *b = list->first->next->first;
    CHECK_EQ(v->first->name_at.line, 2);
    CHECK_EQ(v->first->name_at.column, 1);
    CHECK_EQ(list->name_at.line, 3);
    CHECK_EQ(list->name_at.column, 3);
    CHECK_EQ(list->at.column, 12);
    CHECK_EQ(b->name_at.column, 17);
    CHECK_EQ(b->at.column, 20);
    CHECK_STR(b->name, "b");
}

TEST(errors_have_a_place_and_a_sentence)
{
    static const struct {
        const char *text;
        unsigned line, column;
        const char *what, *fix;
    } rows[] = {
        {"a: 1\nb: 2\na: 3\n", 3, 1, "the key 'a' stands twice in this map, first in line 1",
         "keep one of the two"},
        {"a: 1\n---\nb: 2\n", 2, 1, "a second document begins here; one is allowed",
         "take out the '---', or make two files"},
        {"a:\n\tb: 1\n", 2, 1, "a tab used as indentation", "indent with spaces"},
        {"a:\n  b: 1\n\tc: 1\n", 3, 1, "a tab used as indentation", "indent with spaces"},
        {"a: [1, 2\nb: 3\n", 2, 2,
         "a ',' or ']' is missing before this, in what '[' opened in line 1",
         "close the bracket, or put a value with ':', ',' or brackets in quotes"},
        {"x:\n  a: [1, 2\n", 2, 6, "this '[' is never closed", "add the closing ']'"},
        {"x: {a: 1\n", 1, 4, "this '{' is never closed", "add the closing '}'"},
        {"a: 'open\nb: 1\n", 1, 4, "this quote is never closed", "add the closing quote"},
        {"a: 1\nb\nc: 2\n", 2, 1, "a key without a ':' behind it",
         "write 'key: value'; a list item begins with '- '"},
        {"a: b: c\n", 1, 5, "a second ':' in one line",
         "put a value that holds ': ' in quotes, or begin a new line"},
        {"a:\n  b\n    c: 1\n", 3, 6, "a ':' that cannot be here",
         "write a ':' behind the key in the line above, or indent this line less"},
        {"a:\n  b:1\n  c: 1\n", 3, 4, "a ':' that cannot be here",
         "put a space behind the ':' in the line above"},
        {"a: b\n  c: 1\n", 2, 4, "a ':' that cannot be here",
         "indent the line as its neighbours are; put a value that holds ': ' in quotes"},
        {"a: [1,\n", 2, 1, "the text ends inside a list or map in brackets",
         "close it with ']' or '}'"},
        {"a:\n  b: 1\n c: 2\n", 3, 2, "this does not line up with the keys before it",
         "give all keys of one map the same indentation"},
        {"a: @b\n", 1, 4, "a value cannot begin with '@'", "put it in quotes"},
        {"<<: {a: 1}\n", 1, 1, "the merge key << is not part of YAML 1.2",
         "write the keys out; what holds for every model stands once under 'defaults:'"},
        {"a: !secret x\n", 1, 4, "the tag !secret means nothing here", "leave the tag out"},
        {"a: !!python/object:x {}\n", 1, 4,
         "the tag tag:yaml.org,2002:python/object:x means nothing here", "leave the tag out"},
        {"a: !!int x\n", 1, 4, "a string is not what its tag tag:yaml.org,2002:int says",
         "leave the tag out"},
        {"? [a]\n: 1\n", 1, 3, "a list cannot be a key",
         "a key is a name; is a ':' or a quote missing?"},
        {"{{a: b}: c}\n", 1, 2, "a map cannot be a key",
         "a key is a name; is a ':' or a quote missing?"},
        {"a: 1\n\"\": 2\n", 2, 1, "a key is empty", "write a name before the ':'"},
        {"a: &x 1\n*x : 2\n", 2, 1, "a key cannot be an alias", "write the key out"},
        {"a: *b\n", 1, 4, "the alias *b names nothing: no &b stands before it", ""},
        {"a: &a [*a]\n", 1, 8, "the alias *a stands inside what it names", ""},
        {"a: \"\\q\"\n", 1, 5, "an unknown escape after '\\'",
         "write '\\\\' for a backslash, or use single quotes"},
        {"a: b\xFF\n", 1, 5, "a byte that is not UTF-8 (0xFF)", ""},
        {"a:\n- \x01\n", 2, 3, "a control character (0x01)", ""},
        {"\xFF\xFE"
         "a",
         1, 1, "the text is UTF-16", "save it as UTF-8"},
        {"a: b\r\nc: \xE2\x80\xA8\n", 2, 4,
         "an invisible line separator, which not every program takes for a line end (0x2028)", ""},
        {"a: 1\n... \nb\n", 3, 1, "text behind the end of the document",
         "take it out, or mend the indentation above it"},
        {"%YAML 3.0\n---\na: 1\n", 1, 1, "a %YAML line with another version", "take the line out"},
        {": 1\n", 1, 1, "a ':' with no key before it", "write a name before the ':'"},
        {"a: |0\n  b\n", 1, 5, "a block text cannot be indented by 0", "write | or > alone"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        struct value *v;
        struct value_at at = {0};
        struct err err = {0};
        arena_init(&arena, ARENA_BYTES);
        tap_note("%s", rows[i].text);
        CHECK(yaml_parse(&arena, rows[i].text, strlen(rows[i].text), &v, &at, &err) == -EBADMSG);
        CHECK_STR(err.what, rows[i].what);
        CHECK_STR(err.fix, rows[i].fix);
        CHECK_EQ(at.line, rows[i].line);
        CHECK_EQ(at.column, rows[i].column);
    }
}

struct collector {
    struct yaml_listener listener;
    struct buf told;
};

static void
collect(struct yaml_listener *listener, struct value_at at, const struct err *err)
{
    struct collector *c = (struct collector *)listener;
    buf_printf(&c->told, "%u:%u %s\n", at.line, at.column, err->what);
}

TEST(what_is_readable_is_read_on)
{
    static const char text[] = "a: 1\na: 2\n<<: {}\nb: !x y\n? [k]\n: v\nc: *z\nd: 4\n";
    _cleanup_arena_ struct arena arena;
    struct collector c = {{collect}, BUF_INIT(4096)};
    struct value *v;
    arena_init(&arena, ARENA_BYTES);
    CHECK_EQ(yaml_parse_all(&arena, text, sizeof(text) - 1, &c.listener, &v), 5);
    CHECK_STR(c.told.data, "2:1 the key 'a' stands twice in this map, first in line 1\n"
                           "3:1 the merge key << is not part of YAML 1.2\n"
                           "4:4 the tag !x means nothing here\n"
                           "5:3 a list cannot be a key\n"
                           "7:4 the alias *z names nothing: no &z stands before it\n");
    buf_finish(&c.told);
    REQUIRE(v);
    CHECK_EQ(v->count, 4);
    CHECK_STR(value_get(v, "a")->text, "1");
    CHECK_STR(value_get(v, "d")->text, "4");
}

static int
parse(const char *text, size_t len, struct err *err)
{
    _cleanup_arena_ struct arena arena;
    struct value *v;
    arena_init(&arena, ARENA_BYTES);
    return yaml_parse(&arena, text, len, &v, NULL, err);
}

/* n levels, each a list of `width` aliases of the level before. */
static void
add_bomb(struct buf *b, unsigned levels, unsigned width)
{
    buf_add_str(b, "l0: &l0 x\n");
    for (unsigned i = 1; i <= levels; i++) {
        buf_printf(b, "l%u: &l%u [", i, i);
        for (unsigned k = 0; k < width; k++)
            buf_printf(b, "%s*l%u", k ? ", " : "", i - 1);
        buf_add_str(b, "]\n");
    }
}

TEST(bombs_do_not_go_off)
{
    _cleanup_buf_ struct buf b = BUF_INIT(16 * MIB);
    struct err err;
    add_bomb(&b, 9, 9);
    CHECK(parse(b.data, b.len, &err) < 0);
    CHECK_STR(err.what,
              "the document holds more than 100000 values once its aliases are written out");
    buf_clear(&b);
    for (unsigned i = 0; i < 120000; i++)
        buf_add_str(&b, "- 1\n");
    CHECK(parse(b.data, b.len, &err) < 0);
    CHECK_STR(err.what, "the document holds more than 100000 values");
    buf_clear(&b);
    add_bomb(&b, 63, 1);
    CHECK(parse(b.data, b.len, &err) == 0);
    buf_clear(&b);
    add_bomb(&b, 64, 1);
    CHECK(parse(b.data, b.len, &err) < 0);
    CHECK_STR(err.what, "lists and maps are nested more than 64 deep");
    buf_clear(&b);
    for (size_t i = 0; i < YAML_BYTES_MAX; i++)
        buf_add_char(&b, '[');
    CHECK(parse(b.data, b.len, &err) < 0);
    CHECK_STR(err.what, "lists and maps are nested more than 64 deep");
    buf_add_char(&b, '[');
    CHECK_EQ(parse(b.data, b.len, &err), -EFBIG);
    CHECK_STR(err.what, "the text is larger than 1 MiB");
}

TEST(depth_ends_at_the_same_place_in_block_and_flow)
{
    for (unsigned depth = YAML_DEPTH_MAX; depth <= YAML_DEPTH_MAX + 1; depth++) {
        _cleanup_buf_ struct buf flow = BUF_INIT(64 * KIB), block = BUF_INIT(64 * KIB);
        for (unsigned i = 0; i < depth; i++) {
            buf_add_char(&flow, '[');
            buf_printf(&block, "%*sk:\n", (int)i, "");
        }
        for (unsigned i = 0; i < depth; i++)
            buf_add_char(&flow, ']');
        CHECK((parse(flow.data, flow.len, NULL) == 0) == (depth == YAML_DEPTH_MAX));
        CHECK((parse(block.data, block.len, NULL) == 0) == (depth == YAML_DEPTH_MAX));
    }
}

TEST(a_small_arena_is_an_error)
{
    _cleanup_arena_ struct arena arena;
    struct err err;
    struct value *v;
    arena_init(&arena, 300);
    CHECK(yaml_parse(&arena, "a: [1, 2, 3]\n", 13, &v, NULL, &err) < 0);
    CHECK_STR(err.what, "the document needs more memory than it may have");
}

TEST(strings_read_back_as_they_were)
{
    static const char *const rows[] = {"",
                                       "a",
                                       "yes",
                                       "null",
                                       "12",
                                       "0.19",
                                       "a b",
                                       "a: b",
                                       "daily 02:00",
                                       "02:00",
                                       "- a",
                                       "-",
                                       "---",
                                       "...",
                                       "#a",
                                       "a #b",
                                       "a\nb",
                                       "\t",
                                       "\"",
                                       "\\",
                                       "'",
                                       "@x",
                                       "100%",
                                       "%x",
                                       "*a",
                                       "&a",
                                       "!a",
                                       "a,b",
                                       "[a]",
                                       "{a}",
                                       "http://h:9090/x?y=z",
                                       "~",
                                       " a",
                                       "a ",
                                       "\303\251",
                                       "a\342\200\250b",
                                       "192.168.10.35",
                                       "a:",
                                       "\x7F",
                                       "<<",
                                       "2024-01-01",
                                       "/mnt/x y/z",
                                       "a/b:c@d=e",
                                       "\xEF\xBB\xBFx",
                                       "\xF0\x9F\x98\x80"};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        _cleanup_buf_ struct buf out = BUF_INIT(1024);
        struct value *v;
        arena_init(&arena, ARENA_BYTES);
        buf_add_str(&out, "k: [");
        yaml_add_string(&out, rows[i], strlen(rows[i]));
        buf_add_str(&out, "]\nj: ");
        yaml_add_string(&out, rows[i], strlen(rows[i]));
        tap_note("%s", out.data);
        REQUIRE(yaml_parse(&arena, out.data, out.len, &v, NULL, NULL) == 0);
        CHECK_STR(value_str(v->first->first), rows[i]);
        CHECK_STR(value_str(v->first->next), rows[i]);
    }
}
