#include "service/contain.h"

#include "base/buf.h"
#include "base/mem.h"
#include "sys/files.h"
#include "sys/kin.h"
#include "sys/root.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const enum contain_kind kinds[] = {CONTAIN_CGROUP, CONTAIN_NAMESPACE, CONTAIN_SUBREAPER};

/* A service that is a stub of these words, held by c; it has said so when this returns. */
static struct proc
start(const struct contain *c, const char *name, const char *const *words)
{
    const char *argv[8] = {SERVICE_STUB_PATH};
    _cleanup_free_ char *mark = contain_mark(c, name);
    const char *const env[] = {mark, NULL};
    _cleanup_close_ int group = -1;
    int ends[2];
    char said[8];
    struct proc proc;
    for (size_t i = 0; words[i]; i++)
        argv[i + 1] = words[i];
    if (pipe(ends) < 0)
        abort();
    struct proc_wish wish = {
        .argv = argv, .environ = env, .fds = {-1, ends[1], 2}, .new_session = true};
    if (contain_prepare(c, name, &wish, &group, NULL) < 0 || proc_start(&wish, &proc, NULL) < 0)
        abort();
    (void)close(ends[1]);
    CHECK_EQ(read(ends[0], said, 1), 1);
    (void)close(ends[0]);
    return proc;
}

/* As the supervisor does it, until nothing is left. Returns whether something was. */
static bool
end(const struct contain *c, const char *name, struct proc *first, const pid_t *known, size_t count)
{
    struct proc_end how;
    bool some = false;
    if (proc_signal(first, SIGKILL) < 0 || proc_wait(first, &how) < 0)
        abort();
    for (int i = 0; i < 10000 && contain_kill(c, name, known, count) > 0; i++) {
        some = true;
        kin_reap(known, count);
        (void)poll(NULL, 0, 1); /* nothing tells the end of the last of a control group */
    }
    CHECK_EQ(contain_kill(c, name, known, count), 0);
    return some;
}

static const char *const with_strays[] = {"stray", "stray", "say=x", "wait", NULL};
static const char *const alone[] = {"say=x", "wait", NULL};

TEST(nothing_of_a_service_is_left_and_nobody_else_is_touched)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct contain c;
        tap_note("%s", contain_word(kinds[i]));
        if (contain_open(&c, kinds[i], tap_dir(), NULL) < 0)
            continue;
        CHECK_EQ(c.kind, kinds[i]);
        struct proc a = start(&c, "a", with_strays), b = start(&c, "b", alone);
        CHECK_EQ(kin_signal(0, 0, 0), 4);
        CHECK_EQ(end(&c, "a", &a, &b.pid, 1), kinds[i] != CONTAIN_NAMESPACE);
        CHECK_EQ(kin_signal(0, 0, 0), 1);
        CHECK_EQ(proc_signal(&b, 0), 0);
        (void)end(&c, "b", &b, NULL, 0);
        CHECK_EQ(kin_signal(0, 0, 0), 0);
        if (kinds[i] == CONTAIN_CGROUP)
            CHECK_EQ(access(c.dir, F_OK), 0);
        char dir[sizeof(c.dir)];
        memcpy(dir, c.dir, sizeof(dir));
        contain_close(&c);
        CHECK(dir[0] == '\0' || access(dir, F_OK) < 0);
    }
}

TEST(the_strongest_that_is_possible_is_taken)
{
    struct contain c, one;
    REQUIRE(contain_open(&c, CONTAIN_AUTO, tap_dir(), NULL) == 0);
    for (size_t i = 0; kinds[i] != c.kind; i++) {
        struct err err = {0};
        CHECK(contain_open(&one, kinds[i], tap_dir(), &err) < 0);
        CHECK(strstr(err.what, contain_word(kinds[i])) != NULL);
        CHECK(strstr(err.what, "is not possible here") != NULL && err.fix[0]);
    }
    CHECK(strlen(contain_promise(c.kind)) > 20);
    contain_close(&c);
}

