#include "sys/kin.h"

#include "base/buf.h"
#include "base/mem.h"
#include "sys/files.h"
#include "sys/proc.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAITS "trap '' TERM; exec sleep 1000" /* longer than any test: it is killed */

static struct proc
start(const char *script, const char *variable, bool new_session)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    const char *const env[] = {"PATH=/usr/bin:/bin", variable, NULL};
    const struct proc_wish wish = {
        .argv = argv, .environ = env, .fds = PROC_FDS_NULL, .new_session = new_session};
    struct proc proc;
    if (proc_start(&wish, &proc, NULL) < 0)
        abort();
    return proc;
}

/* How it ended: the signal, or 0. */
static int
end_of(struct proc *proc)
{
    struct proc_end end;
    return proc_wait(proc, &end) == 0 && end.killed ? end.status : 0;
}

static void
write_note(const char *path, const char *text)
{
    if (file_write(path, text, strlen(text), 0600, NULL) < 0)
        abort();
}

TEST(who_bears_a_mark_is_found_and_nobody_else)
{
    struct proc a = start(WAITS, "MARK=/run/a/b", false);
    struct proc b = start(WAITS, "MARK=/run/b/b", false);
    struct proc c = start(WAITS, "OTHER=MARK=/run/a/b", false);
    CHECK_EQ(kin_signal_marked("MARK=/run/a/", 0), 1);
    CHECK_EQ(kin_signal_marked("MARK=/run/a/", SIGKILL), 1);
    CHECK_EQ(end_of(&a), SIGKILL);
    CHECK_EQ(kin_signal_marked("MARK=/run/a/", 0), 0);
    CHECK_EQ(proc_signal(&b, 0), 0);
    CHECK_EQ(proc_signal(&b, SIGKILL), 0);
    CHECK_EQ(proc_signal(&c, SIGKILL), 0);
    CHECK_EQ(end_of(&b), SIGKILL);
    CHECK_EQ(end_of(&c), SIGKILL);
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
    struct proc a = start(WAITS, NULL, true);
    REQUIRE(kin_note(note, a.pid, NULL) == 0);
    CHECK_EQ(kin_end_noted(note, NULL), 1);
    CHECK_EQ(end_of(&a), SIGKILL);
    CHECK(access(note, F_OK) < 0);
    CHECK_EQ(kin_end_noted(note, NULL), 0);
}

TEST(who_bears_a_mark_is_ended)
{
    struct proc a = start(WAITS, "MARK=/run/a/b", true);
    struct proc b = start(WAITS, "MARK=/run/a/bc", true);
    CHECK_EQ(kin_end_marked("MARK=/run/a/b/", NULL), 0);
    CHECK_EQ(kin_end_marked("MARK=/run/a/b", NULL), 2);
    CHECK_EQ(end_of(&a), SIGKILL);
    CHECK_EQ(end_of(&b), SIGKILL);
}

/* Boot, namespace, number, session, start: each must be what it was. */
TEST(a_note_that_may_mean_somebody_else_is_not_followed)
{
    _cleanup_buf_ struct buf good = BUF_INIT(4 * KIB);
    char note[300], text[300];
    const char *parts[5];
    (void)snprintf(note, sizeof(note), "%s/note", tap_dir());
    struct proc a = start(WAITS, NULL, true);
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
    CHECK_EQ(end_of(&a), SIGKILL);
}

TEST(strays_are_those_below_us_who_come_from_nobody_known)
{
    kin_adopt();
    struct proc a = start(WAITS, NULL, false);
    struct proc b = start("(" WAITS ") & wait", NULL, false);
    const pid_t known[] = {a.pid, b.pid};
    CHECK_EQ(kin_signal_strays(known, 2, 0), 0);
    CHECK(kin_signal_strays(known, 1, SIGKILL) >= 1);
    CHECK_EQ(end_of(&b), SIGKILL);
    while (kin_signal_strays(known, 1, SIGKILL) > 0) /* the one below it, when it is there by now */
        kin_reap(known, 1);
    CHECK_EQ(proc_signal(&a, 0), 0);
    CHECK_EQ(proc_signal(&a, SIGKILL), 0);
    CHECK_EQ(end_of(&a), SIGKILL);
}
