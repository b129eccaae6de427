#include "sys/proc.h"

#include "base/mem.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static struct proc_wish
shell(const char *const argv[4])
{
    return (struct proc_wish){.argv = argv, .fds = PROC_FDS_NULL};
}

#define SHELL(script) ((const char *const[4]){"sh", "-c", (script), NULL})

TEST(a_process_tells_how_it_ended)
{
    static const struct {
        const char *script;
        bool killed;
        int status;
        const char *text;
    } rows[] = {
        {"exit 0", false, 0, "exit status 0"},
        {"exit 75", false, 75, "exit status 75"},
        {"kill -9 $$", true, SIGKILL, "killed by SIGKILL"},
        {"kill -TERM $$", true, SIGTERM, "killed by SIGTERM"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct proc_wish wish = shell(SHELL(rows[i].script));
        struct proc p;
        struct proc_end end;
        char text[64];
        tap_note("%s", rows[i].script);
        REQUIRE(proc_start(&wish, &p, NULL) == 0);
        CHECK_EQ(proc_wait(&p, &end), 0);
        CHECK_EQ(end.killed, rows[i].killed);
        CHECK_EQ(end.status, rows[i].status);
        CHECK_STR(proc_end_print(&end, text), rows[i].text);
        CHECK_EQ(p.fd, -1);
        CHECK_EQ(proc_signal(&p, SIGTERM), -ESRCH);
        CHECK_EQ(proc_reap(&p, &end), -ESRCH);
    }
}

TEST(what_cannot_run_is_told_at_once)
{
    static const char *const absent[] = {"no-such-program-here", NULL};
    static const char *const directory[] = {"/tmp", NULL};
    struct err err = {0};
    struct proc p;
    struct proc_wish wish = {.argv = absent, .fds = PROC_FDS_NULL};
    CHECK_EQ(proc_start(&wish, &p, &err), -ENOENT);
    CHECK(strstr(err.what, "no-such-program-here") != NULL);
    wish.argv = directory;
    CHECK_EQ(proc_start(&wish, &p, &err), -EACCES);
    wish = shell(SHELL("exit 0"));
    wish.dir = "/nowhere";
    CHECK_EQ(proc_start(&wish, &p, &err), -ENOENT);
    CHECK(strstr(err.what, "directory") != NULL);
}

/* What the script writes to its standard output. */
static char *
run(struct proc_wish *wish)
{
    static char said[4096];
    int ends[2];
    struct proc p;
    struct proc_end end;
    size_t len = 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return NULL;
    wish->fds[1] = ends[1];
    int r = proc_start(wish, &p, NULL);
    (void)close(ends[1]);
    for (ssize_t n = 1; r == 0 && n > 0 && len < sizeof(said) - 1; len += (size_t)MAX(n, 0))
        n = read(ends[0], said + len, sizeof(said) - 1 - len);
    said[len] = '\0';
    (void)close(ends[0]);
    return r == 0 && proc_wait(&p, &end) == 0 ? said : NULL;
}

TEST(a_process_gets_what_was_wished_and_no_more)
{
    static const char *const env[] = {"A=1", "B=two words", NULL};
    struct proc_wish wish = shell(SHELL("pwd; echo \"$A $B $HOME\"; ls /proc/self/fd | wc -l"));
    int extra = open("/dev/null", O_RDONLY); /* without O_CLOEXEC, as a library might */
    wish.dir = "/";
    wish.environ = env;
    /* 0, 1, 2, and the directory that ls reads */
    CHECK_STR(run(&wish), "/\n1 two words \n4\n");
    (void)close(extra);
}

TEST(standard_descriptors_may_trade_places)
{
    int out = open("/dev/null", O_WRONLY | O_CLOEXEC);
    struct proc_wish wish = shell(SHELL("echo to stderr >&2"));
    int ends[2];
    struct proc p;
    struct proc_end end;
    char said[64] = "";
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    wish.fds[1] = out;
    wish.fds[2] = ends[1];
    wish.fds[0] = 2; /* our own standard error becomes its input */
    REQUIRE(proc_start(&wish, &p, NULL) == 0);
    (void)close(ends[1]);
    CHECK(read(ends[0], said, sizeof(said) - 1) > 0);
    CHECK_STR(said, "to stderr\n");
    CHECK_EQ(proc_wait(&p, &end), 0);
    (void)close(ends[0]);
    (void)close(out);
}

TEST(ignored_and_blocked_signals_are_not_inherited)
{
    sigset_t blocked, old;
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &blocked, &old);
    (void)sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    struct proc_wish wish = shell(SHELL("grep -E 'Sig(Blk|Ign)' /proc/self/status | cut -f2"));
    const char *said = run(&wish);
    REQUIRE(said);
    char *rest;
    unsigned long long blocked_there = strtoull(said, &rest, 16);
    unsigned long long ignored_there = strtoull(rest, NULL, 16);
    CHECK_EQ(rest - said, 16);
    CHECK_EQ(blocked_there, 0);
    /* Signals 32 and 33 belong to the C library, which lets nobody change what was inherited. */
    CHECK_EQ(ignored_there & ~(3ull << 31), 0);
    (void)sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    (void)sigprocmask(SIG_SETMASK, &old, NULL);
}

