#include "sys/change.h"

#include "base/mem.h"
#include "crash.h"
#include "sys/change_int.h"
#include "sys/files.h"
#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* A change of every kind: a and the link are replaced, b is removed, new is made. */
struct scene {
    char *journal, *a, *b, *new, *link;
    int result; /* of the last commit */
    struct err err;
};

static void
scene_make(struct scene *s)
{
    *s = (struct scene){0};
    s->journal = mem_printf("%s/.journal", tap_dir());
    s->a = mem_printf("%s/a", tap_dir());
    s->b = mem_printf("%s/b", tap_dir());
    s->new = mem_printf("%s/new", tap_dir());
    s->link = mem_printf("%s/current", tap_dir());
}

static void
scene_finish(struct scene *s)
{
    free(s->journal);
    free(s->a);
    free(s->b);
    free(s->new);
    free(s->link);
}

static bool
scene_reset(const struct scene *s)
{
    (void)unlink(s->new);
    (void)unlink(s->link);
    return file_write(s->a, "old a", 5, 0644, NULL) == 0 &&
           file_write(s->b, "old b", 5, 0644, NULL) == 0 && symlink("gen/1", s->link) == 0;
}

static void
note_all(const struct scene *s, struct change *c)
{
    change_init(c, s->journal);
    change_write(c, s->a, "new a", 5, 0600);
    change_remove(c, s->b);
    change_write(c, s->new, "new", 3, 0640);
    change_link(c, s->link, "gen/2");
}

static void
commit_all(void *scene)
{
    struct scene *s = scene;
    _cleanup_change_ struct change c;
    note_all(s, &c);
    s->err = (struct err){0};
    s->result = change_commit(&c, &s->err);
}

static void
recover(void *scene)
{
    struct scene *s = scene;
    enum change_recovered what;
    (void)!change_recover(s->journal, &what, NULL);
}

static bool
file_is(const char *path, const char *want)
{
    _cleanup_buf_ struct buf b = BUF_INIT(1000);
    return file_read(path, &b, NULL) == 0 && strcmp(b.data, want) == 0;
}

static bool
link_is(const char *path, const char *want)
{
    char target[PATH_MAX] = "";
    return readlink(path, target, sizeof(target) - 1) > 0 && strcmp(target, want) == 0;
}

static bool
all_old(const struct scene *s)
{
    return file_is(s->a, "old a") && file_is(s->b, "old b") && access(s->new, F_OK) < 0 &&
           link_is(s->link, "gen/1");
}

static bool
all_new(const struct scene *s)
{
    return file_is(s->a, "new a") && access(s->b, F_OK) < 0 && file_is(s->new, "new") &&
           link_is(s->link, "gen/2");
}

/* Files beyond those of the scene and the journal's lock. */
static unsigned
litter(void)
{
    static const char *const known[] = {".", "..", "a", "b", "new", "current", ".journal.lock"};
    unsigned count = 0;
    DIR *d = opendir(tap_dir());
    for (struct dirent *e; d && (e = readdir(d)); count++)
        for (size_t i = 0; i < ARRAY_SIZE(known); i++)
            if (strcmp(e->d_name, known[i]) == 0) {
                count--;
                break;
            }
    if (d)
        (void)closedir(d);
    return count;
}

TEST(a_change_happens_as_a_whole)
{
    struct scene s;
    struct stat st;
    struct err err = {0};
    enum change_recovered what;
    scene_make(&s);
    CHECK(scene_reset(&s));
    {
        _cleanup_change_ struct change c;
        note_all(&s, &c);
        CHECK_EQ(change_commit(&c, &err), 0);
    }
    CHECK(all_new(&s));
    CHECK_EQ(litter(), 0);
    CHECK(stat(s.a, &st) == 0 && (st.st_mode & 07777) == 0644); /* as it was */
    CHECK(stat(s.new, &st) == 0 && (st.st_mode & 07777) == 0640);
    CHECK_EQ(change_recover(s.journal, &what, &err), 0);
    CHECK_EQ(what, CHANGE_NOTHING);
    scene_finish(&s);
}

