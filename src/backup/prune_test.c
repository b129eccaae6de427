#include "backup/prune.h"

#include "backup/blocks.h"
#include "backup/lock.h"
#include "backup/mark.h"
#include "backup/test_int.h"
#include "crash.h"
#include "sys/clock.h"

#define NEVER ((uint64_t)(90 * 86400))

static struct prune_told told;

static int
prune(struct backup_rig *rig, const struct keep_wish *keep)
{
    const struct prune_rule rule = {.subject = "models", .keep = *keep};
    const struct prune_wish wish = {
        .repository = rig->repository, .rules = &rule, .rules_count = 1, .dry = rig->dry};
    struct prune *p = NULL;
    rig->r = -EINPROGRESS;
    rig->err = (struct err){0};
    int r = prune_new(rig->loop.loop, &wish, backup_rig_ended, rig, &p, &rig->err);
    if (r < 0)
        return r;
    loop_rig_run(&rig->loop, LOOP_PATIENCE_US);
    told = *prune_told(p);
    prune_free(p);
    return rig->r;
}

static const struct keep_wish last_one = {.last = 1};
static const struct keep_wish last_one_undelete = {.last = 1, .undelete_s = NEVER};

static size_t
count(struct backup_rig *rig, enum repository_area area)
{
    struct repository_names names = {0};
    if (repository_list(rig->repository, area, &names, NULL) < 0)
        return SIZE_MAX;
    free(names.items);
    return names.count;
}

/* Three snapshots, of which the last is wanted, and the second alone needs a pack. */
static bool
save_some(struct backup_rig *rig)
{
    rig_settle(rig);
    return rig_save(rig) == 0 && rig_write_noise(rig, "more", 400000, 1) == 0 &&
           rig_save(rig) == 0 && rig_write_noise(rig, "more", 400000, 2) == 0 && rig_save(rig) == 0;
}

static int
restore(struct backup_rig *rig, const char *name)
{
    _cleanup_free_ char *to = mem_printf("%s/%s", tap_dir(), name);
    return rig_restore(rig, &(struct restore_wish){.to = to});
}

TEST(what_is_not_wanted_goes_and_the_rest_stays_whole)
{
    struct backup_rig rig;
    REQUIRE(backup_rig_open(&rig) && save_some(&rig));
    CHECK_EQ(prune(&rig, &last_one_undelete), 0);
    CHECK_STR(rig.err.what, "");
    CHECK_EQ(told.deleted, 2);
    CHECK_EQ(told.removed_packs, 0);
    CHECK_EQ(count(&rig, REPOSITORY_SNAPSHOTS), 3); /* they can come back */
    CHECK_EQ(prune(&rig, &last_one), 0);
    CHECK_EQ(told.removed, 2);
    CHECK_EQ(told.removed_packs, 1);
    CHECK(told.removed_bytes > 390000 && told.removed_bytes < 420000);
    CHECK_EQ(count(&rig, REPOSITORY_SNAPSHOTS), 1);
    CHECK_EQ(count(&rig, REPOSITORY_SUMS), 1);
    CHECK_EQ(count(&rig, REPOSITORY_LOCKS), 0);
    CHECK(rig_is_whole(&rig));
    CHECK_EQ(restore(&rig, "back"), 0);
    CHECK_EQ(prune(&rig, &last_one), 0);
    CHECK_EQ(told.unneeded_bytes / 10000, 0); /* but heads and trailers */
    CHECK_EQ(told.removed_packs + told.deleted + told.removed, 0);
    backup_rig_close(&rig);
}

TEST(a_dry_pruning_removes_nothing)
{
    struct backup_rig rig;
    REQUIRE(backup_rig_open(&rig) && save_some(&rig));
    rig.dry = true;
    CHECK_EQ(prune(&rig, &last_one), 0);
    CHECK_EQ(told.deleted, 2);
    rig.dry = false;
    CHECK_EQ(count(&rig, REPOSITORY_MARKS), 0);
    backup_rig_close(&rig);
}

