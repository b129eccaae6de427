#include "backup/save.h"

#include "backup/cut.h"
#include "backup/test_int.h"
#include "crash.h"

#include <dirent.h>
#include <sys/wait.h>

static unsigned
count_objects(struct backup_rig *rig, enum repository_area area)
{
    struct repository_names names = {0};
    if (repository_list(rig->repository, area, &names, NULL) < 0)
        return 0;
    free(names.items);
    return (unsigned)names.count;
}

static char *
restored(const char *name)
{
    return mem_printf("%s/%s", tap_dir(), name);
}

static int
restore_to(struct backup_rig *rig, const char *to)
{
    return rig_restore(rig, &(struct restore_wish){.to = to});
}

TEST(what_was_backed_up_comes_back_as_it_was)
{
    struct backup_rig rig;
    struct stat st;
    _cleanup_free_ char *to = restored("back"), *sparse = restored("back/sparse");
    REQUIRE(backup_rig_open(&rig));
    CHECK_EQ(rig_save(&rig), 0);
    CHECK_STR(rig.err.what, "");
    CHECK_EQ(rig.told.files, 6);
    CHECK_EQ(rig.told.total_files, 7); /* a file with two names */
    CHECK_EQ(rig.told.changed, 0);
    CHECK(rig.told.stored_bytes < rig.told.new_bytes);
    CHECK_EQ(count_objects(&rig, REPOSITORY_SNAPSHOTS), 1);
    CHECK_EQ(restore_to(&rig, to), 0);
    CHECK_STR(rig.err.what, "");
    CHECK(rig_is_same_tree(rig.source, to));
    CHECK(stat(sparse, &st) == 0 && st.st_blocks * 512 < st.st_size);
    CHECK_EQ(rig.restored.files, 6);
    backup_rig_close(&rig);
}

TEST(what_is_unchanged_is_not_read)
{
    struct backup_rig rig;
    char first[HASH_SHA256_HEX];
    _cleanup_free_ char *to = restored("back"), *path = NULL;
    REQUIRE(backup_rig_open(&rig));
    rig_settle(&rig);
    REQUIRE(rig_save(&rig) == 0);
    memcpy(first, rig.told.snapshot, sizeof(first));
    REQUIRE(rig_save(&rig) == 0);
    CHECK_EQ(rig.told.unchanged_files, 6);
    CHECK_EQ(rig.told.new_blocks, 0);
    CHECK_EQ(count_objects(&rig, REPOSITORY_PACKS), rig.threads);
    CHECK_EQ(count_objects(&rig, REPOSITORY_INDEX), 1);
    /* The same size and time of change; but the inode's own time tells. */
    path = rig_path(&rig, "config.json");
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    const struct timespec times[2] = {{1600000000, 1}, {1600000000, 123456789}};
    REQUIRE(pwrite(fd, "X", 1, 5) == 1 && futimens(fd, times) == 0);
    REQUIRE(rig_save(&rig) == 0);
    CHECK_EQ(rig.told.unchanged_files, 5);
    CHECK_EQ(rig.told.new_blocks, 1);
    REQUIRE(restore_to(&rig, to) == 0);
    CHECK(rig_is_same_tree(rig.source, to));
    backup_rig_close(&rig);
}

/* What has just been written may be written again in the same tick of the clock. */
TEST(what_is_fresh_is_read_again)
{
    struct backup_rig rig;
    REQUIRE(backup_rig_open(&rig));
    rig_settle(&rig);
    REQUIRE(rig_write(&rig, "new", "1", 1) == 0);
    REQUIRE(rig_save(&rig) == 0);
    REQUIRE(rig_save(&rig) == 0);
    CHECK_EQ(rig.told.unchanged_files, 6);
    CHECK_EQ(rig.told.files, 7);
    CHECK_EQ(rig.told.new_blocks, 0);
    backup_rig_close(&rig);
}

TEST(a_dry_backup_writes_nothing)
{
    struct backup_rig rig;
    REQUIRE(backup_rig_open(&rig));
    rig.dry = true;
    CHECK_EQ(rig_save(&rig), 0);
    CHECK_EQ(rig.told.new_bytes, rig.told.total_bytes - 40 + 1); /* the second name has none */
    CHECK_STR(rig.told.snapshot, "");
    for (enum repository_area i = 0; i < REPOSITORY_AREAS; i++)
        CHECK_EQ(count_objects(&rig, i), 0);
    backup_rig_close(&rig);
}

/* Content that others have already is not stored again, whatever it is called and wherever it lies. */
TEST(the_same_tensors_are_stored_once)
{
    struct backup_rig rig;
    uint64_t before;
    REQUIRE(backup_rig_open(&rig));
    REQUIRE(rig_save(&rig) == 0);
    before = rig.told.new_blocks;
    REQUIRE(rig_write_weights(&rig, "again.safetensors", 1) == 0);
    REQUIRE(rig_save(&rig) == 0);
    CHECK_EQ(rig.told.new_blocks, 0);
    CHECK(before > 5);
    backup_rig_close(&rig);
}

TEST(links_that_lead_out_are_told)
{
    struct backup_rig rig;
    _cleanup_free_ char *a = NULL, *b = NULL, *c = NULL;
    REQUIRE(backup_rig_open(&rig));
    a = rig_path(&rig, "sub/out");
    b = rig_path(&rig, "sub/in");
    c = rig_path(&rig, "absolute");
    REQUIRE(symlink("../../x", a) == 0 && symlink("./../sub/none/..", b) == 0 &&
            symlink("/x", c) == 0);
    REQUIRE(rig_save(&rig) == 0);
    CHECK_EQ(rig.told.astray, 2);
    CHECK_STR(rig.told.first_astray, "absolute");
    backup_rig_close(&rig);
}

