#include "gateway/body.h"

#include "base/mem.h"
#include "gateway/spool.h"
#include "loop_rig.h"
#include "tap.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static struct loop_rig rig;
static struct spool *spool;
static char pattern[3 * MIB];
static struct err failure; /* that a body has told */
static unsigned told;

static bool
open_patient_spool(uint64_t patience_us)
{
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (char)('a' + i % 23 + i / 4096 % 3);
    failure = (struct err){0};
    told = 0;
    if (!loop_rig_open(&rig))
        return false;
    spool = spool_new(rig.loop, patience_us);
    return true;
}

static bool
open_spool(void)
{
    return open_patient_spool(SPOOL_PATIENCE_US);
}

static void
close_spool(void)
{
    spool_close(spool);
    loop_rig_close(&rig); /* what is closed yet, too */
}

static void
on_ready(struct body *b unused_arg, const struct err *error)
{
    told++;
    if (error)
        failure = *error;
}

static void
begin(struct body *b, const char *dir, uint64_t bytes_max)
{
    body_init(b, spool, dir, bytes_max);
    b->ready = on_ready;
}

static bool
add_in_pieces(struct body *b, size_t len, size_t piece)
{
    for (size_t at = 0; at < len; at += piece) {
        if (body_add(b, pattern + at, MIN(piece, len - at), NULL) < 0)
            return false;
        if (body_is_ahead(b) && !LOOP_WAIT(&rig, !body_is_ahead(b) || failure.id != ERR_NONE))
            return false;
    }
    return LOOP_WAIT(&rig, body_is_kept(b) || failure.id != ERR_NONE) && failure.id == ERR_NONE;
}

/* As it reads, in parts of that size. */
static bool
is_pattern(struct body *b, size_t most)
{
    for (size_t at = 0, len; at < b->len; at += len) {
        const char *bytes;
        if (!LOOP_WAIT(&rig, (bytes = body_look(b, at, MIN(most, b->len - at), &len)) ||
                                 failure.id != ERR_NONE))
            return false;
        if (!bytes || memcmp(bytes, pattern + at, len) != 0)
            return false;
    }
    return true;
}

TEST(body_is_what_came_wherever_it_is_kept)
{
    static const size_t lens[] = {0, 1, BODY_MEMORY_MAX, BODY_MEMORY_MAX + 1, 2 * MIB, 3 * MIB - 1};
    const char *const dirs[] = {tap_dir(), "/nowhere/at/all"};
    static const size_t pieces[] = {4095, 16384, 3 * MIB};
    REQUIRE(open_spool());
    for (size_t i = 0; i < ARRAY_SIZE(lens) * ARRAY_SIZE(dirs) * ARRAY_SIZE(pieces); i++) {
        size_t len = lens[i % ARRAY_SIZE(lens)], head;
        const char *dir = dirs[i / ARRAY_SIZE(lens) % ARRAY_SIZE(dirs)];
        struct body b;
        begin(&b, dir, sizeof(pattern));
        tap_note("%zu bytes in %s", len, dir);
        CHECK(add_in_pieces(&b, len, pieces[i % ARRAY_SIZE(pieces)]));
        CHECK_EQ(b.len, len);
        CHECK(is_pattern(&b, 100000) && is_pattern(&b, sizeof(pattern)));
        CHECK_EQ(b.file == NULL, len <= BODY_MEMORY_MAX || dir != dirs[0]);
        CHECK(len == 0 || body_head(&b, 0, &head));
        CHECK_EQ(body_head(&b, len, &head) != NULL || head, false);
        body_finish(&b);
    }
    close_spool();
}

/* Else a large one would cost more of it than one that stays there. */
TEST(body_has_its_head_in_memory_and_no_more)
{
    struct body b;
    REQUIRE(open_spool());
    size_t before = tap_heap_bytes();
    begin(&b, tap_dir(), sizeof(pattern));
    REQUIRE(add_in_pieces(&b, BODY_MEMORY_MAX + 128 * KIB, 16384));
    REQUIRE(LOOP_WAIT(&rig, body_is_kept(&b)));
    CHECK(tap_heap_bytes() < before + BODY_HEAD_BYTES + 64 * KIB);
    body_finish(&b);
    close_spool();
}