TEST(what_is_pinned_or_verified_last_stays)
{
    struct backup_rig rig;
    struct block_id first;
    struct marks marks = {0};
    size_t taken = 0;
    REQUIRE(backup_rig_open(&rig));
    rig_settle(&rig);
    REQUIRE(rig_save(&rig) == 0 && rig_is_whole(&rig)); /* which marks it as good */
    object_digest(rig.told.snapshot, first.bytes);
    REQUIRE(rig_write_noise(&rig, "more", 400000, 1) == 0 && rig_save(&rig) == 0);
    CHECK_EQ(prune(&rig, &last_one), 0);
    CHECK_EQ(told.deleted, 0); /* the newest that is known to be good */
    REQUIRE(rig_is_whole(&rig));
    const struct mark_wish pin = {.kind = MARK_PINNED, .names = &first, .count = 1};
    REQUIRE(mark_write(rig.repository, &pin, NULL) == 0);
    CHECK_EQ(prune(&rig, &last_one), 0);
    CHECK_EQ(told.deleted, 0);
    REQUIRE(marks_read(rig.repository, &marks, NULL) == 0);
    CHECK_EQ(marks_take_back(rig.repository, &marks, MARK_PINNED, &first, &taken, NULL), 0);
    CHECK_EQ(taken, 1);
    marks_finish(&marks);
    CHECK_EQ(prune(&rig, &last_one), 0);
    CHECK_EQ(told.deleted, 1);
    backup_rig_close(&rig);
}

/* A pack of which little is needed: what is needed moves. */
TEST(what_is_needed_of_a_pack_moves_into_another)
{
    struct backup_rig rig;
    _cleanup_free_ char *more = NULL;
    REQUIRE(backup_rig_open(&rig));
    rig.threads = 1;
    more = rig_path(&rig, "zmore");
    REQUIRE(rig_write_noise(&rig, "zmore", 9 * MIB, 3) == 0);
    rig_settle(&rig);
    REQUIRE(rig_save(&rig) == 0 && unlink(more) == 0 && rig_save(&rig) == 0);
    CHECK_EQ(count(&rig, REPOSITORY_PACKS), 1);
    REQUIRE(prune(&rig, &last_one) == 0 && prune(&rig, &last_one) == 0);
    CHECK(told.copied_bytes > MIB && told.copied_bytes < 4 * MIB);
    CHECK_EQ(told.removed_packs, 1);
    CHECK(told.removed_bytes > 9 * MIB);
    CHECK(rig_is_whole(&rig));
    CHECK_EQ(restore(&rig, "back"), 0);
    backup_rig_close(&rig);
}

/* ---- beside others ---- */

/* A backup that began before the pruning, and relies on what it found; it ends after. */
TEST(what_a_backup_relies_on_is_not_removed_beside_it)
{
    struct backup_rig rig;
    struct lock *writer = NULL;

    char first[HASH_SHA256_HEX];
    REQUIRE(backup_rig_open(&rig) && save_some(&rig));
    REQUIRE(prune(&rig, &last_one_undelete) == 0);
    REQUIRE(lock_take(rig.loop.loop, rig.repository, LOCK_WRITES, "test", &writer, NULL) == 0);
    size_t packs = count(&rig, REPOSITORY_PACKS);
    CHECK_EQ(prune(&rig, &last_one), 0);
    CHECK_EQ(told.removed, 2);
    CHECK_EQ(told.removed_packs, 0);
    CHECK_EQ(told.going_packs, 1);
    CHECK_EQ(prune(&rig, &last_one), 0); /* it is still at work */
    CHECK_EQ(told.going_packs, 1);
    CHECK_EQ(count(&rig, REPOSITORY_PACKS), packs);
    /* One that begins now knows, and stores the same anew. */
    REQUIRE(rig_write_noise(&rig, "more", 400000, 1) == 0 && rig_save(&rig) == 0);
    CHECK(rig.told.new_bytes == 400000);
    memcpy(first, rig.told.snapshot, sizeof(first));
    lock_release(writer);
    CHECK_EQ(prune(&rig, &last_one), 0);
    CHECK_EQ(told.removed_packs, 1);
    CHECK(rig_is_whole(&rig));

    backup_rig_close(&rig);
}

