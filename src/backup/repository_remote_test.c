/* In a bucket (tests/s3_server.py): what goes wrong on the way, and here. */

#include "backup/repository_int.h"

#include "backup/test_int.h"
#include "crash.h"
#include "s3_rig.h"
#include "sys/files.h"

struct far {
    struct s3_rig server;
    struct backup_rig rig;
    struct secret key;
};

static bool
open_far(struct far *far)
{
    *far = (struct far){0};
    secret_set(&far->key, S3_RIG_KEY ":" S3_RIG_SECRET);
    if (s3_rig_start(&far->server) < 0)
        return false;
    _cleanup_free_ char *where =
        mem_printf("s3+http://127.0.0.1:%u/bucket/x?region=" S3_RIG_REGION, far->server.port);
    return rig_open_there(&far->rig, where, &far->key);
}

static void
close_far(struct far *far)
{
    backup_rig_close(&far->rig);
    s3_rig_stop(&far->server);
    secret_finish(&far->key);
}

static unsigned
count(struct far *far, enum repository_area area)
{
    struct repository_names names = {0};
    if (repository_list(far->rig.repository, area, &names, NULL) < 0)
        tap_fail(__FILE__, __LINE__, "cannot list");
    free(names.items);
    return (unsigned)names.count;
}

/* Before each thing that is stored there, and each that is written here. */
TEST(a_crash_costs_no_snapshot_elsewhere)
{
    struct far far;
    REQUIRE(open_far(&far));
    rig_settle(&far.rig);
    REQUIRE(rig_save(&far.rig) == 0);
    unsigned calls = 0, kept = 0;
    for (unsigned n = 1;; n++) {
        unsigned before = count(&far, REPOSITORY_SNAPSHOTS);
        REQUIRE(rig_write_noise(&far.rig, "more", 300000, 1000 + n) == 0);
        struct backup_rig child = far.rig;
        child.repository = NULL;
        tap_note("call %u", n);
        bool crashed = crash_at(n, false, rig_save_in_child, &child);
        unsigned after = count(&far, REPOSITORY_SNAPSHOTS);
        calls += crashed;
        kept += crashed && after > before;
        REQUIRE(crashed || after == before + 1);
        if (!crashed)
            break;
        CHECK_EQ(rig_save(&far.rig), 0);
    }
    CHECK(calls > 10);
    CHECK(kept >= 1); /* behind the snapshot */
    CHECK_EQ(count(&far, REPOSITORY_LOCKS), 0);
    CHECK(rig_is_whole(&far.rig));
    close_far(&far);
}

static void
remove_locks(struct far *far)
{
    struct repository *r = far->rig.repository;
    struct repository_names names = {0};
    CHECK_EQ(repository_list(r, REPOSITORY_LOCKS, &names, NULL), 0);
    for (size_t i = 0; i < names.count; i++)
        CHECK_EQ(repository_remove(r, REPOSITORY_LOCKS, names.items[i], NULL), 0);
    free(names.items);
}

static void
save_here(void *arg)
{
    struct backup_rig *rig = arg;
    (void)!rig_save(rig);
}

/* Each call that fails, as on a full disk: an error, or none, and no snapshot that is not whole. */
TEST(a_failure_here_or_there_is_an_error)
{
    struct far far;
    REQUIRE(open_far(&far));
    for (unsigned n = 1;; n++) {
        REQUIRE(rig_write_noise(&far.rig, "more", 300000, 2000 + n) == 0);
        tap_note("call %u", n);
        fail_at(n, false, save_here, &far.rig);
        remove_locks(&far); /* each that is left is more to be read the next time */
        if (fail_left > 0)
            break;
        CHECK(far.rig.r == 0 || far.rig.err.what[0]);
    }
    CHECK(rig_is_whole(&far.rig));
    CHECK_EQ(rig_save(&far.rig), 0);
    close_far(&far);
}

/* What does not fit its name there is told, and never kept here. */
TEST(no_copy_is_kept_of_what_is_damaged)
{
    struct far far;
    struct repository_names names = {0};
    char name[HASH_SHA256_HEX];
    REQUIRE(open_far(&far) && rig_save(&far.rig) == 0);
    struct repository *r = far.rig.repository;
    REQUIRE(repository_list(r, REPOSITORY_SNAPSHOTS, &names, NULL) == 0 && names.count == 1);
    hash_sha256_hex(names.items[0], name);
    CHECK(faccessat(r->areas[REPOSITORY_SNAPSHOTS], name, F_OK, 0) == 0);
    _cleanup_free_ char *flip = mem_printf("/_flip/x/snapshots/%s", name);
    CHECK_STR(s3_rig_tell(&far.server, "POST", flip), "");
    repository_forget(r);
    for (int i = 0; i < 2; i++) {
        _cleanup_repository_object_ struct repository_object object = {0};
        struct err err;
        CHECK(repository_map(r, REPOSITORY_SNAPSHOTS, names.items[0], true, &object, &err) < 0);
        CHECK_EQ(err.id, ERR_SNAPSHOT_DAMAGED);
        CHECK(faccessat(r->areas[REPOSITORY_SNAPSHOTS], name, F_OK, 0) < 0);
    }
    CHECK_STR(s3_rig_tell(&far.server, "POST", flip), "");
    _cleanup_repository_object_ struct repository_object object = {0};
    CHECK_EQ(repository_map(r, REPOSITORY_SNAPSHOTS, names.items[0], true, &object, NULL), 0);
    CHECK(faccessat(r->areas[REPOSITORY_SNAPSHOTS], name, F_OK, 0) == 0);
    free(names.items);
    close_far(&far);
}

/* What a crash has left of what was fetched goes when it is opened again. */
TEST(drafts_of_what_was_fetched_do_not_stay)
{
    static const char name[] = OBJECT_DRAFT "0123456789abcdef";
    struct far far;
    REQUIRE(open_far(&far) && rig_save(&far.rig) == 0);
    repository_forget(far.rig.repository);
    _cleanup_close_ int fd = openat(far.rig.repository->areas[REPOSITORY_PACKS], name,
                                    O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && rig_open_repository(&far.rig));
    CHECK(faccessat(far.rig.repository->areas[REPOSITORY_PACKS], name, F_OK, 0) < 0);
    CHECK(rig_is_whole(&far.rig));
    _cleanup_dir_ DIR *dir = file_open_dir(far.rig.repository->areas[REPOSITORY_SNAPSHOTS], ".", 0);
    unsigned copies = 0;
    for (const struct dirent *e; dir && (e = readdir(dir));)
        copies += object_is_name(e->d_name);
    CHECK_EQ(copies, 1); /* under the name that it has there */
    close_far(&far);
}

/* Who comes second does not take what the first has made. */
TEST(of_two_that_make_it_one_has_it)
{
    struct far far;
    struct repository *again = NULL;
    struct err err;
    REQUIRE(open_far(&far));
    const struct repository_wish wish = {
        .where = far.rig.where, .access = far.rig.access, .make = true};
    CHECK_EQ(repository_open(&wish, &again, &err), -EEXIST);
    CHECK_EQ(err.id, ERR_REPOSITORY_THERE);
    CHECK(rig_open_repository(&far.rig));
    close_far(&far);
}