static volatile sig_atomic_t handled;
static bool raise_after_fork;

static void
on_signal(int signo unused_arg)
{
    handled = 1;
}

static void
in_child(void)
{
    if (!raise_after_fork)
        return;
    (void)raise(SIGUSR1);
    if (handled)
        _exit(99); /* our handler took it, and the program would never hear of it */
}

TEST(a_signal_right_after_the_fork_is_for_the_program)
{
    struct proc_wish wish = shell(SHELL("exit 0"));
    struct sigaction old;
    struct proc p;
    struct proc_end end;
    REQUIRE(pthread_atfork(NULL, NULL, in_child) == 0);
    (void)sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal}, &old);
    raise_after_fork = true;
    int r = proc_start(&wish, &p, NULL);
    raise_after_fork = false;
    (void)sigaction(SIGUSR1, &old, NULL);
    REQUIRE(r == 0);
    CHECK_EQ(proc_wait(&p, &end), 0);
    CHECK(end.killed);
    CHECK_EQ(end.status, SIGUSR1);
}

TEST(a_session_of_its_own)
{
    struct proc_wish wish = shell(SHELL("cut -d' ' -f6 /proc/self/stat; echo $$"));
    wish.new_session = true;
    const char *said = run(&wish);
    REQUIRE(said);
    char *rest;
    long session = strtol(said, &rest, 10), pid = strtol(rest, NULL, 10);
    CHECK(session > 0);
    CHECK_EQ(session, pid);
}

/* A parent that asks for a process which waits for its control group: a pipe that is full. Returns
 * once that process is there; 0: it cannot be here. */
static pid_t
start_below(const struct proc_wish *wish)
{
    pid_t parent = fork();
    if (parent == 0) {
        struct proc p;
        (void)!proc_start(wish, &p, NULL);
        _exit(0);
    }
    char path[64], child[16];
    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)parent, (int)parent);
    for (ssize_t n = 0; n <= 0 && waitpid(parent, NULL, WNOHANG) == 0;) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        n = read(fd, child, sizeof(child));
        (void)close(fd);
        if (n > 0)
            return parent;
    }
    return 0;
}

/* Its death signal is set too late to tell of that. */
TEST(who_lost_its_parent_before_it_could_be_told_does_not_run)
{
    static char block[4096];
    for (int own_pids = 0; own_pids < 2; own_pids++) {
        struct proc_wish wish = shell(SHELL("echo runs"));
        int said[2], group[2];
        char text[8];
        REQUIRE(pipe2(said, O_CLOEXEC) == 0 && pipe2(group, O_CLOEXEC | O_NONBLOCK) == 0);
        while (write(group[1], block, sizeof(block)) > 0)
            ;
        REQUIRE(fcntl(group[1], F_SETFL, 0) == 0);
        wish.fds[1] = said[1];
        wish.cgroup = group[1];
        wish.own_pids = own_pids;
        wish.death_signal = SIGTERM;
        pid_t parent = start_below(&wish);
        (void)close(said[1]);
        if (parent) {
            (void)kill(parent, SIGKILL);
            (void)waitpid(parent, NULL, 0);
            CHECK_EQ(read(group[0], block, sizeof(block)), (ssize_t)sizeof(block));
            tap_note("in a namespace of its own: %d", own_pids);
            CHECK_EQ(read(said[0], text, sizeof(text)), 0);
        }
        (void)close(said[0]);
        (void)close(group[0]);
        (void)close(group[1]);
    }
}