TEST(a_source_that_is_none_is_told)
{
    struct backup_rig rig;
    REQUIRE(backup_rig_open(&rig));
    (void)snprintf(rig.source, sizeof(rig.source), "%s/nothing", tap_dir());
    CHECK_EQ(rig_save(&rig), -ENOENT);
    CHECK(strstr(rig.err.what, "nothing") != NULL);
    backup_rig_close(&rig);
}

/* ---- one that breaks off ---- */

/* Whatever happens, and wherever: the snapshots that were there are whole, and the next backup succeeds
 * without anybody's help. */
TEST(a_crash_costs_no_snapshot)
{
    struct backup_rig rig;
    char first[HASH_SHA256_HEX];
    REQUIRE(backup_rig_open(&rig));
    rig_settle(&rig);
    REQUIRE(rig_save(&rig) == 0);
    memcpy(first, rig.told.snapshot, sizeof(first));
    unsigned kept = 0, calls = 0;
    for (int torn = 0; torn < 2; torn++)
        for (unsigned n = 1;; n++) {
            _cleanup_free_ char *name = mem_printf("back%d-%u", torn, n), *to = restored(name);
            unsigned before = count_objects(&rig, REPOSITORY_SNAPSHOTS);
            tap_note("call %u, torn %d", n, torn);
            REQUIRE(rig_write_noise(&rig, "more", 300000, 1000 * n + (unsigned)torn) == 0);
            struct backup_rig child = rig;
            child.repository = NULL;
            bool crashed = crash_at(n, torn, rig_save_in_child, &child);
            unsigned after = count_objects(&rig, REPOSITORY_SNAPSHOTS);
            kept += crashed && after > before;
            calls += crashed;
            REQUIRE(crashed || after == before + 1);
            if (after > before)
                CHECK(rig_is_whole(&rig)); /* what a snapshot tells of was there before it */
            memcpy(rig.told.snapshot, first, sizeof(first));
            if (n % 8 == 0) {
                CHECK_EQ(restore_to(&rig, to), 0);
            }
            CHECK_EQ(rig_save(&rig), 0);
            if (!crashed)
                break;
        }
    CHECK(calls > 20);
    CHECK(kept >= 1); /* behind the rename of the snapshot */
    backup_rig_close(&rig);
}

/* One that was killed before it had a head is nobody's. */
TEST(an_empty_draft_of_a_snapshot_goes_with_the_next_backup)
{
    static const char name[] = OBJECT_DRAFT "0123456789abcdef";
    struct backup_rig rig;
    REQUIRE(backup_rig_open(&rig));
    const int dir = rig.repository->areas[REPOSITORY_SNAPSHOTS];
    _cleanup_close_ int fd = openat(dir, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && rig_save(&rig) == 0);
    CHECK(faccessat(dir, name, F_OK, 0) < 0);
    backup_rig_close(&rig);
}

/* What was stored before it was killed is not stored again, and whole files are not read again. */
TEST(a_backup_goes_on_where_it_was_stopped)
{
    struct backup_rig rig;
    struct save *s = NULL;
    REQUIRE(backup_rig_open(&rig));
    rig_settle(&rig);
    const struct save_wish wish = {.repository = rig.repository,
                                   .source = rig.source,
                                   .host = "gpu1",
                                   .subject = "models",
                                   .name = "phi3",
                                   .type = "",
                                   .threads = 1};
    REQUIRE(rig_write_noise(&rig, "zlarge", 40 * MIB, 9) == 0);
    rig_settle(&rig);
    REQUIRE(save_new(rig.loop.loop, &wish, backup_rig_ended, &rig, &s, &rig.err) == 0);
    while (save_told(s)->bytes < 20 * MIB)
        loop_rig_run(&rig.loop, 1000);
    save_stop(s);
    loop_rig_run(&rig.loop, LOOP_PATIENCE_US);
    CHECK_EQ(rig.r, -ECANCELED);
    uint64_t stored = save_told(s)->new_bytes;
    save_free(s);
    CHECK_EQ(count_objects(&rig, REPOSITORY_SNAPSHOTS), 0);
    REQUIRE(rig_save(&rig) == 0);
    CHECK_EQ(rig.told.unchanged_files, 6);
    /* but for what was read, and was not yet stored */
    CHECK(rig.told.new_bytes + stored <= rig.told.total_bytes + 3 * CUT_MAX);
    CHECK(rig.told.new_bytes < 40 * MIB - 8 * MIB);
    backup_rig_close(&rig);
}

TEST(a_disk_that_fails_fails_the_backup)
{
    struct backup_rig rig;
    unsigned failed = 0;
    REQUIRE(backup_rig_open(&rig));
    for (unsigned n = 1; n < 60; n++) {
        tap_note("call %u", n);
        REQUIRE(rig_write_noise(&rig, "more", 300000, n) == 0);
        fail_left = (int)n;
        fail_dead = false;
        fault_before = fail_before;
        int r = rig_save(&rig);
        fault_before = NULL;
        failed += r < 0;
        CHECK(r == 0 || rig.err.what[0] != '\0');
        CHECK(r == 0 || rig.told.snapshot[0] == '\0' || r == -EIO);
        if (r == 0 && fail_left > 0)
            break;
    }
    CHECK(failed > 10);
    CHECK_EQ(rig_save(&rig), 0);
    backup_rig_close(&rig);
}
