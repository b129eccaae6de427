#include "backup/export.h"

#include "backup/test_int.h"
#include "crash.h"
#include "sys/files.h"

#include <sys/file.h>
#include <zstd.h>

struct exporting {
    struct backup_rig rig;
    struct export_wish wish;
    struct export_told told;
    bool stops; /* when its file is there */
    struct export *running;
    struct loop_defer stop;
    char to[300], draft[300];
};

static bool
exporting_open(struct exporting *t)
{
    *t = (struct exporting){0};
    (void)snprintf(t->to, sizeof(t->to), "%s/phi3.tar.zst", tap_dir());
    (void)snprintf(t->draft, sizeof(t->draft), "%s/.phi3.tar.zst.export", tap_dir());
    t->wish.to = t->to;
    return backup_rig_open(&t->rig) && rig_save(&t->rig) == 0;
}

static void
stop_soon(struct loop_defer *defer)
{
    struct exporting *t = container_of(defer, struct exporting, stop);
    struct stat st;
    if (lstat(t->draft, &st) == 0)
        export_stop(t->running);
    else
        loop_defer(t->rig.loop.loop, &t->stop);
}

static int
run_export(struct exporting *t)
{
    struct backup_rig *rig = &t->rig;
    struct export *x = NULL;
    t->wish.repository = rig->repository;
    t->wish.threads = rig->threads;
    object_digest(rig->told.snapshot, t->wish.snapshot);
    rig->r = -EINPROGRESS;
    rig->err = (struct err){0};
    int r = export_new(rig->loop.loop, &t->wish, backup_rig_ended, rig, &x, &rig->err);
    if (r < 0)
        return r;
    t->running = x;
    t->stop.run = stop_soon;
    if (t->stops)
        loop_defer(rig->loop.loop, &t->stop);
    loop_rig_run(&rig->loop, LOOP_PATIENCE_US);
    loop_defer_cancel(rig->loop.loop, &t->stop);
    t->told = *export_told(x);
    export_free(x);
    return rig->r;
}

/* Whether it has its end: everything else is proved with tar(1). */
static bool
is_whole(const char *path)
{
    _cleanup_buf_ struct buf bytes = BUF_INIT(8 * MIB);
    return file_read(path, &bytes, NULL) == 0 &&
           ZSTD_findFrameCompressedSize(bytes.data, bytes.len) == bytes.len;
}

static bool
is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

TEST(an_export_counts_what_it_has_written)
{
    struct exporting t;
    struct stat st;
    REQUIRE(exporting_open(&t));
    t.wish.dry = true;
    CHECK_EQ(run_export(&t), 0);
    CHECK_EQ(t.told.total_files, 6);
    CHECK_EQ(t.told.files, 0);
    CHECK(!is_there(t.to) && !is_there(t.draft));
    t.wish.dry = false;
    CHECK_EQ(run_export(&t), 0);
    CHECK_EQ(t.told.files, t.told.total_files);
    CHECK_EQ(t.told.bytes, t.told.total_bytes);
    REQUIRE(stat(t.to, &st) == 0);
    CHECK_EQ(t.told.stored_bytes, st.st_size);
    CHECK_EQ(st.st_mode & 0777, 0600);
    CHECK(is_whole(t.to) && !is_there(t.draft));
    backup_rig_close(&t.rig);
}

TEST(an_export_takes_no_place_that_is_taken)
{
    struct exporting t;
    REQUIRE(exporting_open(&t));
    REQUIRE(file_write(t.to, "mine", 4, 0644, NULL) == 0);
    CHECK_EQ(run_export(&t), -EEXIST);
    CHECK_EQ(t.rig.err.id, ERR_RESTORE_THERE);
    CHECK(strstr(t.rig.err.what, t.to) != NULL && !is_whole(t.to));
    t.wish.replace = true;
    CHECK_EQ(run_export(&t), 0);
    CHECK(is_whole(t.to));
    t.wish.to = tap_dir(); /* a directory is never replaced */
    CHECK_EQ(run_export(&t), -EEXIST);
    backup_rig_close(&t.rig);
}

TEST(what_an_export_has_left_is_taken_over_unless_somebody_writes_it)
{
    struct exporting t;
    REQUIRE(exporting_open(&t));
    _cleanup_close_ int fd = open(t.draft, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && ftruncate(fd, 8 * MIB) == 0 && flock(fd, LOCK_EX) == 0);
    CHECK_EQ(run_export(&t), -EBUSY);
    CHECK(is_there(t.draft) && !is_there(t.to));
    REQUIRE(flock(fd, LOCK_UN) == 0);
    CHECK_EQ(run_export(&t), 0);
    CHECK(is_whole(t.to) && !is_there(t.draft));
    backup_rig_close(&t.rig);
}

TEST(an_export_that_is_stopped_leaves_nothing)
{
    struct exporting t;
    REQUIRE(exporting_open(&t));
    t.stops = true;
    CHECK_EQ(run_export(&t), -ECANCELED);
    CHECK(strstr(t.rig.err.what, t.to) != NULL);
    CHECK(!is_there(t.to) && !is_there(t.draft));
    backup_rig_close(&t.rig);
}