/* A directory with the setgid bit gives new files its own group. */
TEST(a_file_keeps_its_group)
{
    const gid_t theirs = 12345;
    struct stat st;
    _cleanup_free_ char *dir = mem_printf("%s/shared", tap_dir());
    _cleanup_free_ char *path = mem_printf("%s/a", dir);
    _cleanup_free_ char *journal = mem_printf("%s/.journal", tap_dir());
    if (geteuid() != 0) {
        tap_skip("only root gives files away");
        return;
    }
    REQUIRE(mkdir(dir, 0755) == 0 && file_write(path, "old", 3, 0640, NULL) == 0);
    REQUIRE(chown(dir, (uid_t)-1, theirs) == 0 && chmod(dir, 02755) == 0);
    _cleanup_change_ struct change c;
    change_init(&c, journal);
    change_write(&c, path, "new", 3, 0600);
    CHECK_EQ(change_commit(&c, NULL), 0);
    CHECK(file_is(path, "new"));
    CHECK(stat(path, &st) == 0 && st.st_gid == getegid() && (st.st_mode & 07777) == 0640);
    CHECK_EQ(file_write(path, "newer", 5, 0600, NULL), 0);
    CHECK(stat(path, &st) == 0 && st.st_gid == getegid() && (st.st_mode & 07777) == 0640);
}

/* The crash test: at every call, whole and torn. The recovery is stopped too, each time one call
 * later, until it runs through. */
TEST(a_crash_anywhere_leaves_all_old_or_all_new)
{
    struct scene s;
    scene_make(&s);
    for (int torn = 0; torn < 2; torn++) {
        unsigned undone = 0, completed = 0;
        bool crashed = true;
        for (unsigned n = 1; crashed; n++) {
            enum change_recovered what = CHANGE_NOTHING;
            struct err err = {0};
            tap_note("torn %d, call %u", torn, n);
            CHECK(scene_reset(&s));
            crashed = crash_at(n, torn, commit_all, &s);
            for (unsigned m = 1; crash_at(m, torn, recover, &s); m++)
                CHECK(m < 100);
            int r = change_recover(s.journal, &what, &err);
            CHECK_EQ(r, 0);
            CHECK(all_old(&s) != all_new(&s));
            CHECK_EQ(litter(), 0);
            undone += all_old(&s);
            completed += all_new(&s);
        }
        CHECK(undone >= 10);
        CHECK(completed >= 8);
    }
    scene_finish(&s);
}

/* A commit ends itself: nobody needs to recover, unless the error says so. */
TEST(a_call_that_fails_once_leaves_nothing_behind)
{
    struct scene s;
    unsigned undone = 0, completed = 0, halves = 0;
    scene_make(&s);
    for (unsigned n = 1;; n++) {
        enum change_recovered what;
        tap_note("call %u", n);
        CHECK(scene_reset(&s));
        fail_at(n, false, commit_all, &s);
        if (s.result == -EIO && s.err.id == ERR_CHANGE_HALF) {
            CHECK_EQ(change_recover(s.journal, &what, NULL), 0);
            CHECK(what != CHANGE_UNDONE);
            CHECK(all_new(&s));
            halves++;
        } else {
            CHECK(s.result == 0 ? all_new(&s) : all_old(&s));
            CHECK_EQ(s.err.id == ERR_NONE, s.result == 0);
            undone += s.result < 0;
            completed += s.result == 0;
        }
        CHECK_EQ(litter(), 0);
        if (fail_left > 0)
            break; /* it made fewer calls */
        CHECK(scene_reset(&s));
        commit_all(&s);
        CHECK_EQ(s.result, 0);
    }
    CHECK(undone >= 10);
    CHECK(completed >= 2); /* without the sync behind the decision, and with all */
    CHECK(halves >= 8);
    scene_finish(&s);
}

