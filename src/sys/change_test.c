#include "sys/change.h"

#include "base/mem.h"
#include "sys/change_int.h"
#include "sys/crash_int.h"
#include "sys/files.h"
#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* A change of every kind: a and the link are replaced, b is removed, new is made. */
struct scene {
    char *journal, *a, *b, *new, *link;
};

static void
scene_make(struct scene *s)
{
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
    _cleanup_change_ struct change c;
    note_all(scene, &c);
    (void)!change_commit(&c, NULL);
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

/* The crash test: at every call, whole and torn, and the recovery too is stopped at every call. */
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
            for (unsigned m = 1; m < 4; m++)
                (void)crash_at(m, torn, recover, &s);
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
