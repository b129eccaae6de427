#include "base/text.h"

#include "tap.h"

#include <stdio.h>

TEST(utf8_is_strict)
{
    static const struct {
        const char *text;
        bool ok;
    } rows[] = {
        {"", true},
        {"plain", true},
        {"\xc3\xa9", true},
        {"\xe2\x82\xac", true},
        {"\xf0\x9f\x98\x80", true},
        {"\xf4\x8f\xbf\xbf", true},  /* U+10FFFF */
        {"\xed\x9f\xbf", true},      /* U+D7FF */
        {"\x80", false},             /* lone continuation */
        {"\xc0\x80", false},         /* overlong NUL */
        {"\xc1\xbf", false},         /* overlong */
        {"\xe0\x9f\xbf", false},     /* overlong */
        {"\xf0\x8f\xbf\xbf", false}, /* overlong */
        {"\xed\xa0\x80", false},     /* surrogate */
        {"\xf4\x90\x80\x80", false}, /* above U+10FFFF */
        {"\xf5\x80\x80\x80", false},
        {"\xc3", false}, /* cut short */
        {"\xe2\x82", false},
        {"\xf0\x9f\x98", false},
        {"a\xff", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("row %zu", i);
        CHECK_EQ(text_is_utf8(rows[i].text, strlen(rows[i].text)), rows[i].ok);
    }
}

TEST(names_are_safe_everywhere)
{
    static const char *const good[] = {"a", "phi3", "yi34b", "qwen2.5-7b", "0x", "a_b"};
    static const char *const bad[] = {
        "",         "-a",
        ".a",       "..",
        "A",        "a b",
        "a/b",      "a\n",
        "\xc3\xa9", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", /* 64 */
    };
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        tap_note("%s", good[i]);
        CHECK(text_is_name(good[i]));
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        tap_note("%s", bad[i]);
        CHECK(!text_is_name(bad[i]));
    }
    CHECK(text_is_name(bad[ARRAY_SIZE(bad) - 1] + 1));
}

static const char *
key(size_t i, const void *arg unused_arg)
{
    static const char *const keys[] = {
        "port", "path", "tensor_parallel", "max_model_len", "gpu_memory_fraction", "engine"};
    return i < ARRAY_SIZE(keys) ? keys[i] : NULL;
}

TEST(the_nearest_word_is_what_was_meant)
{
    static const struct {
        const char *typed, *want;
    } rows[] = {
        {"prot", "port"},
        {"Port", "port"},
        {"pth", "path"},
        {"tensor-parallel", "tensor_parallel"},
        {"tensor_paralel", "tensor_parallel"},
        {"tensor_parallel_size", "tensor_parallel"},
        {"max_model_length", "max_model_len"},
        {"gpu_memory_utilisation", "gpu_memory_fraction"},
        {"engin", "engine"},
        {"zzz", NULL},
        {"", NULL},
        {"completely_different", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        CHECK_STR(text_nearest(rows[i].typed, key, NULL), rows[i].want);
    char longest[300];
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    CHECK(text_nearest(longest, key, NULL) == NULL);
}

TEST(characters_are_read_one_by_one)
{
    static const struct {
        const char *text;
        uint32_t want;
        size_t step;
    } rows[] = {
        {"a", 'a', 1},
        {"\xc3\xa9", 0xE9, 2},
        {"\xe2\x82\xac", 0x20AC, 3},
        {"\xf0\x9f\x98\x80", 0x1F600, 4},
        {"\xf4\x8f\xbf\xbf", 0x10FFFF, 4},
        {"\xe2\x82", TEXT_NO_CHAR, 1},
        {"\xff", TEXT_NO_CHAR, 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *at = rows[i].text;
        tap_note("row %zu", i);
        CHECK_EQ(text_next_char(&at, at + strlen(at)), rows[i].want);
        CHECK_EQ((size_t)(at - rows[i].text), rows[i].step);
    }
}

static const struct {
    const char *text, *want;
} hostile[] = {
    {"", ""},
    {"plain \xc3\xa9 \xf0\x9f\x98\x80", "plain \xc3\xa9 \xf0\x9f\x98\x80"},
    {"\x1b[31m\n\r\t\x7f", "?[31m????"},
    {"c1 \xc2\x80\xc2\x9b.\xc2\xa0", "c1 ??.\xc2\xa0"},
    {"a\xe2\x80\x8b"
     "b",
     "a?b"},                            /* zero width space */
    {"\xe2\x80\xa8\xe2\x80\xa9", "??"}, /* line and paragraph separator */
    {"\xe2\x80\xaa\xe2\x80\xae"
     "cba",
     "??cba"},                                                /* turns of direction */
    {"\xe2\x80\xaf\xe2\x80\xa7", "\xe2\x80\xaf\xe2\x80\xa7"}, /* their neighbours */
    {"\xe2\x81\xa6\xe2\x81\xa9\xd8\x9c", "???"},              /* isolates, Arabic letter mark */
    {"\xef\xbb\xbfmark", "?mark"},
    {"\x9b"
     "31m\xff\xc3",
     "?31m??"}, /* as bytes, C1 for a terminal without UTF-8 */
};

TEST(hostile_text_is_disarmed)
{
    for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
        char text[64];
        tap_note("row %zu", i);
        text_make_safe(text, sizeof(text), snprintf(text, sizeof(text), "%s", hostile[i].text));
        CHECK_STR(text, hostile[i].want);
        text_disarm(text);
        CHECK_STR(text, hostile[i].want);
    }
}

TEST(text_that_was_cut_is_marked_between_characters)
{
    char text[12] = "abcdefg\xe2\x82\xac\xe2"; /* as snprintf() leaves it */
    text_make_safe(text, sizeof(text), 13);
    CHECK_STR(text, "abcdefg...");
}

TEST(starts_and_ends)
{
    CHECK(text_starts("models.phi3", "models."));
    CHECK(!text_starts("mod", "models."));
    CHECK(text_ends("a.safetensors", ".safetensors"));
    CHECK(!text_ends("s", ".safetensors"));
    CHECK(text_eq(NULL, NULL) && !text_eq(NULL, "") && text_eq("a", "a"));
}

TEST(text_is_copied_as_far_as_there_is_room)
{
    char to[5] = "----";
    text_copy(to, sizeof(to), "abc");
    CHECK_STR(to, "abc");
    text_copy(to, sizeof(to), "abcdefgh");
    CHECK_STR(to, "abcd");
    text_copy(to, 1, "a");
    CHECK_STR(to, "");
}

TEST(numbers_are_written_with_16_digits)
{
    char to[17] = "";
    CHECK(text_put_hex(to, UINT64_C(0x0123456789abcdef)) == to + 16);
    CHECK_STR(to, "0123456789abcdef");
    (void)text_put_hex(to, 0xf);
    CHECK_STR(to, "000000000000000f");
}