TEST(what_a_commit_tells_is_what_a_dead_disk_will_be_found_with)
{
    struct scene s;
    unsigned half = 0, undone = 0;
    scene_make(&s);
    for (unsigned n = 1;; n++) {
        enum change_recovered what;
        tap_note("from call %u on", n);
        CHECK(scene_reset(&s));
        fail_at(n, true, commit_all, &s);
        CHECK_EQ(change_recover(s.journal, &what, NULL), 0);
        CHECK(s.result == 0 || s.err.id == ERR_CHANGE_HALF ? all_new(&s) : all_old(&s));
        CHECK_EQ(litter(), 0);
        if (fail_left > 0)
            break;
        half += s.result < 0 && s.err.id == ERR_CHANGE_HALF;
        undone += what == CHANGE_UNDONE;
    }
    CHECK(half >= 8);
    CHECK(undone >= 8);
    scene_finish(&s);
}

/* Second names are ".citadel-ID-N"; that of the N-th goes before the third rename, which is the first
 * behind the two of the journal. */
static char stolen;
static unsigned renames;

static int
steal(const char *call, size_t *bytes unused_arg)
{
    DIR *d = strcmp(call, "rename") == 0 && ++renames == 3 ? opendir(tap_dir()) : NULL;
    for (struct dirent *e; d && (e = readdir(d));)
        if (strncmp(e->d_name, ".citadel-", 9) == 0 && e->d_name[strlen(e->d_name) - 1] == stolen)
            (void)unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        (void)closedir(d);
    return 0;
}

TEST(a_second_name_that_somebody_removed_is_not_taken_for_done)
{
    static const char *const lost[] = {['0'] = "/a'", ['2'] = "/new'", ['3'] = "/current'"};
    struct scene s;
    enum change_recovered what;
    scene_make(&s);
    for (size_t i = '0'; i < ARRAY_SIZE(lost); i++) {
        stolen = (char)i;
        if (!lost[i])
            continue;
        tap_note("number %c", stolen);
        CHECK(scene_reset(&s));
        renames = 0;
        fault_before = steal;
        commit_all(&s);
        fault_before = NULL;
        CHECK_EQ(s.err.id, ERR_CHANGE_HALF);
        CHECK(strstr(s.err.what, lost[(int)stolen]) != NULL);
        CHECK(!all_new(&s));
        CHECK(access(s.b, F_OK) < 0); /* the others are done */
        CHECK_EQ(change_recover(s.journal, &what, &s.err), -EBADMSG);
        CHECK_EQ(s.err.id, ERR_CHANGE_DAMAGED);
        CHECK(strstr(s.err.what, lost[(int)stolen]) != NULL);
        /* A person puts it there. */
        (void)unlink(s.link);
        CHECK(symlink("gen/2", s.link) == 0);
        CHECK(file_write(s.a, "new a", 5, 0644, NULL) == 0);
        CHECK(file_write(s.new, "new", 3, 0644, NULL) == 0);
        CHECK_EQ(change_recover(s.journal, &what, NULL), 0);
        CHECK_EQ(what, CHANGE_COMPLETED);
        CHECK(all_new(&s));
        CHECK_EQ(litter(), 0);
    }
    scene_finish(&s);
}

static struct buf calls = BUF_INIT(KIB);

static int
record(const char *call, size_t *bytes unused_arg)
{
    buf_printf(&calls, "%s ", call);
    return 0;
}

/* Else a power failure could bring the old journal back behind names that have moved. */
TEST(a_decision_is_synced_before_it_is_carried_out)
{
    struct scene s;
    scene_make(&s);
    for (unsigned n = 1;; n++) {
        CHECK(scene_reset(&s));
        REQUIRE(crash_at(n, false, commit_all, &s));
        buf_clear(&calls);
        fault_before = record;
        recover(&s);
        fault_before = NULL;
        if (all_new(&s))
            break; /* the first crash behind the decision: its sync was not made */
    }
    CHECK_STR(calls.data,
              "unlink fsync rename fsync unlink fsync rename fsync rename fsync unlink fsync ");
    buf_finish(&calls);
    scene_finish(&s);
}

