#include "backup/repository.h"

#include "backup/repository_int.h"
#include "base/mem.h"
#include "crash.h"
#include "sys/files.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char *
place(const char *name)
{
    return mem_printf("%s/%s", tap_dir(), name);
}

static int
open_at(const char *where, const char *mount, bool make, struct repository **ret,
        struct err *reterr)
{
    const struct repository_wish wish = {.where = where, .mount = mount, .make = make};
    return repository_open(&wish, ret, reterr);
}

TEST(a_repository_is_made_once_and_opened_often)
{
    _cleanup_free_ char *where = place("a/b");
    _cleanup_repository_ struct repository *made = NULL, *r = NULL, *again = NULL;
    struct err err;
    CHECK_EQ(open_at(where, NULL, false, &r, &err), -ENOENT);
    CHECK_EQ(err.id, ERR_REPOSITORY_NONE);
    CHECK_STR(err.fix, "citadel backup init");
    REQUIRE(open_at(where, NULL, true, &made, &err) == 0);
    REQUIRE(open_at(where, NULL, false, &r, &err) == 0);
    CHECK_STR(r->id, made->id);
    CHECK_EQ(open_at(where, NULL, true, &again, &err), -EEXIST);
    CHECK_EQ(err.id, ERR_REPOSITORY_THERE);
}

TEST(a_repository_is_not_made_where_nothing_is_mounted)
{
    _cleanup_free_ char *mount = place("disk"), *where = place("disk/repository");
    _cleanup_repository_ struct repository *r = NULL;
    struct stat st;
    struct err err;
    CHECK(open_at(where, mount, true, &r, &err) < 0);
    CHECK_EQ(err.id, ERR_STORAGE_NOT_MOUNTED);
    REQUIRE(mkdir(mount, 0755) == 0);
    CHECK(open_at(where, mount, true, &r, &err) < 0);
    CHECK_EQ(err.id, ERR_STORAGE_NOT_MOUNTED);
    CHECK(stat(where, &st) < 0);
    REQUIRE(open_at("/proc/self/nothing", "/proc", false, &r, &err) == -ENOENT);
    CHECK_EQ(err.id, ERR_REPOSITORY_NONE); /* something is mounted there */
}

TEST(places_of_other_kinds_are_refused)
{
    static const char *const rows[] = {"sftp://nas", "s3://host", "s3x://host/bucket", "here", ""};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct repository *r = NULL;
        struct err err;
        CHECK_EQ(open_at(rows[i], NULL, true, &r, &err), -EBADMSG);
        CHECK_EQ(err.id, ERR_REPOSITORY_OTHER);
        CHECK(strstr(err.what, rows[i]) != NULL);
    }
}

TEST(what_a_repository_says_of_itself)
{
    static const struct {
        const char *text;
        int want;
    } rows[] = {
        {"{\"format\": 1, \"id\": \"0123456789abcdef0123456789abcdef\", \"made\": \"\"}", 0},
        {"{\"format\": 1, \"id\": \"0123456789abcdef0123456789abcdef\", \"later\": [1]}", 0},
        {"{\"format\": 2, \"id\": \"0123456789abcdef0123456789abcdef\"}", -EBADMSG},
        {"{\"format\": 1, \"id\": \"0123456789abcdef0123456789abcde\"}", -EBADMSG},
        {"{\"format\": 1, \"id\": \"0123456789ABCDEF0123456789abcdef\"}", -EBADMSG},
        {"{\"format\": 1}", -EBADMSG},
        {"{\"id\": \"0123456789abcdef0123456789abcdef\"}", -EBADMSG},
        {"{\"format\": 1, \"id\": \"0123456789abcdef0123456789abcdef\", \"encrypted\": true}", 0},
        {"{\"format\": 1, \"id\": \"0123456789abcdef0123456789abcdef\", \"encrypted\": 1}",
         -EBADMSG},
        {"[]", -EBADMSG},
        {"", -EBADMSG},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct repository_about about;
        struct err err = {0};
        tap_note("%s", rows[i].text);
        CHECK_EQ(repository_parse(rows[i].text, strlen(rows[i].text), &about, &err), rows[i].want);
        CHECK_EQ(err.id, rows[i].want < 0 ? ERR_REPOSITORY_OTHER : ERR_NONE);
    }
}