TEST(words_name_the_kinds)
{
    enum contain_kind kind;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        CHECK(contain_parse(contain_word(kinds[i]), &kind) && kind == kinds[i]);
    CHECK(contain_parse("auto", &kind) && kind == CONTAIN_AUTO);
    CHECK(!contain_parse("", &kind) && !contain_parse("Cgroup", &kind));
}

/* A service may make groups of its own below the one it was given. */
TEST(groups_below_a_group_end_with_it)
{
    struct contain c;
    char below[700], procs[720], pid[16];
    if (contain_open(&c, CONTAIN_CGROUP, tap_dir(), NULL) < 0) {
        tap_skip("control groups are not possible here");
        return;
    }
    struct proc a = start(&c, "a", with_strays), b = start(&c, "b", alone);
    (void)snprintf(below, sizeof(below), "%s/a/x", c.dir);
    (void)snprintf(procs, sizeof(procs), "%s/cgroup.procs", below);
    (void)snprintf(pid, sizeof(pid), "%d", (int)a.pid);
    REQUIRE(mkdir(below, 0755) == 0);
    FILE *f = fopen(procs, "we");
    REQUIRE(f && fputs(pid, f) >= 0 && fclose(f) == 0);
    CHECK(end(&c, "a", &a, &b.pid, 1));
    CHECK(access(below, F_OK) < 0);
    (void)end(&c, "b", &b, NULL, 0);
    contain_close(&c);
}

/* Else a note that outlived its supervisor, and the boot, could name the group of another. */
TEST(the_name_of_a_group_is_not_given_twice)
{
    struct contain c;
    struct kin self;
    char want[64];
    if (contain_open(&c, CONTAIN_CGROUP, tap_dir(), NULL) < 0) {
        tap_skip("no control groups here");
        return;
    }
    REQUIRE(kin_look(getpid(), &self) == 0 && self.start > 0);
    (void)snprintf(want, sizeof(want), "/citadel-%d-%llu", (int)getpid(),
                   (unsigned long long)self.start);
    CHECK_STR(strrchr(c.dir, '/'), want);
    contain_close(&c);
}

/* A note that leads elsewhere than to a group of ours is not followed. */
TEST(a_note_that_is_not_ours_kills_nobody)
{
    static const char *const notes[] = {"/sys/fs/cgroup",
                                        "/sys/fs/cgroup/unified",
                                        "/sys/fs/cgroup/citadel-1/../..",
                                        "/tmp/citadel-1",
                                        "",
                                        "/sys/fs/cgroup/x\n/sys/fs/cgroup/citadel-"};
    _cleanup_free_ char *dir = mem_printf("%s/services", tap_dir());
    _cleanup_free_ char *note = mem_printf("%s/.group", dir);
    for (size_t i = 0; i < ARRAY_SIZE(notes); i++) {
        REQUIRE(file_make_dirs(dir, 0700, NULL) == 0);
        REQUIRE(file_write(note, notes[i], strlen(notes[i]), 0600, NULL) == 0);
        CHECK_EQ(contain_clean(tap_dir(), NULL), 0);
        CHECK(access(note, F_OK) < 0);
    }
}

/* A group that is made beside ours, with a process in it. */
static bool
is_killed_by_note(const struct contain *c, const char *name)
{
    _cleanup_free_ char *group =
        mem_printf("%.*s/%s", (int)(strrchr(c->dir, '/') - c->dir), c->dir, name);
    _cleanup_free_ char *procs = mem_printf("%s/cgroup.procs", group);
    _cleanup_free_ char *note = mem_printf("%s/services/.group", tap_dir());
    static const char *const argv[] = {SERVICE_STUB_PATH, "wait", NULL};
    struct proc_wish wish = {.argv = argv, .fds = PROC_FDS_NULL};
    struct proc proc;
    struct proc_end end;
    if (mkdir(group, 0755) < 0)
        abort();
    _cleanup_close_ int fd = open(procs, O_WRONLY | O_CLOEXEC);
    wish.cgroup = fd;
    if (fd < 0 || proc_start(&wish, &proc, NULL) < 0 ||
        file_write(note, group, strlen(group), 0600, NULL) < 0)
        abort();
    bool killed = contain_clean(tap_dir(), NULL) == 1;
    CHECK_EQ(proc_signal(&proc, SIGKILL), 0);
    CHECK_EQ(proc_wait(&proc, &end), 0);
    while (rmdir(group) < 0 && errno == EBUSY)
        ;
    return killed;
}

