#include "backup/restore.h"

#include "backup/test_int.h"
#include "crash.h"
#include "sys/files.h"

static char *
beside(const char *name)
{
    return mem_printf("%s/%s", tap_dir(), name);
}

static bool
rig_saved(struct backup_rig *rig)
{
    return backup_rig_open(rig) && rig_save(rig) == 0;
}

static unsigned
count_entries(const char *path)
{
    _cleanup_dir_ DIR *dir = file_open_dir(AT_FDCWD, path, 0);
    unsigned count = 0;
    for (const struct dirent *e; dir && (e = readdir(dir));)
        count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    return count;
}

TEST(a_restore_takes_no_place_that_is_taken)
{
    struct backup_rig rig;
    struct stat st;
    _cleanup_free_ char *to = beside("back"), *other = beside("back/other"), *file = beside("file");
    REQUIRE(rig_saved(&rig));
    REQUIRE(mkdir(to, 0755) == 0 && mkdir(other, 0755) == 0);
    CHECK_EQ(rig_restore(&rig, &(struct restore_wish){.to = to}), -EEXIST);
    CHECK_EQ(rig.err.id, ERR_RESTORE_THERE);
    CHECK(stat(other, &st) == 0);
    CHECK_EQ(rig_restore(&rig, &(struct restore_wish){.to = to, .replace = true}), 0);
    CHECK(stat(other, &st) < 0);
    CHECK(rig_is_same_tree(rig.source, to));
    CHECK_EQ(count_entries(tap_dir()), 3); /* source, repository, back: what it was is gone */
    _cleanup_close_ int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    CHECK_EQ(rig_restore(&rig, &(struct restore_wish){.to = file, .replace = true}), -EEXIST);
    backup_rig_close(&rig);
}

TEST(an_empty_directory_may_be_restored_into)
{
    struct backup_rig rig;
    _cleanup_free_ char *to = beside("back"), *slash = beside("back//");
    REQUIRE(rig_saved(&rig));
    REQUIRE(mkdir(to, 0755) == 0);
    CHECK_EQ(rig_restore(&rig, &(struct restore_wish){.to = slash}), 0);
    CHECK(rig_is_same_tree(rig.source, to));
    backup_rig_close(&rig);
}

TEST(a_part_is_restored_with_the_directories_above_it)
{
    struct backup_rig rig;
    struct stat st;
    _cleanup_free_ char *to = beside("back"), *there = beside("back/sub/a \\ b\n"),
                        *not_there = beside("back/config.json"), *none = beside("none");
    REQUIRE(rig_saved(&rig));
    CHECK_EQ(rig_restore(&rig, &(struct restore_wish){.to = to, .path = "sub/a \\ b\n"}), 0);
    CHECK(stat(there, &st) == 0 && stat(not_there, &st) < 0);
    CHECK_EQ(rig.restored.files, 1);
    CHECK_EQ(rig_restore(&rig, &(struct restore_wish){.to = none, .path = "sub/nothing"}), -ENOENT);
    CHECK_EQ(rig.err.id, ERR_SNAPSHOT_NONE);
    CHECK(strstr(rig.err.what, "sub/nothing") != NULL);
    CHECK(stat(none, &st) < 0);
    backup_rig_close(&rig);
}

/* In place: what is as it should be keeps its inode. */
TEST(in_place_only_what_differs_is_written)
{
    struct backup_rig rig;
    struct stat before, after, changed_before, changed_after;
    _cleanup_free_ char *to = beside("back"), *same = beside("back/model.safetensors"),
                        *changed = beside("back/tokenizer.bin"), *gone = beside("back/empty"),
                        *other = beside("back/other"), *shorter = beside("back/sparse");
    REQUIRE(rig_saved(&rig));
    REQUIRE(rig_restore(&rig, &(struct restore_wish){.to = to}) == 0);
    REQUIRE(stat(same, &before) == 0 && stat(changed, &changed_before) == 0);
    _cleanup_close_ int fd = open(changed, O_WRONLY | O_CLOEXEC);
    REQUIRE(pwrite(fd, "?", 1, 600000) == 1 && unlink(gone) == 0 && truncate(shorter, 5) == 0 &&
            chmod(same, 0600) == 0);
    CHECK_EQ(rig_restore(&rig, &(struct restore_wish){.to = to, .in_place = true}), 0);
    REQUIRE(stat(same, &after) == 0 && stat(changed, &changed_after) == 0);
    CHECK_EQ(after.st_ino, before.st_ino);
    CHECK(changed_after.st_ino != changed_before.st_ino);
    CHECK_EQ(rig.restored.same_files, 3);
    CHECK(rig_is_same_tree(rig.source, to));
    REQUIRE(mkdir(other, 0700) == 0);
    CHECK_EQ(rig_restore(&rig, &(struct restore_wish){.to = to, .in_place = true}), 0);
    CHECK_EQ(rig.restored.same_files, 6);
    CHECK(stat(other, &after) == 0); /* is nobody's business */
    backup_rig_close(&rig);
}

