#include "deploy/manifest_int.h"

#include "crash.h"
#include "sys/files.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CALLS_MAX 400 /* that change files, of one of the operations below */

static const struct generation_file files[] = {
    {"config.yaml", "models: {}\n", 11},
    {"plan.json", "{}\n", 3},
    {"units/citadel-phi3.service", "[Service]\n", 10},
    {"units/empty", "", 0},
};
static const struct generation_wish wish = {
    .by = "root", .why = "citadel apply", .files = files, .count = ARRAY_SIZE(files)};

static const char *
store(void)
{
    static char path[512];
    (void)snprintf(path, sizeof(path), "%s/etc/citadel", tap_dir());
    return path;
}

static const char *
inside(const char *name)
{
    static char path[1024];
    (void)snprintf(path, sizeof(path), "%s/%s", store(), name);
    return path;
}

static void
add(void *arg unused_arg)
{
    unsigned number;
    if (generation_add(store(), &wish, &number, NULL) < 0)
        return;
    (void)!generation_set(store(), GENERATION_CURRENT, number, NULL);
    (void)!generation_set(store(), GENERATION_STABLE, number, NULL);
}

static void
prune(void *arg unused_arg)
{
    unsigned removed;
    (void)!generation_prune(store(), 1, &removed, NULL);
}

/* How many there are; each of them is whole, and so are the links. */
static size_t
check_all_whole(void)
{
    _cleanup_arena_ struct arena arena;
    struct generation *items = NULL;
    struct generation_damage *damage;
    struct err err = {0};
    size_t count = 0, damages = 1;
    arena_init(&arena, 1 * MIB);
    CHECK_EQ(generation_list(store(), &arena, &items, &count, &err), 0);
    CHECK_STR(err.what, "");
    for (size_t i = 0; i < count; i++) {
        CHECK_STR(items[i].damage, NULL);
        CHECK_EQ(generation_check(store(), items[i].number, &arena, &damage, &damages, NULL), 0);
        CHECK_EQ(damages, 0);
    }
    return count;
}

TEST(what_was_added_is_there)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf text = BUF_INIT(1 * KIB);
    struct generation *items;
    size_t count;
    unsigned number, current;
    arena_init(&arena, 1 * MIB);
    REQUIRE(generation_of(store(), GENERATION_CURRENT, &current, NULL) == 0);
    CHECK_EQ(current, 0);
    for (unsigned i = 1; i <= 3; i++) {
        REQUIRE(generation_add(store(), &wish, &number, NULL) == 0);
        CHECK_EQ(number, i);
        if (i < 3)
            REQUIRE(generation_set(store(), GENERATION_CURRENT, number, NULL) == 0);
    }
    REQUIRE(generation_set(store(), GENERATION_STABLE, 1, NULL) == 0);
    REQUIRE(generation_list(store(), &arena, &items, &count, NULL) == 0);
    REQUIRE(count == 3);
    CHECK(items[0].stable && items[1].current && !items[2].current && !items[2].stable);
    CHECK(items[0].after == 0 && items[1].after == 1 && items[2].after == 2);
    CHECK_STR(items[2].by, "root");
    CHECK_STR(items[2].why, "citadel apply");
    CHECK(items[2].made_us >= items[0].made_us && items[0].made_us > 0);
    REQUIRE(generation_read(store(), 2, "units/citadel-phi3.service", &text, NULL) == 0);
    CHECK_STR(text.data, "[Service]\n");
    CHECK_EQ(check_all_whole(), 3);
}

TEST(what_is_not_there_is_told)
{
    _cleanup_buf_ struct buf text = BUF_INIT(1 * KIB);
    struct err err;
    unsigned number;
    REQUIRE(generation_add(store(), &wish, &number, NULL) == 0);
    CHECK_EQ(generation_set(store(), GENERATION_CURRENT, 2, &err), -ENOENT);
    CHECK_EQ(err.id, ERR_GENERATION_NONE);
    CHECK_STR(err.fix, "there are 1 to 1");
    CHECK_EQ(generation_read(store(), 7, "config.yaml", &text, &err), -ENOENT);
    CHECK_EQ(generation_read(store(), 1, "config.yml", &text, &err), -ENOENT);
    CHECK_EQ(err.id, ERR_NOT_FOUND);
}