struct ended {
    struct proc_watch watch;
    struct loop *loop;
    struct proc_end end;
    int count;
};

static void
note_end(struct proc_watch *watch, const struct proc_end *end)
{
    struct ended *e = (struct ended *)watch;
    e->end = *end;
    e->count++;
    loop_stop(e->loop);
}

TEST(the_loop_hears_of_the_end)
{
    struct ended e = {.watch.ended = note_end};
    struct proc_wish wish = shell(SHELL("exec cat /proc/self/fd/0 >/dev/null; sleep 1000"));
    int ends[2];
    struct proc p;
    REQUIRE(loop_new(&e.loop, NULL) == 0);
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    wish.fds[0] = ends[0];
    REQUIRE(proc_start(&wish, &p, NULL) == 0);
    (void)close(ends[0]);
    struct proc_end end;
    CHECK_EQ(proc_reap(&p, &end), -EAGAIN);
    CHECK_EQ(proc_watch_start(e.loop, &e.watch, &p), 0);
    CHECK_EQ(proc_signal(&p, SIGKILL), 0);
    loop_run(e.loop);
    CHECK_EQ(e.count, 1);
    CHECK(e.end.killed && e.end.status == SIGKILL);
    CHECK_EQ(p.fd, -1);
    (void)close(ends[1]);
    loop_free(e.loop);
}

/* A process that holds another as a debugger does, until the pipe is closed; -1: that is not allowed. */
static pid_t
start_tracer(pid_t traced, int *ret_hold)
{
    int hold[2], told[2];
    char byte = 0;
    if (pipe2(hold, O_CLOEXEC) < 0 || pipe2(told, O_CLOEXEC) < 0)
        abort();
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(hold[1]);
        byte = ptrace(PTRACE_SEIZE, traced, NULL, NULL) == 0;
        (void)!write(told[1], &byte, 1);
        (void)!read(hold[0], &byte, 1);
        _exit(0);
    }
    (void)!read(told[0], &byte, 1);
    (void)close(told[0]);
    (void)close(told[1]);
    (void)close(hold[0]);
    *ret_hold = hold[1];
    if (byte)
        return pid;
    cleanup_close(ret_hold);
    (void)waitpid(pid, NULL, 0);
    return -1;
}

struct held {
    struct loop_timer timer;
    int hold;
};

static void
let_go(struct loop_timer *timer)
{
    cleanup_close(&container_of(timer, struct held, timer)->hold);
}

TEST(the_end_of_one_that_is_traced_is_heard_when_the_tracer_lets_go)
{
    struct ended e = {.watch.ended = note_end};
    struct held held = {.timer.expired = let_go};
    struct proc_wish wish = shell(SHELL("exec sleep 1000"));
    struct proc p;
    struct proc_end end;
    REQUIRE(loop_new(&e.loop, NULL) == 0 && proc_start(&wish, &p, NULL) == 0);
    pid_t tracer = start_tracer(p.pid, &held.hold);
    CHECK_EQ(proc_signal(&p, SIGKILL), 0);
    if (tracer < 0) {
        CHECK_EQ(proc_wait(&p, &end), 0);
        loop_free(e.loop);
        tap_skip("nobody may trace here");
        return;
    }
    struct pollfd fd = {.fd = p.fd, .events = POLLIN};
    CHECK_EQ(poll(&fd, 1, -1), 1);
    CHECK_EQ(proc_reap(&p, &end), -EAGAIN);
    CHECK_EQ(proc_watch_start(e.loop, &e.watch, &p), 0);
    loop_timer_start(e.loop, &held.timer, 50000, 0);
    loop_run(e.loop);
    CHECK_EQ(e.count, 1);
    CHECK(e.end.killed && e.end.status == SIGKILL);
    CHECK_EQ(waitpid(tracer, NULL, 0), tracer);
    loop_timer_stop(&held.timer);
    loop_free(e.loop);
}
