#include "backup/mend.h"

#include "backup/test_int.h"
#include "crash.h"

static struct verify_told told;
static char words[4 * KIB];

static void
on_mended(const char *what, void *arg unused_arg)
{
    (void)snprintf(words, sizeof(words), "%s", what);
}

static int
repair(struct backup_rig *rig)
{
    const struct verify_wish wish = {.repository = rig->repository,
                                     .sample_percent = 100,
                                     .threads = rig->threads,
                                     .repair = true,
                                     .parity_percent = rig->parity_percent,
                                     .mended = on_mended,
                                     .found = rig_ignore_problem};
    struct verify *v = NULL;
    rig->r = -EINPROGRESS;
    words[0] = '\0';
    int r = verify_new(rig->loop.loop, &wish, backup_rig_ended, rig, &v, &rig->err);
    if (r < 0)
        return r;
    loop_rig_run(&rig->loop, LOOP_PATIENCE_US);
    told = *verify_told(v);
    verify_free(v);
    return rig->r < 0 ? rig->r : (int)told.problems;
}

/* The one object of an area, open for spoiling. */
static int
open_only(struct backup_rig *rig, enum repository_area area, char ret_name[HASH_SHA256_HEX])
{
    struct repository_names names = {0};
    if (repository_list(rig->repository, area, &names, NULL) < 0 || names.count != 1) {
        free(names.items);
        return -1;
    }
    hash_sha256_hex(names.items[0], ret_name);
    free(names.items);
    return openat(rig->repository->areas[area], ret_name, O_RDWR | O_CLOEXEC);
}

static bool
flip(int fd, off_t at)
{
    uint8_t byte;
    if (pread(fd, &byte, 1, at) != 1)
        return false;
    byte = (uint8_t)(byte ^ 1 << at % 8);
    return pwrite(fd, &byte, 1, at) == 1;
}

/* One pack, with parity. */
static bool
save_with_parity(struct backup_rig *rig, const char *password)
{
    if (!rig_open_with(rig, password))
        return false;
    rig->threads = 1;
    rig->parity_percent = 5;
    return rig_save(rig) == 0;
}

TEST(what_is_lost_of_a_pack_is_mended)
{
    struct backup_rig rig;
    struct stat st;
    char name[HASH_SHA256_HEX];
    static const uint8_t zeros[16 * KIB];
    REQUIRE(save_with_parity(&rig, NULL));
    CHECK_EQ(repair(&rig), 0);
    CHECK_EQ(told.mended + told.prepared, 0); /* nothing to do */
    _cleanup_close_ int fd = open_only(&rig, REPOSITORY_PACKS, name);
    REQUIRE(fd >= 0 && fstat(fd, &st) == 0);
    REQUIRE(pwrite(fd, zeros, sizeof(zeros), st.st_size / 2) == (ssize_t)sizeof(zeros));
    CHECK(rig_count_problems(&rig) > 0);
    CHECK(rig_count_problems(&rig) > 0); /* to look changes nothing */
    CHECK_EQ(repair(&rig), 0);
    CHECK_EQ(told.mended, 1);
    CHECK(strstr(words, name) != NULL && strstr(words, "is mended") != NULL);
    CHECK(rig_is_whole(&rig));
    /* Its end, and with it the trailer. */
    _cleanup_close_ int again = open_only(&rig, REPOSITORY_PACKS, name);
    REQUIRE(again >= 0 && ftruncate(again, st.st_size - 5000) == 0);
    CHECK_EQ(repair(&rig), 0);
    CHECK(rig_is_whole(&rig));
    backup_rig_close(&rig);
}

/* Each byte of a small repository, another bit of each: found, and mended. */
static void
flip_all(const char *password)
{
    struct backup_rig rig;
    struct stat st;
    char name[HASH_SHA256_HEX];
    REQUIRE(rig_open_with(&rig, password));
    rig.threads = 1;
    rig.parity_percent = 20;
    (void)snprintf(rig.source, sizeof(rig.source), "%s/small", tap_dir());
    REQUIRE(mkdir(rig.source, 0755) == 0 && rig_write(&rig, "a", "first", 5) == 0 &&
            rig_write(&rig, "b", "second", 6) == 0 && rig_save(&rig) == 0);
    {
        _cleanup_close_ int fd = open_only(&rig, REPOSITORY_PACKS, name);
        REQUIRE(fd >= 0 && fstat(fd, &st) == 0 && st.st_size < 1000);
    }
    for (off_t at = 0; at < st.st_size; at += password ? 5 : 1) {
        _cleanup_close_ int fd = open_only(&rig, REPOSITORY_PACKS, name);
        tap_note("byte %lld", (long long)at);
        REQUIRE(flip(fd, at));
        CHECK_EQ(repair(&rig), 0);
        CHECK_EQ(told.mended, 1);
    }
    CHECK(rig_is_whole(&rig));
    backup_rig_close(&rig);
}