TEST(what_cannot_be_done_changes_nothing)
{
    struct scene s;
    scene_make(&s);
    _cleanup_free_ char *absent = mem_printf("%s/absent/f", tap_dir());
    for (int i = 0; i < 4; i++) {
        struct err err = {0};
        _cleanup_change_ struct change c;
        tap_note("case %d", i);
        CHECK(scene_reset(&s));
        note_all(&s, &c);
        if (i == 0)
            change_write(&c, absent, "x", 1, 0600);
        else if (i == 1)
            change_remove(&c, tap_dir());
        else if (i == 2)
            change_write(&c, s.a, "twice", 5, 0600);
        else
            change_write(&c, "relative", "x", 1, 0600);
        CHECK(change_commit(&c, &err) < 0);
        CHECK(err.id != ERR_NONE && err.id != ERR_CHANGE_HALF);
        CHECK(all_old(&s));
        CHECK_EQ(litter(), 0);
    }
    scene_finish(&s);
}

TEST(a_change_has_a_ceiling)
{
    struct scene s;
    struct err err = {0};
    scene_make(&s);
    _cleanup_change_ struct change c;
    change_init(&c, s.journal);
    for (int i = 0; i <= CHANGE_FILES_MAX; i++) {
        _cleanup_free_ char *path = mem_printf("%s/f%d", tap_dir(), i);
        change_remove(&c, path);
    }
    CHECK(change_commit(&c, &err) < 0);
    CHECK_EQ(err.id, ERR_TOO_LARGE);
    scene_finish(&s);
}

TEST(a_second_process_is_kept_out)
{
    struct scene s;
    struct err err = {0};
    enum change_recovered what;
    scene_make(&s);
    CHECK(scene_reset(&s));
    _cleanup_free_ char *lock = mem_printf("%s.lock", s.journal);
    int ready[2], end[2];
    REQUIRE(pipe(ready) == 0 && pipe(end) == 0);
    pid_t child = fork();
    if (child == 0) {
        int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        char c;
        bool ok = fd >= 0 && flock(fd, LOCK_EX) == 0 && write(ready[1], "x", 1) == 1 &&
                  read(end[0], &c, 1) == 1;
        _exit(ok ? 0 : 1);
    }
    char c;
    int status;
    CHECK_EQ(read(ready[0], &c, 1), 1);
    _cleanup_change_ struct change change;
    note_all(&s, &change);
    CHECK_EQ(change_commit(&change, &err), -EBUSY);
    CHECK_EQ(err.id, ERR_CHANGE_BUSY);
    CHECK_EQ(change_recover(s.journal, &what, &err), -EBUSY);
    CHECK(all_old(&s));
    CHECK_EQ(write(end[1], "x", 1), 1);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    for (int i = 0; i < 2; i++) {
        (void)close(ready[i]);
        (void)close(end[i]);
    }
    scene_finish(&s);
}

TEST(a_damaged_journal_is_left_alone)
{
    static const char *const bad[] = {
        "", "citadel-change 1 staging 0123456789abcdef 0\n", "nonsense\n",
        ("citadel-change 1 staging 0123456789abcdef 0\n"
         "0000000000000000000000000000000000000000000000000000000000000000\n")};
    struct scene s;
    scene_make(&s);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct err err = {0};
        enum change_recovered what;
        tap_note("row %zu", i);
        REQUIRE(file_write(s.journal, bad[i], strlen(bad[i]), 0600, NULL) == 0);
        CHECK(change_recover(s.journal, &what, &err) < 0);
        CHECK_EQ(err.id, ERR_CHANGE_DAMAGED);
        CHECK(file_is(s.journal, bad[i]));
    }
    scene_finish(&s);
}