/* What was going is needed again, by one who could not know. */
TEST(a_pack_that_is_needed_again_stays)
{
    struct backup_rig rig;
    struct lock *writer = NULL;
    struct marks marks = {0};
    REQUIRE(backup_rig_open(&rig) && save_some(&rig));
    REQUIRE(prune(&rig, &last_one_undelete) == 0);
    REQUIRE(lock_take(rig.loop.loop, rig.repository, LOCK_WRITES, "test", &writer, NULL) == 0);
    REQUIRE(prune(&rig, &last_one) == 0 && told.going_packs == 1);
    /* As it would have been seen before it was said: without the mark. */
    REQUIRE(marks_read(rig.repository, &marks, NULL) == 0);
    struct mark going = {0};
    vec_foreach (&marks.items, mark)
        if (mark->kind == MARK_GOING)
            going = *mark;
    REQUIRE(going.names.count == 1 && going.has_waited && going.waits_for.count == 1);
    REQUIRE(repository_remove(rig.repository, REPOSITORY_MARKS, going.name, NULL) == 0);
    REQUIRE(rig_write_noise(&rig, "more", 400000, 1) == 0 && rig_save(&rig) == 0);
    CHECK_EQ(rig.told.new_bytes, 0);
    const struct mark_wish again = {.kind = MARK_GOING,
                                    .names = going.names.items,
                                    .count = 1,
                                    .waits_for = going.waits_for.items,
                                    .waits_count = 1};
    REQUIRE(mark_write(rig.repository, &again, NULL) == 0);
    marks_finish(&marks);
    lock_release(writer);
    CHECK_EQ(prune(&rig, &last_one), 0);
    CHECK_EQ(told.removed_packs, 0);
    CHECK(rig_is_whole(&rig));
    CHECK_EQ(restore(&rig, "back"), 0);
    backup_rig_close(&rig);
}

TEST(two_prunings_at_once_are_refused)
{
    struct backup_rig rig;
    struct lock *other = NULL;
    REQUIRE(backup_rig_open(&rig) && save_some(&rig));
    REQUIRE(lock_take(rig.loop.loop, rig.repository, LOCK_PRUNES, "test", &other, NULL) == 0);
    CHECK_EQ(prune(&rig, &last_one), -EBUSY);
    CHECK_EQ(rig.err.id, ERR_REPOSITORY_BUSY);
    lock_release(other);
    CHECK_EQ(prune(&rig, &last_one), 0);
    backup_rig_close(&rig);
}

/* ---- locks ---- */

static void
lock_in_child(void *arg)
{
    struct backup_rig *rig = arg;
    struct lock *lock = NULL;
    if (!loop_rig_open(&rig->loop) || !rig_open_repository(rig) ||
        lock_take(rig->loop.loop, rig->repository, LOCK_PRUNES, "test", &lock, NULL) < 0)
        _exit(1);
    _exit(CRASHED); /* and its lock stays */
}

TEST(a_lock_of_a_process_that_has_ended_holds_nobody)
{
    struct backup_rig rig;
    REQUIRE(backup_rig_open(&rig) && save_some(&rig));
    struct backup_rig child = rig;
    child.repository = NULL;
    REQUIRE(crash_at(1000, false, lock_in_child, &child));
    CHECK_EQ(count(&rig, REPOSITORY_LOCKS), 1);
    CHECK_EQ(prune(&rig, &last_one), 0);
    CHECK_EQ(count(&rig, REPOSITORY_LOCKS), 0);
    backup_rig_close(&rig);
}

/* That of another host, which is silent: it counts for half an hour. Who has lost his own commits nothing. */
TEST(a_lock_without_a_sign_of_life_expires)
{
    struct backup_rig rig;
    struct lock *silent = NULL, *own = NULL;
    struct locks locks = {0};
    struct err err;
    const uint64_t expired_s = LOCK_EXPIRES_US / 1000000 + 1;
    REQUIRE(backup_rig_open(&rig));
    REQUIRE(lock_take(rig.loop.loop, rig.repository, LOCK_WRITES, "old", &silent, NULL) == 0);
    REQUIRE(lock_take(rig.loop.loop, rig.repository, LOCK_READS, "own", &own, NULL) == 0);
    REQUIRE(locks_read(rig.repository, own, &locks, NULL) == 0 && locks.items.count == 2);
    for (size_t i = 0; i < 2; i++) {
        char name[HASH_SHA256_HEX];
        const struct timespec times[2] = {{(time_t)(clock_wall_us() / 1000000 - expired_s), 0},
                                          {(time_t)(clock_wall_us() / 1000000 - expired_s), 0}};
        hash_sha256_hex(locks.items.items[i].name, name);
        CHECK(!locks.items.items[i].is_dead);
        REQUIRE(utimensat(rig.repository->areas[REPOSITORY_LOCKS], name, times, 0) == 0);
    }
    locks_finish(&locks);
    REQUIRE(locks_read(rig.repository, own, &locks, NULL) == 0 && locks.items.count == 2);
    for (size_t i = 0; i < 2; i++) {
        const struct lock_seen *l = &locks.items.items[i];
        CHECK_EQ(l->is_dead, !l->is_ours); /* ours has just given a sign */
        if (l->is_dead) {
            CHECK_STR(l->what, "old");
            CHECK_EQ(lock_remove(rig.repository, l, NULL), 0);
        }
    }
    locks_finish(&locks);
    CHECK_EQ(lock_check(own, &err), 0);
    CHECK_EQ(lock_check(silent, &err), -ESTALE);
    CHECK_EQ(err.id, ERR_LOCK_LOST);
    lock_release(own);
    lock_release(silent);
    backup_rig_close(&rig);
}

