#include "base/text.h"

#include "tap.h"

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

TEST(starts_and_ends)
{
    CHECK(text_starts("models.phi3", "models."));
    CHECK(!text_starts("mod", "models."));
    CHECK(text_ends("a.safetensors", ".safetensors"));
    CHECK(!text_ends("s", ".safetensors"));
    CHECK(text_eq(NULL, NULL) && !text_eq(NULL, "") && text_eq("a", "a"));
}