/* systemd names the groups of our units alike. */
TEST(a_group_that_is_not_of_a_supervisor_is_not_killed)
{
    struct contain c;
    if (contain_open(&c, CONTAIN_CGROUP, tap_dir(), NULL) < 0) {
        tap_skip("control groups are not possible here");
        return;
    }
    CHECK(is_killed_by_note(&c, "citadel-1-2"));
    CHECK(!is_killed_by_note(&c, "citadel-phi3.service"));
    CHECK(!is_killed_by_note(&c, "citadel-1.service"));
    CHECK(!is_killed_by_note(&c, "citadel-1"));
    CHECK(!is_killed_by_note(&c, "citadel-1-"));
    CHECK(!is_killed_by_note(&c, "citadel-1-2x"));
    contain_close(&c);
}

/* Those that bear the mark of this run directory, whoever started them. */
TEST(what_bears_our_mark_is_ended_first)
{
    struct contain here, there;
    _cleanup_free_ char *other = mem_printf("%s/other", tap_dir());
    REQUIRE(mkdir(other, 0700) == 0);
    REQUIRE(contain_open(&here, CONTAIN_SUBREAPER, tap_dir(), NULL) == 0);
    REQUIRE(contain_open(&there, CONTAIN_SUBREAPER, other, NULL) == 0);
    struct proc a = start(&here, "a", with_strays), b = start(&there, "a", alone);
    struct proc_end how;
    CHECK_EQ(contain_clean(tap_dir(), NULL), 3);
    CHECK(proc_wait(&a, &how) == 0 && how.killed);
    CHECK_EQ(proc_signal(&b, 0), 0);
    (void)end(&there, "a", &b, NULL, 0);
}

/* Nor are groups made or killed there, whatever a note in an image says. */
TEST(below_a_root_there_are_no_groups)
{
    struct contain c;
    struct err err = {0};
    char note[300];
    _cleanup_free_ char *here = mem_printf("%s/here", tap_dir());
    _cleanup_free_ char *other = mem_printf("%s/other/services", tap_dir());
    _cleanup_free_ char *run_dir = mem_printf("%s/other", tap_dir());
    if (contain_open(&c, CONTAIN_CGROUP, here, NULL) < 0) {
        tap_skip("no control groups here");
        return;
    }
    struct proc a = start(&c, "a", alone);
    (void)snprintf(note, sizeof(note), "%s/.group", other);
    REQUIRE(file_make_dirs(other, 0700, NULL) == 0);
    REQUIRE(file_write(note, c.dir, strlen(c.dir), 0600, NULL) == 0);
    REQUIRE(root_set(tap_dir(), NULL) == 0);
    CHECK_EQ(contain_clean(run_dir, NULL), 0);
    CHECK_EQ(proc_signal(&a, 0), 0);
    struct contain below;
    CHECK_EQ(contain_open(&below, CONTAIN_CGROUP, run_dir, &err), -EACCES);
    CHECK(strstr(err.what, "control groups are not below --root"));
    REQUIRE(contain_open(&below, CONTAIN_AUTO, run_dir, NULL) == 0);
    CHECK(below.kind != CONTAIN_CGROUP);
    contain_close(&below);
    REQUIRE(root_set("", NULL) == 0);
    CHECK(!end(&c, "a", &a, NULL, 0));
    contain_close(&c);
}