/* ---- crashes ---- */

static void
prune_in_child(void *arg)
{
    struct backup_rig *rig = arg;
    if (!loop_rig_open(&rig->loop) || !rig_open_repository(rig))
        _exit(1);
    (void)!prune(rig, &last_one);
}

/* Wherever it ends: the newest snapshot is whole, and the next pruning removes what this one would have. */
TEST(a_crash_of_a_pruning_costs_nothing)
{
    struct backup_rig rig;
    unsigned calls = 0;
    REQUIRE(backup_rig_open(&rig));
    rig.threads = 1;
    (void)snprintf(rig.source, sizeof(rig.source), "%s/small", tap_dir());
    REQUIRE(mkdir(rig.source, 0755) == 0 && rig_save(&rig) == 0);
    for (unsigned n = 1;; n++) {
        _cleanup_free_ char *gone = rig_path(&rig, "zgone");
        tap_note("call %u", n);
        /* one to delete now, one to remove, and a pack of which little is needed */
        REQUIRE(rig_write_noise(&rig, "zgone", 200000, 7 * n) == 0 &&
                rig_write_noise(&rig, "zkept", 30000, 7 * n + 1) == 0 && rig_save(&rig) == 0);
        REQUIRE(prune(&rig, &last_one_undelete) == 0);
        REQUIRE(unlink(gone) == 0 && rig_save(&rig) == 0);
        REQUIRE(prune(&rig, &last_one_undelete) == 0);
        struct backup_rig child = rig;
        child.repository = NULL;
        bool crashed = crash_at(n, false, prune_in_child, &child);
        calls += crashed;
        REQUIRE(rig_open_repository(&rig));
        CHECK_EQ(rig_count_problems(&rig), 0);
        if (n % 8 == 0) {
            _cleanup_free_ char *name = mem_printf("back%u", n);
            CHECK_EQ(restore(&rig, name), 0);
        }
        CHECK_EQ(prune(&rig, &last_one), 0);
        CHECK_STR(rig.err.what, "");
        CHECK_EQ(rig_count_problems(&rig), 0);
        CHECK_EQ(count(&rig, REPOSITORY_LOCKS), 0);
        CHECK(told.unneeded_bytes < 200000 || told.removed_bytes >= 200000);
        if (!crashed)
            break;
    }
    CHECK(calls > 30);
    backup_rig_close(&rig);
}

static void
clear_locks(struct backup_rig *rig)
{
    struct repository_names names = {0};
    if (repository_list(rig->repository, REPOSITORY_LOCKS, &names, NULL) == 0)
        for (size_t i = 0; i < names.count; i++)
            CHECK_EQ(repository_remove(rig->repository, REPOSITORY_LOCKS, names.items[i], NULL), 0);
    free(names.items);
}

TEST(a_pruning_whose_disk_fails_costs_nothing)
{
    struct backup_rig rig;
    unsigned failed = 0;
    REQUIRE(backup_rig_open(&rig));
    rig.threads = 1;
    (void)snprintf(rig.source, sizeof(rig.source), "%s/small", tap_dir());
    REQUIRE(mkdir(rig.source, 0755) == 0);
    for (unsigned n = 1; n < 100; n++) {
        _cleanup_free_ char *gone = rig_path(&rig, "zgone");
        tap_note("call %u", n);
        REQUIRE(rig_write_noise(&rig, "zgone", 200000, 9 * n) == 0 && rig_save(&rig) == 0);
        REQUIRE(unlink(gone) == 0 && rig_save(&rig) == 0);
        REQUIRE(prune(&rig, &last_one_undelete) == 0);
        fail_left = (int)n;
        fail_dead = n % 2;
        fault_before = fail_before;
        int r = prune(&rig, &last_one);
        fault_before = NULL;
        failed += r < 0;
        clear_locks(&rig); /* of one that could not remove its own, and lives */
        CHECK(r == 0 || rig.err.what[0] != '\0');
        CHECK_EQ(rig_count_problems(&rig), 0);
        if (r == 0 && fail_left > 0)
            break;
    }
    CHECK(failed > 15);
    backup_rig_close(&rig);
}