static int
write_object(struct repository *r, const char *text, uint8_t ret[HASH_SHA256_BYTES])
{
    struct object_writer w;
    struct hash_sha256 hash;
    char name[HASH_SHA256_HEX];
    const struct object_place place_of = repository_place(r, REPOSITORY_PACKS);
    int k = object_begin(&w, &place_of, NULL);
    if (k < 0)
        return k;
    k = object_write(&w, text, strlen(text), NULL);
    if (k == 0)
        k = object_finish(&w, name, NULL);
    object_end(&w);
    hash_sha256_init(&hash);
    hash_sha256_update(&hash, text, strlen(text));
    hash_sha256_final(&hash, ret);
    return k;
}

TEST(objects_are_listed_read_and_compared_with_their_names)
{
    _cleanup_free_ char *where = place("r");
    _cleanup_repository_ struct repository *r = NULL;
    struct repository_names names = {0};
    struct repository_object object = {0};
    uint8_t one[HASH_SHA256_BYTES], two[HASH_SHA256_BYTES];
    char text[HASH_SHA256_HEX], bytes[4] = {0};
    struct err err;
    REQUIRE(open_at(where, NULL, true, &r, NULL) == 0);
    REQUIRE(write_object(r, "first", one) == 0 && write_object(r, "second", two) == 0);
    REQUIRE(repository_list(r, REPOSITORY_PACKS, &names, NULL) == 0);
    CHECK_EQ(names.count, 2);
    CHECK(memcmp(names.items[0], names.items[1], HASH_SHA256_BYTES) < 0);
    free(names.items);
    REQUIRE(repository_read(r, REPOSITORY_PACKS, two, 1, bytes, 3, NULL) == 0);
    CHECK_STR(bytes, "eco");
    CHECK(repository_read(r, REPOSITORY_PACKS, two, 4, bytes, 3, &err) == -EBADMSG);
    CHECK(strstr(err.what, "ends at byte 6") != NULL);
    REQUIRE(repository_map(r, REPOSITORY_PACKS, one, true, &object, NULL) == 0);
    CHECK(object.len == 5 && memcmp(object.bytes, "first", 5) == 0);
    repository_unmap(&object);
    hash_sha256_hex(one, text);
    _cleanup_close_ int fd = openat(r->areas[REPOSITORY_PACKS], text, O_WRONLY | O_CLOEXEC);
    REQUIRE(pwrite(fd, "F", 1, 0) == 1);
    CHECK_EQ(repository_map(r, REPOSITORY_PACKS, one, true, &object, &err), -EBADMSG);
    CHECK(strstr(err.what, text) != NULL);
}

/* Whoever writes holds its lock: what is found abandoned is nobody's. */
TEST(only_drafts_of_nobody_are_cleared)
{
    _cleanup_close_ int dir = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct object_writer w;
    struct stat st;
    char name[HASH_SHA256_HEX];
    _cleanup_close_ int left = openat(dir, OBJECT_DRAFT "0", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    REQUIRE(left >= 0 && object_begin(&w, &(struct object_place){.dir = dir}, NULL) == 0);
    object_clear_abandoned(dir);
    CHECK(fstatat(dir, OBJECT_DRAFT "0", &st, 0) < 0);
    CHECK(fstatat(dir, w.draft, &st, 0) == 0);
    CHECK(object_finish(&w, name, NULL) == 0);
    object_end(&w);
}

static void
make_one(void *arg)
{
    _cleanup_repository_ struct repository *r = NULL;
    (void)!open_at(arg, NULL, true, &r, NULL);
}

TEST(a_repository_is_whole_or_can_be_made_again)
{
    unsigned whole = 0;
    for (unsigned n = 1;; n++) {
        _cleanup_free_ char *name = mem_printf("r%u", n);
        _cleanup_free_ char *where = place(name);
        _cleanup_repository_ struct repository *r = NULL;
        bool crashed = crash_at(n, false, make_one, where);
        tap_note("call %u", n);
        if (open_at(where, NULL, false, &r, NULL) == 0)
            whole++;
        else
            CHECK(open_at(where, NULL, true, &r, NULL) == 0);
        if (!crashed)
            break;
    }
    CHECK(whole >= 2); /* behind the last rename, and without a crash */
}
