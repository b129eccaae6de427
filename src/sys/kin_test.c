#include "sys/kin.h"

#include "base/buf.h"
#include "base/mem.h"
#include "proc_rig.h"
#include "sys/files.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void
write_note(const char *path, const char *text)
{
    if (file_write(path, text, strlen(text), 0600, NULL) < 0)
        abort();
}

/* "MARK=TEXT", of this process alone: others may run the same tests. */
static const char *
mark(const char *text)
{
    static char marks[4][80];
    static unsigned next;
    char *made = marks[next++ % ARRAY_SIZE(marks)];
    (void)snprintf(made, sizeof(marks[0]), "MARK=/%d%s", (int)getpid(), text);
    return made;
}

TEST(who_bears_a_mark_is_found_and_nobody_else)
{
    char other[100];
    (void)snprintf(other, sizeof(other), "OTHER=%s", mark("/a/b"));
    struct proc a = proc_rig_start(PROC_RIG_WAITS, mark("/a/b"), false);
    struct proc b = proc_rig_start(PROC_RIG_WAITS, mark("/b/b"), false);
    struct proc c = proc_rig_start(PROC_RIG_WAITS, other, false);
    CHECK_EQ(kin_signal_marked(mark("/a/"), 0), 1);
    CHECK_EQ(kin_signal_marked(mark("/a/"), SIGKILL), 1);
    CHECK_EQ(proc_rig_end(&a), SIGKILL);
    CHECK_EQ(kin_signal_marked(mark("/a/"), 0), 0);
    CHECK_EQ(proc_signal(&b, 0), 0);
    CHECK_EQ(proc_signal(&b, SIGKILL), 0);
    CHECK_EQ(proc_signal(&c, SIGKILL), 0);
    CHECK_EQ(proc_rig_end(&b), SIGKILL);
    CHECK_EQ(proc_rig_end(&c), SIGKILL);
}

/* As a container has it. Says READY when it has its own root. */
#define ELSEWHERE                                                                                 \
    "exec unshare -m sh -ec 'mount -t tmpfs none \"$DIR\"; cd \"$DIR\"; "                         \
    "for d in usr bin lib lib64; do "                                                             \
    "if [ -L /$d ]; then cp -P /$d $d; elif [ -d /$d ]; then mkdir $d; mount --bind /$d $d; fi; " \
    "done; exec chroot . sh -c \"echo; trap : TERM; exec sleep 1000\"'"

TEST(who_bears_a_mark_in_another_root_is_another)
{
    char where[600], byte;
    int said[2];
    (void)snprintf(where, sizeof(where), "DIR=%s", tap_dir());
    const char *const argv[] = {"/bin/sh", "-c", ELSEWHERE, NULL};
    const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", mark("/a/b"), where, NULL};
    REQUIRE(pipe2(said, O_CLOEXEC) == 0);
    const struct proc_wish wish = {.argv = argv, .environ = env, .fds = {-1, said[1], -1}};
    struct proc there;
    REQUIRE(proc_start(&wish, &there, NULL) == 0);
    (void)close(said[1]);
    bool ready = read(said[0], &byte, 1) == 1;
    (void)close(said[0]);
    if (ready)
        CHECK_EQ(kin_signal_marked(mark("/a/"), 0), 0);
    else
        tap_skip("no other root can be made here");
    (void)!proc_signal(&there, SIGKILL);
    (void)proc_rig_end(&there);
}

static int to_test;
static pthread_t first_thread;

static bool
is_zombie(pid_t pid)
{
    char path[64], text[512] = "";
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    (void)!read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    return strstr(text, ") Z ") != NULL;
}

static void *
go_on(void *arg unused_arg)
{
    (void)pthread_join(first_thread, NULL);
    while (!is_zombie(getpid())) /* a moment later */
        ;
    (void)!write(to_test, "", 1);
    (void)pause();
    return NULL;
}

TEST(a_process_whose_first_thread_has_ended_lives)
{
    struct kin kin;
    int ends[2];
    char c;
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t second;
        to_test = ends[1];
        first_thread = pthread_self();
        (void)pthread_create(&second, NULL, go_on, NULL);
        pthread_exit(NULL);
    }
    CHECK_EQ(read(ends[0], &c, 1), 1);
    CHECK(is_zombie(pid));
    CHECK_EQ(kin_look(pid, &kin), 0);
    CHECK_EQ(kin_signal(0, 0, SIGKILL), 1);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK_EQ(kin_look(pid, &kin), -ESRCH);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

TEST(a_noted_session_is_ended_by_who_comes_later)
{
    char note[300];
    (void)snprintf(note, sizeof(note), "%s/note", tap_dir());
    struct proc a = proc_rig_start(PROC_RIG_WAITS, NULL, true);
    REQUIRE(kin_note(note, a.pid, NULL) == 0);
    CHECK_EQ(kin_end_noted(note, NULL), 1);
    CHECK_EQ(proc_rig_end(&a), SIGKILL);
    CHECK(access(note, F_OK) < 0);
    CHECK_EQ(kin_end_noted(note, NULL), 0);
}

TEST(who_bears_a_mark_is_ended)
{
    struct proc a = proc_rig_start(PROC_RIG_WAITS, mark("/a/b"), true);
    struct proc b = proc_rig_start(PROC_RIG_WAITS, mark("/a/bc"), true);
    CHECK_EQ(kin_end_marked(mark("/a/b/"), NULL), 0);
    CHECK_EQ(kin_end_marked(mark("/a/b"), NULL), 2);
    CHECK_EQ(proc_rig_end(&a), SIGKILL);
    CHECK_EQ(proc_rig_end(&b), SIGKILL);
}