/* ---- marks ---- */

TEST(marks_are_read_as_they_were_written)
{
    struct backup_rig rig;
    struct marks marks = {0};
    const struct block_id names[3] = {{{1}}, {{2}}, {{3}}};
    size_t taken = 0;
    struct err err;
    REQUIRE(backup_rig_open(&rig));
    const struct mark_wish wishes[] = {
        {.kind = MARK_DELETED, .names = names, .count = 3},
        {.kind = MARK_GOING, .names = names, .count = 1, .waits_for = names, .waits_count = 2},
    };
    REQUIRE(mark_write(rig.repository, &wishes[0], NULL) == 0 &&
            mark_write(rig.repository, &wishes[1], NULL) == 0);
    REQUIRE(marks_read(rig.repository, &marks, NULL) == 0);
    const struct mark *m = marks_find(&marks, MARK_DELETED, &names[1]);
    CHECK(m && m->names.count == 3 && !m->has_waited);
    CHECK(!marks_find(&marks, MARK_PINNED, &names[1]));
    const struct mark *going = marks_find(&marks, MARK_GOING, &names[0]);
    CHECK(going && going->has_waited && going->waits_for.count == 2);
    REQUIRE(marks_take_back(rig.repository, &marks, MARK_DELETED, &names[1], &taken, NULL) == 0);
    int64_t at_ns = m ? m->at_ns : 0;
    marks_finish(&marks);
    REQUIRE(marks_read(rig.repository, &marks, NULL) == 0);
    CHECK(!marks_find(&marks, MARK_DELETED, &names[1]));
    m = marks_find(&marks, MARK_DELETED, &names[2]);
    CHECK(m && m->names.count == 2 &&
          m->at_ns == at_ns); /* what it says of others is as old as it was */
    char name[HASH_SHA256_HEX];
    hash_sha256_hex(m ? m->name : names[0].bytes, name);
    marks_finish(&marks);
    _cleanup_close_ int fd =
        openat(rig.repository->areas[REPOSITORY_MARKS], name, O_WRONLY | O_CLOEXEC);
    REQUIRE(pwrite(fd, "X", 1, 3) == 1);
    CHECK_EQ(marks_read(rig.repository, &marks, &err), -EBADMSG);
    CHECK_EQ(err.id, ERR_MARK_DAMAGED);
    CHECK(strstr(err.what, name) != NULL);
    CHECK_EQ(rig_save(&rig), -EBADMSG); /* what goes is not known: nothing is relied on */
    backup_rig_close(&rig);
}

TEST(what_is_no_mark_is_refused)
{
    static const char *const rows[] = {
        "",
        "[]",
        "{\"mark\": \"else\", \"at_ns\": 1, \"names\": []}",
        "{\"mark\": \"good\", \"names\": []}",
        "{\"mark\": \"good\", \"at_ns\": 1}",
        "{\"mark\": \"good\", \"at_ns\": 1, \"names\": [\"12\"]}",
        "{\"mark\": \"good\", \"at_ns\": 1, \"names\": [12]}",
        "{\"mark\": \"going\", \"at_ns\": 1, \"names\": [], \"waits_for\": 1}",
    };
    struct mark mark;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("%s", rows[i]);
        CHECK(!mark_parse(rows[i], strlen(rows[i]), &mark));
    }
    const char *one = "{\"mark\": \"good\", \"at_ns\": -1, \"names\": [], \"later\": 1}";
    CHECK(mark_parse(one, strlen(one), &mark) && mark.at_ns == -1 && !mark.has_waited);
    mark_finish(&mark);
}

TEST(blocks_are_a_set)
{
    struct blocks b = {0};
    struct block_id id = {{0}};
    for (uint32_t i = 1; i <= 3000; i++) {
        memcpy(id.bytes, &i, sizeof(i));
        CHECK(!blocks_add(&b, &id) && blocks_add(&b, &id));
    }
    for (uint32_t i = 1; i <= 3000; i += 2) {
        memcpy(id.bytes, &i, sizeof(i));
        CHECK(blocks_remove(&b, &id) && !blocks_remove(&b, &id));
    }
    for (uint32_t i = 1; i <= 3001; i++) {
        memcpy(id.bytes, &i, sizeof(i));
        CHECK_EQ(blocks_has(&b, &id), i % 2 == 0 && i <= 3000);
    }
    CHECK_EQ(b.count, 1500);
    blocks_finish(&b);
}