TEST(a_part_is_exported_and_a_name_without_its_file_is_not)
{
    struct exporting t;
    REQUIRE(exporting_open(&t));
    t.wish.path = "sub/a \\ b\n";
    CHECK_EQ(run_export(&t), 0);
    CHECK_EQ(t.told.files, 1);
    CHECK_EQ(t.told.bytes, 1);
    t.wish.replace = true;
    t.wish.path = "sub";
    CHECK_EQ(run_export(&t), -ENOENT);
    CHECK(strstr(t.rig.err.what, "'sub/zhard'") && strstr(t.rig.err.what, "'config.json'"));
    t.wish.path = "nothing";
    CHECK_EQ(run_export(&t), -ENOENT);
    CHECK_EQ(t.rig.err.id, ERR_SNAPSHOT_NONE);
    CHECK(is_whole(t.to));
    backup_rig_close(&t.rig);
}

static void
export_once(void *arg)
{
    struct exporting *t = arg;
    t->rig.r = run_export(t);
}

static void
export_in_child(void *arg)
{
    struct exporting *t = arg;
    if (!loop_rig_open(&t->rig.loop) || !rig_open_repository(&t->rig))
        _exit(1);
    (void)!run_export(t);
}

/* Of each call that changes files, in turn: it fails, and nothing is left; the process ends there, and
 * the next export ends what it has begun. */
TEST(an_export_is_there_as_a_whole_or_not_at_all)
{
    struct exporting t;
    unsigned calls = 0;
    REQUIRE(exporting_open(&t));
    for (unsigned n = 1;; n++) {
        tap_note("call %u fails", n);
        fail_at(n, false, export_once, &t);
        bool all = fail_left > 0;
        CHECK(!is_there(t.draft));
        CHECK_EQ(is_there(t.to), is_whole(t.to));
        CHECK(t.rig.r == 0 ? is_there(t.to) : t.rig.err.what[0] != '\0');
        if (is_there(t.to))
            REQUIRE(unlink(t.to) == 0);
        if (all)
            break;
    }
    for (unsigned n = 1;; n++) {
        struct exporting child = t;
        child.rig.repository = NULL;
        tap_note("ends at call %u", n);
        bool crashed = crash_at(n, false, export_in_child, &child);
        calls += crashed;
        CHECK_EQ(is_there(t.to), is_whole(t.to));
        if (!crashed)
            break;
        if (is_there(t.to))
            REQUIRE(unlink(t.to) == 0);
        CHECK_EQ(run_export(&t), 0);
        CHECK(is_whole(t.to) && !is_there(t.draft));
        REQUIRE(unlink(t.to) == 0);
    }
    CHECK(calls > 6);
    backup_rig_close(&t.rig);
}

/* Into a file: there is none. Into what is open: it has no end. */
TEST(a_flipped_bit_is_never_exported)
{
    struct exporting t;
    struct repository_names names = {0};
    char name[HASH_SHA256_HEX], path[320];
    struct stat st;
    unsigned found = 0;
    REQUIRE(exporting_open(&t));
    t.rig.threads = 1;
    REQUIRE(repository_list(t.rig.repository, REPOSITORY_PACKS, &names, NULL) == 0);
    REQUIRE(names.count > 0);
    hash_sha256_hex(names.items[0], name);
    free(names.items);
    (void)snprintf(path, sizeof(path), "%s/open", tap_dir());
    _cleanup_close_ int pack =
        openat(t.rig.repository->areas[REPOSITORY_PACKS], name, O_RDWR | O_CLOEXEC);
    _cleanup_close_ int out = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    REQUIRE(pack >= 0 && out >= 0 && fstat(pack, &st) == 0);
    for (off_t at = 0; at < st.st_size; at += st.st_size / 17 + 1) {
        uint8_t byte, flipped;
        REQUIRE(pread(pack, &byte, 1, at) == 1);
        flipped = (uint8_t)(byte ^ 1 << at % 8);
        REQUIRE(pwrite(pack, &flipped, 1, at) == 1 && ftruncate(out, 0) == 0);
        tap_note("byte %lld", (long long)at);
        t.wish.to = t.to;
        int r = run_export(&t);
        found += r < 0;
        CHECK(!is_there(t.draft));
        CHECK_EQ(is_there(t.to), r == 0);
        CHECK(r == 0 || t.rig.err.what[0] != '\0');
        (void)unlink(t.to);
        t.wish.to = NULL;
        t.wish.fd = out;
        REQUIRE(lseek(out, 0, SEEK_SET) == 0);
        CHECK_EQ(run_export(&t), r);
        CHECK_EQ(is_whole(path), r == 0);
        REQUIRE(pwrite(pack, &byte, 1, at) == 1);
    }
    tap_note("%u found", found);
    CHECK(found > 10);
    backup_rig_close(&t.rig);
}