/* A link that has come where a directory was leads nowhere. */
TEST(a_restore_follows_no_link)
{
    struct backup_rig rig;
    struct stat st;
    _cleanup_free_ char *to = beside("back"), *sub = beside("back/sub"), *away = beside("away"),
                        *written = beside("away/none");
    REQUIRE(rig_saved(&rig));
    REQUIRE(rig_restore(&rig, &(struct restore_wish){.to = to}) == 0);
    REQUIRE(file_remove_tree(sub, NULL) == 0 && mkdir(away, 0755) == 0 && symlink(away, sub) == 0);
    CHECK(rig_restore(&rig, &(struct restore_wish){.to = to, .in_place = true}) < 0);
    CHECK_EQ(rig.err.id, ERR_RESTORE_THERE);
    CHECK(stat(written, &st) < 0);
    backup_rig_close(&rig);
}

static void
restore_in_child(void *arg)
{
    struct backup_rig *rig = arg;
    _cleanup_free_ char *to = beside("back");
    if (!loop_rig_open(&rig->loop) || !rig_open_repository(rig))
        _exit(1);
    (void)!rig_restore(rig, &(struct restore_wish){.to = to});
}

/* The directory is there as a whole or not at all, and the next try ends what this one has begun. */
TEST(a_crash_leaves_all_or_nothing)
{
    struct backup_rig rig;
    struct stat st;
    _cleanup_free_ char *to = beside("back");
    unsigned calls = 0;
    REQUIRE(rig_saved(&rig));
    for (unsigned n = 1;; n++) {
        struct backup_rig child = rig;
        child.repository = NULL;
        tap_note("call %u", n);
        bool crashed = crash_at(n, false, restore_in_child, &child);
        bool there = stat(to, &st) == 0;
        calls += crashed;
        REQUIRE(crashed || there);
        CHECK(!there || rig_is_same_tree(rig.source, to));
        if (there && crashed)
            REQUIRE(file_remove_tree(to, NULL) == 0);
        if (!crashed)
            break;
        CHECK_EQ(rig_restore(&rig, &(struct restore_wish){.to = to}), 0);
        CHECK(rig_is_same_tree(rig.source, to));
        REQUIRE(file_remove_tree(to, NULL) == 0);
    }
    CHECK(calls > 30);
    backup_rig_close(&rig);
}

/* Of each area, each byte: found, or of no matter; never restored as something else. */
TEST(a_flipped_bit_is_never_restored)
{
    struct backup_rig rig;
    static const enum repository_area areas[] = {REPOSITORY_PACKS, REPOSITORY_INDEX,
                                                 REPOSITORY_SNAPSHOTS};
    unsigned found = 0, harmless = 0;
    REQUIRE(backup_rig_open(&rig));
    rig.threads = 1; /* one pack, most of which is records */
    REQUIRE(rig_save(&rig) == 0);
    for (size_t a = 0; a < ARRAY_SIZE(areas); a++) {
        struct repository_names names = {0};
        char name[HASH_SHA256_HEX];
        struct stat st;
        REQUIRE(repository_list(rig.repository, areas[a], &names, NULL) == 0 && names.count > 0);
        hash_sha256_hex(names.items[0], name);
        free(names.items);
        _cleanup_close_ int fd = openat(rig.repository->areas[areas[a]], name, O_RDWR | O_CLOEXEC);
        REQUIRE(fd >= 0 && fstat(fd, &st) == 0);
        for (off_t at = 0; at < st.st_size; at += st.st_size / 23 + 1) {
            _cleanup_free_ char *to = mem_printf("%s/back%zu-%lld", tap_dir(), a, (long long)at);
            uint8_t byte, flipped;
            REQUIRE(pread(fd, &byte, 1, at) == 1);
            flipped = (uint8_t)(byte ^ 1 << at % 8);
            REQUIRE(pwrite(fd, &flipped, 1, at) == 1);
            tap_note("area %zu, byte %lld", a, (long long)at);
            int r = rig_restore(&rig, &(struct restore_wish){.to = to});
            found += r < 0;
            harmless += r == 0;
            CHECK(r == 0 ? rig_is_same_tree(rig.source, to) : rig.err.what[0] != '\0');
            REQUIRE(pwrite(fd, &byte, 1, at) == 1);
            _cleanup_free_ char *gone = mem_printf("%s", to);
            (void)!file_remove_tree(gone, NULL);
        }
    }
    tap_note("%u found, %u harmless", found, harmless);
    CHECK(found > 60);
    CHECK(harmless < 6);
    backup_rig_close(&rig);
}