/* Boot, namespace, number, session, start: each must be what it was. */
TEST(a_note_that_may_mean_somebody_else_is_not_followed)
{
    _cleanup_buf_ struct buf good = BUF_INIT(4 * KIB);
    char note[300], text[300];
    const char *parts[5];
    (void)snprintf(note, sizeof(note), "%s/note", tap_dir());
    struct proc a = proc_rig_start(PROC_RIG_WAITS, NULL, true);
    REQUIRE(kin_note(note, a.pid, NULL) == 0 && file_read(note, &good, NULL) == 0);
    char *rest = good.data;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        REQUIRE((parts[i] = strsep(&rest, " \n")));
    for (int i = 0; i < 5; i++) {
        (void)snprintf(text, sizeof(text), "%s%s %s%s %s%s %s%s %s%s\n", parts[0],
                       i == 0 ? "0" : "", parts[1], i == 1 ? "0" : "", parts[2], i == 2 ? "0" : "",
                       parts[3], i == 3 ? "0" : "", parts[4], i == 4 ? "0" : "");
        write_note(note, text);
        tap_note("%s", text);
        CHECK_EQ(kin_end_noted(note, NULL), 0);
        CHECK_EQ(proc_signal(&a, 0), 0);
    }
    CHECK_EQ(proc_signal(&a, SIGKILL), 0);
    CHECK_EQ(proc_rig_end(&a), SIGKILL);
}

static size_t
kill_strays(const pid_t *known, size_t count)
{
    struct kin *strays;
    size_t n = kin_strays(known, count, &strays);
    for (size_t i = 0; i < n; i++)
        kin_send(&strays[i], SIGKILL);
    free(strays);
    return n;
}

TEST(strays_are_those_below_us_who_come_from_nobody_known)
{
    kin_adopt();
    struct proc a = proc_rig_start(PROC_RIG_WAITS, NULL, false);
    struct proc b = proc_rig_start("(" PROC_RIG_WAITS ") & wait", NULL, false);
    const pid_t known[] = {a.pid, b.pid};
    CHECK_EQ(kill_strays(known, 2), 0);
    CHECK(kill_strays(known, 1) >= 1);
    CHECK_EQ(proc_rig_end(&b), SIGKILL);
    while (kill_strays(known, 1) > 0) /* the one below it, when it is there by now */
        kin_reap(known, 1);
    CHECK_EQ(proc_signal(&a, 0), 0);
    CHECK_EQ(proc_signal(&a, SIGKILL), 0);
    CHECK_EQ(proc_rig_end(&a), SIGKILL);
}

/* As another user than root, and with a /proc that hides who is not dumpable. */
static _Noreturn void
end_hidden(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("proc", "/proc", "proc", 0, "hidepid=2") < 0 || setgroups(0, NULL) < 0 ||
        setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0 ||
        prctl(PR_SET_DUMPABLE, 0) < 0)
        _exit(77);
    pid_t pid = fork();
    struct kin kin;
    if (pid == 0)
        for (;;)
            (void)pause();
    bool ok = kin_look(pid, &kin) == -ESRCH && kin_signal(0, pid, 0) == 0 &&
              kin_signal(0, 0, SIGKILL) == 1;
    (void)kill(pid, SIGKILL);
    ok = waitpid(pid, NULL, 0) == pid && ok && kin_signal(0, 0, 0) == 0;
    _exit(ok ? 0 : 1);
}

TEST(a_child_that_is_hidden_from_us_is_ours)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0)
        end_hidden();
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        tap_skip("it takes root, and mounts of its own");
    else
        CHECK_EQ(status, 0);
}

/* Forks a child of this number. */
static pid_t
fork_as(pid_t pid)
{
    FILE *f = fopen("/proc/sys/kernel/ns_last_pid", "we");
    if (!f || fprintf(f, "%d", (int)pid - 1) < 0 || fclose(f) != 0)
        _exit(77);
    return fork();
}

/* The first of a namespace, with a child 60 and another, 100, of which comes a child 50. */
static _Noreturn void
have_odd_numbers(void)
{
    int status = -1;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("proc", "/proc", "proc", 0, NULL) < 0)
        _exit(77);
    pid_t other = fork_as(60), us = other ? fork_as(100) : 0;
    pid_t child = other && !us ? fork_as(50) : 0;
    if (child) {
        struct kin *strays;
        size_t count = kin_strays(NULL, 0, &strays);
        _exit(count == 1 && strays->pid == child && kin_signal(0, 0, 0) == 1 ? 0 : 1);
    }
    if (!us)
        for (;;)
            (void)pause();
    (void)waitpid(us, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

TEST(a_child_whose_number_is_below_ours_tells_nothing_of_those_above_us)
{
    int status = -1;
    pid_t pid =
        (pid_t)syscall(SYS_clone, SIGCHLD | CLONE_NEWPID | CLONE_NEWNS, NULL, NULL, NULL, 0UL);
    if (pid == 0)
        have_odd_numbers();
    if (pid > 0)
        CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (pid < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 77))
        tap_skip("PID namespaces are not possible here");
    else
        CHECK_EQ(status, 0);
}

static _Noreturn void
look_at_others(void)
{
    pid_t first = fork();
    if (first == 0)
        for (;;)
            (void)pause();
    _exit((int)kin_signal(0, 0, SIGKILL));
}

/* There, process 1 of ours is the mother of all. */
TEST(a_proc_of_another_namespace_tells_nothing)
{
    int status = -1;
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD | CLONE_NEWPID, NULL, NULL, NULL, 0UL);
    if (pid < 0) {
        tap_skip("PID namespaces are not possible here");
        return;
    }
    if (pid == 0)
        look_at_others();
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}