TEST(what_was_changed_by_hand_is_found)
{
    static const struct generation_damage want[] = {
        {GENERATION_CHANGED, "config.yaml"},
        {GENERATION_MISSING, "plan.json"},
        {GENERATION_ADDED, "units/drop-in.conf"},
    };
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf text = BUF_INIT(1 * KIB);
    struct generation_damage *found;
    struct err err;
    size_t count;
    unsigned number;
    arena_init(&arena, 1 * MIB);
    REQUIRE(generation_add(store(), &wish, &number, NULL) == 0);
    REQUIRE(file_write(inside("generations/1/config.yaml"), "models: []\n", 11, 0644, NULL) == 0);
    REQUIRE(unlink(inside("generations/1/plan.json")) == 0);
    REQUIRE(file_write(inside("generations/1/units/drop-in.conf"), "x", 1, 0644, NULL) == 0);
    REQUIRE(generation_check(store(), 1, &arena, &found, &count, NULL) == 0);
    REQUIRE(count == ARRAY_SIZE(want));
    for (size_t i = 0; i < count; i++) {
        CHECK_EQ(found[i].change, want[i].change);
        CHECK_STR(found[i].name, want[i].name);
    }
    CHECK_EQ(generation_read(store(), 1, "config.yaml", &text, &err), -EBADMSG);
    CHECK_EQ(err.id, ERR_GENERATION_DAMAGED);
    CHECK_STR(err.what, "config.yaml of generation 1 is not what it was deployed as");
    CHECK_EQ(generation_read(store(), 1, "plan.json", &text, &err), -EBADMSG);
    CHECK_STR(err.what, "plan.json of generation 1 is missing");
}

TEST(links_that_lead_elsewhere_are_refused)
{
    static const char *const targets[] = {"/etc",
                                          "generations/2",
                                          "generations/01",
                                          "generations/1/",
                                          "../generations/1",
                                          "generations/",
                                          "generations/4294967297",
                                          "generations/1x"};
    struct err err;
    unsigned number;
    REQUIRE(generation_add(store(), &wish, &number, NULL) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        tap_note("%s", targets[i]);
        REQUIRE(symlink(targets[i], inside("current")) == 0);
        CHECK_EQ(generation_of(store(), GENERATION_CURRENT, &number, &err), -EBADMSG);
        CHECK_EQ(err.id, ERR_GENERATION_DAMAGED);
        bool astray = false;
        number = 7;
        CHECK_EQ(generation_or_none(store(), GENERATION_CURRENT, &number, &astray, &err), 0);
        CHECK(astray && number == 0);
        REQUIRE(unlink(inside("current")) == 0);
    }
    REQUIRE(mkdir(inside("current"), 0755) == 0);
    CHECK_EQ(generation_of(store(), GENERATION_CURRENT, &number, &err), -EIO);
    CHECK_EQ(err.id, ERR_SYSTEM);
    CHECK(generation_set(store(), GENERATION_CURRENT, 1, NULL) < 0);
}

TEST(a_spoilt_manifest_is_told)
{
    static const char *const texts[] = {
        "",
        "[]",
        "{}",
        "{\"made_us\": 1, \"by\": \"a\", \"why\": \"b\", \"after\": 0}",
        ("{\"made_us\": 1, \"by\": \"a\", \"why\": \"b\", \"after\": 0, \"files\": {\"../x\": "
         "\"\"}}"),
        "{\"made_us\": 1, \"by\": 1, \"why\": \"b\", \"after\": 0, \"files\": {}}",
        "{\"made_us\": -1, \"by\": \"a\", \"why\": \"b\", \"after\": 0, \"files\": {}}"};
    struct generation *items;
    size_t count;
    unsigned number;
    REQUIRE(generation_add(store(), &wish, &number, NULL) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        _cleanup_arena_ struct arena arena;
        arena_init(&arena, 1 * MIB);
        tap_note("%s", texts[i]);
        const char *path = inside("generations/1/manifest.json");
        REQUIRE(file_write(path, texts[i], strlen(texts[i]), 0644, NULL) == 0);
        REQUIRE(generation_list(store(), &arena, &items, &count, NULL) == 0);
        REQUIRE(count == 1);
        CHECK(items[0].damage != NULL);
    }
}