/* A file system that takes no more, as far as a process can make one. */
TEST(body_tells_of_a_disk_that_takes_no_more)
{
    struct rlimit old, few;
    struct body b;
    REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    REQUIRE(sigaction(SIGXFSZ, &ignore, &before) == 0);
    few = (struct rlimit){2 * MIB, old.rlim_max};
    REQUIRE(setrlimit(RLIMIT_FSIZE, &few) == 0);
    REQUIRE(open_spool());
    begin(&b, tap_dir(), 16 * MIB);
    CHECK(!add_in_pieces(&b, sizeof(pattern), MIB / 2));
    body_finish(&b);
    CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0 && sigaction(SIGXFSZ, &before, NULL) == 0);
    CHECK_EQ(failure.id, ERR_SPOOL);
    CHECK(strstr(failure.what, ": File too large"));
    close_spool();
}

/* ---- a disk that hangs ---- */

static sem_t gate;

static void
hang(struct spool_job *job unused_arg)
{
    while (sem_wait(&gate) < 0)
        ;
}

static void
on_hung(struct spool_job *job unused_arg)
{
}

static struct spool_job jobs[SPOOL_WORKERS];

static bool
hang_disk(uint64_t patience_us)
{
    if (!open_patient_spool(patience_us) || sem_init(&gate, 0, 0) < 0)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(jobs); i++) {
        jobs[i] = (struct spool_job){.run = hang, .done = on_hung, .late = on_hung};
        spool_start(spool, &jobs[i]);
    }
    return true;
}

static void
heal_disk(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(jobs); i++)
        (void)sem_post(&gate);
    CHECK(LOOP_WAIT(&rig, jobs[0].state == SPOOL_IDLE && jobs[1].state == SPOOL_IDLE));
}

TEST(body_waits_for_a_disk_and_the_loop_does_not)
{
    struct body small, large;
    REQUIRE(hang_disk(SPOOL_PATIENCE_US));
    begin(&small, tap_dir(), sizeof(pattern));
    begin(&large, tap_dir(), sizeof(pattern));
    CHECK_EQ(body_add(&small, pattern, MIB, NULL), 0);
    CHECK(body_is_kept(&small));
    CHECK_EQ(body_add(&large, pattern, 2 * MIB, NULL), 0);
    CHECK(body_is_ahead(&large) == false && !body_is_kept(&large));
    CHECK_EQ(body_add(&large, pattern + 2 * MIB, MIB, NULL), 0);
    CHECK(body_is_ahead(&large));
    loop_rig_run(&rig, 50000);
    CHECK_EQ(told, 0);
    heal_disk();
    CHECK(LOOP_WAIT(&rig, body_is_kept(&large)));
    CHECK(is_pattern(&large, 3 * MIB));
    body_finish(&small);
    body_finish(&large);
    close_spool();
    (void)sem_destroy(&gate);
}

TEST(body_that_is_finished_leaves_nothing_behind_a_disk_that_hangs)
{
    struct body b;
    REQUIRE(hang_disk(SPOOL_PATIENCE_US));
    for (unsigned i = 0; i < 100; i++) {
        begin(&b, tap_dir(), sizeof(pattern));
        CHECK_EQ(body_add(&b, pattern, 2 * MIB, NULL), 0);
        body_finish(&b);
    }
    heal_disk();
    CHECK_EQ(told, 0);
    close_spool();
    (void)sem_destroy(&gate);
}

/* After a while: nobody waits for ever, and who comes then does not wait at all. */
TEST(body_tells_of_a_disk_that_hangs)
{
    struct body b, next;
    struct err err = {0};
    REQUIRE(hang_disk(100000));
    begin(&b, tap_dir(), sizeof(pattern));
    begin(&next, tap_dir(), sizeof(pattern));
    CHECK_EQ(body_add(&b, pattern, 2 * MIB, NULL), 0);
    CHECK(LOOP_WAIT(&rig, failure.id == ERR_SPOOL));
    CHECK(strstr(failure.what, "the disk hangs"));
    body_finish(&b);
    CHECK(body_add(&next, pattern, 2 * MIB, &err) < 0);
    CHECK_EQ(err.id, ERR_SPOOL);
    heal_disk();
    CHECK(!spool_hangs(spool));
    CHECK_EQ(body_add(&next, pattern, 2 * MIB, &err), 0);
    body_finish(&next);
    close_spool();
    (void)sem_destroy(&gate);
}
