#include "deploy/digest.h"

#include "base/text.h"
#include "sys/files.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

#define FILE_OF(name_, text)                                      \
    {                                                             \
        .name = (name_), .bytes = (text), .len = sizeof(text) - 1 \
    }

#define CONFIG FILE_OF("config.yaml", "models: {}\n")
#define UNIT FILE_OF("units/a", "[Unit]\n")

static const struct generation_file files[] = {CONFIG, UNIT};

static const char *
digest(unsigned current, const struct generation_file *items, size_t count)
{
    static char texts[16][HASH_SHA256_HEX]; /* more than any test asks for */
    static unsigned next;
    char *text = texts[next++ % ARRAY_SIZE(texts)];
    deploy_digest(tap_dir(), current, items, count, text);
    return text;
}

TEST(any_byte_makes_another_digest)
{
    static const struct {
        const char *what;
        struct generation_file files[3];
        size_t count;
    } rows[] = {
        {"another byte", {CONFIG, FILE_OF("units/a", "[unit]\n")}, 2},
        {"another name", {CONFIG, FILE_OF("units/b", "[Unit]\n")}, 2},
        {"one less", {CONFIG}, 1},
        {"one more", {CONFIG, UNIT, FILE_OF("units/b", "")}, 3},
        {"nothing", {{0}}, 0},
        {"another order", {UNIT, CONFIG}, 2},
        {"bytes that look like a file",
         {FILE_OF("config.yaml", "models: {}\nunits/a\0\7\0\0\0\0\0\0\0[Unit]\n")},
         1},
    };
    const char *want = digest(0, files, ARRAY_SIZE(files));
    CHECK_STR(digest(0, files, ARRAY_SIZE(files)), want);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("%s", rows[i].what);
        CHECK(!text_eq(digest(0, rows[i].files, rows[i].count), want));
    }
}

TEST(what_is_current_is_in_it)
{
    const struct generation_wish wish = {"anna", "a test", files, ARRAY_SIZE(files)};
    _cleanup_free_ char *manifest = mem_printf("%s/generations/1/manifest.json", tap_dir());
    const char *none = digest(0, files, ARRAY_SIZE(files));
    unsigned number = 0;
    REQUIRE(generation_add(tap_dir(), &wish, &number, NULL) == 0 && number == 1);
    const char *one = digest(1, files, ARRAY_SIZE(files));
    CHECK(!text_eq(one, none));
    CHECK(!text_eq(digest(2, files, ARRAY_SIZE(files)), one));
    CHECK_STR(digest(0, files, ARRAY_SIZE(files)), none);
    CHECK_EQ(file_write(manifest, "{}", 2, 0644, NULL), 0);
    CHECK(!text_eq(digest(1, files, ARRAY_SIZE(files)), one));
    CHECK_EQ(file_remove_tree(manifest, NULL), 0); /* none to be read is as good as another */
    CHECK(!text_eq(digest(1, files, ARRAY_SIZE(files)), one));
}

TEST(what_was_not_shown_is_refused_with_what_to_do)
{
    struct err err = {0};
    const char *shown = digest(0, files, 2), *now = digest(0, files, 1);
    CHECK_EQ(deploy_digest_check(NULL, now, &err), 0);
    CHECK_EQ(deploy_digest_check(shown, shown, &err), 0);
    CHECK(deploy_digest_check(shown, now, &err) < 0);
    CHECK_EQ(err.id, ERR_DEPLOY_STALE);
    CHECK(strstr(err.what, "its digest was ") && strstr(err.fix, "citadel plan"));
}