TEST(only_names_that_stay_inside_are_taken)
{
    static const struct {
        const char *name;
        bool takes;
    } rows[] = {
        {"a", true},
        {"units/a.service", true},
        {"a/b/c", false},
        {"", false},
        {"/a", false},
        {"a/", false},
        {"../a", false},
        {"a/..", false},
        {".hidden", false},
        {"units/.a", false},
        {"a\nb", false},
        {"manifest.json", false},
        {"units/manifest.json", true},
        {"\xff", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("%s", rows[i].name);
        CHECK_EQ(manifest_takes_name(rows[i].name), rows[i].takes);
    }
}

TEST(the_oldest_go_but_none_that_is_used)
{
    unsigned number, removed;
    for (unsigned i = 0; i < 6; i++)
        REQUIRE(generation_add(store(), &wish, &number, NULL) == 0);
    REQUIRE(generation_set(store(), GENERATION_STABLE, 1, NULL) == 0);
    REQUIRE(generation_set(store(), GENERATION_CURRENT, 3, NULL) == 0);
    REQUIRE(generation_prune(store(), 3, &removed, NULL) == 0);
    CHECK_EQ(removed, 3);
    CHECK_EQ(access(inside("generations/1"), F_OK), 0);
    CHECK_EQ(access(inside("generations/3"), F_OK), 0);
    CHECK_EQ(access(inside("generations/6"), F_OK), 0);
    CHECK_EQ(check_all_whole(), 3);
    REQUIRE(generation_prune(store(), 0, &removed, NULL) == 0);
    CHECK_EQ(check_all_whole(), 2); /* the two that are used */
    REQUIRE(generation_add(store(), &wish, &number, NULL) == 0);
    CHECK_EQ(number, 4);
}

/* What is current after a crash at any call is what was before, or the new one, and whole. */
TEST(a_crash_at_any_call_leaves_whole_generations)
{
    for (unsigned torn = 0; torn < 2; torn++) {
        unsigned n = 1, current;
        add(NULL);
        while (n < CALLS_MAX && crash_at(n, torn, add, NULL)) {
            tap_note("torn %u, call %u", torn, n);
            REQUIRE(check_all_whole() >= 1);
            REQUIRE(generation_of(store(), GENERATION_CURRENT, &current, NULL) == 0);
            REQUIRE(current >= 1);
            n++;
        }
        CHECK(n > 30 && n < CALLS_MAX);
        for (n = 1; n < CALLS_MAX && crash_at(n, torn, prune, NULL); n++) {
            tap_note("torn %u, prune, call %u", torn, n);
            add(NULL);
            add(NULL);
            REQUIRE(check_all_whole() >= 1);
        }
        CHECK(n > 5 && n < CALLS_MAX);
        prune(NULL);
        CHECK_EQ(check_all_whole(), 1);
        CHECK(access(inside("generations/.new"), F_OK) < 0);
        CHECK(access(inside("generations/.old"), F_OK) < 0);
    }
}

TEST(a_disk_that_fails_changes_nothing)
{
    unsigned before, after;
    add(NULL);
    for (unsigned dead = 0; dead < 2; dead++) {
        unsigned n = 0;
        do {
            REQUIRE(generation_of(store(), GENERATION_CURRENT, &before, NULL) == 0);
            fail_at(++n, dead, add, NULL);
            tap_note("dead %u, call %u", dead, n);
            REQUIRE(generation_of(store(), GENERATION_CURRENT, &after, NULL) == 0);
            REQUIRE(after >= before && check_all_whole() >= after);
        } while (n < CALLS_MAX && fail_left == 0); /* else it made fewer calls, and ran through */
        CHECK(n > 30 && n < CALLS_MAX);
    }
}

TEST(a_manifest_reads_as_it_was_printed)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX), again = BUF_INIT(MANIFEST_MAX);
    struct manifest_file file = {.name = "units/a \"b\".service"};
    struct manifest m = {
        .made_us = UINT64_MAX, .by = "a", .why = "", .after = 5, .files = &file, .count = 1};
    struct manifest back;
    arena_init(&arena, 1 * MIB);
    manifest_digest("", 0, file.digest);
    CHECK_STR(file.digest, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    manifest_print(&m, &text);
    REQUIRE(manifest_parse(text.data, text.len, &arena, &back, NULL) == 0);
    manifest_print(&back, &again);
    CHECK_STR(again.data, text.data);
}