TEST(every_flipped_bit_of_a_pack_is_mended)
{
    flip_all(NULL);
}

TEST(every_flipped_bit_of_an_encrypted_pack_is_mended)
{
    struct seal_key_file keys[2];
    REQUIRE(rig_make_keys("x", keys));
    flip_all("correct horse");
}

TEST(more_than_parity_can_mend_is_told_and_left)
{
    struct backup_rig rig;
    struct stat st;
    struct stat after;
    char name[HASH_SHA256_HEX];
    REQUIRE(save_with_parity(&rig, NULL));
    _cleanup_close_ int fd = open_only(&rig, REPOSITORY_PACKS, name);
    REQUIRE(fd >= 0 && fstat(fd, &st) == 0);
    for (off_t at = 0; at < st.st_size; at += 4096)
        REQUIRE(flip(fd, at));
    CHECK(repair(&rig) > 0);
    CHECK_EQ(told.mended, 0);
    REQUIRE(fstatat(rig.repository->areas[REPOSITORY_PACKS], name, &after, 0) == 0);
    CHECK(after.st_ino == st.st_ino && after.st_size == st.st_size); /* nothing was made worse */
    backup_rig_close(&rig);
}

TEST(parity_that_is_missing_or_spoilt_is_made_anew)
{
    struct backup_rig rig;
    char name[HASH_SHA256_HEX];
    struct repository_names names = {0};
    REQUIRE(save_with_parity(&rig, NULL));
    REQUIRE(repository_list(rig.repository, REPOSITORY_PARITY, &names, NULL) == 0 &&
            names.count == 1);
    REQUIRE(repository_remove(rig.repository, REPOSITORY_PARITY, names.items[0], NULL) == 0);
    CHECK(!mend_is_prepared(rig.repository, names.items[0]));
    CHECK_EQ(repair(&rig), 0);
    CHECK_EQ(told.prepared, 1);
    CHECK(mend_is_prepared(rig.repository, names.items[0]));
    free(names.items);
    _cleanup_close_ int parity = open_only(&rig, REPOSITORY_PARITY, name);
    _cleanup_close_ int pack = open_only(&rig, REPOSITORY_PACKS, name);
    REQUIRE(flip(parity, 0) && flip(pack, 100));
    CHECK_EQ(repair(&rig), 0);
    CHECK_EQ(told.mended, 1);
    CHECK_EQ(told.prepared, 1);
    CHECK(rig_is_whole(&rig));
    backup_rig_close(&rig);
}

TEST(the_index_is_made_anew_of_the_packs)
{
    struct backup_rig rig;
    char name[HASH_SHA256_HEX];
    REQUIRE(save_with_parity(&rig, NULL));
    _cleanup_close_ int fd = open_only(&rig, REPOSITORY_INDEX, name);
    REQUIRE(flip(fd, 70));
    CHECK_EQ(rig_count_problems(&rig), -EBADMSG);
    CHECK_EQ(repair(&rig), 0);
    CHECK(strstr(words, "index") != NULL);
    CHECK(rig_is_whole(&rig));
    backup_rig_close(&rig);
}

static void
repair_in_child(void *arg)
{
    struct backup_rig *rig = arg;
    if (!loop_rig_open(&rig->loop) || !rig_open_repository(rig))
        _exit(1);
    (void)!repair(rig);
}

TEST(a_crash_of_a_repair_costs_nothing)
{
    struct backup_rig rig;
    unsigned calls = 0;
    REQUIRE(save_with_parity(&rig, NULL));
    for (unsigned n = 1;; n++) {
        char name[HASH_SHA256_HEX];
        _cleanup_close_ int pack = open_only(&rig, REPOSITORY_PACKS, name);
        _cleanup_close_ int index = open_only(&rig, REPOSITORY_INDEX, name);
        tap_note("call %u", n);
        REQUIRE(flip(pack, 5000) && flip(index, 40));
        struct backup_rig child = rig;
        child.repository = NULL;
        bool crashed = crash_at(n, n % 2, repair_in_child, &child);
        calls += crashed;
        CHECK_EQ(repair(&rig), 0);
        CHECK(rig_is_whole(&rig));
        if (!crashed)
            break;
    }
    CHECK(calls > 15);
    backup_rig_close(&rig);
}
