#include "sys/proc.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#    define P_PIDFD 3
#endif

#define TRACED_US UINT64_C(100000) /* between looks at one whom a tracer holds */

/* What the child tells when it did not come to be the program. */
struct failure {
    int err;
    int step;
};

static const char *const steps[] = {"cannot prepare", "cannot enter the directory of",
                                    "cannot run"};
enum { STEP_PREPARE, STEP_DIR, STEP_RUN };

/* The program's file, as execvp() would find it: looked up here, since the child of a process with
 * threads may do next to nothing. */
static char *
find_program(const char *name)
{
    const char *path = getenv("PATH");
    if (strchr(name, '/') || !path)
        return mem_strdup(name);
    for (const char *part = path; *part;) {
        int len = (int)strcspn(part, ":");
        char *file = len ? mem_printf("%.*s/%s", len, part, name) : mem_strdup(name);
        if (access(file, X_OK) == 0)
            return file;
        free(file);
        part += len + (part[len] == ':');
    }
    return mem_strdup(name);
}

/* From here to exec only what a signal handler may do. */

static int
take_fds(const int fds[3])
{
    int above[3];
    /* First out of the way: one of them may stand where another goes. */
    for (int i = 0; i < 3; i++) {
        int from = fds[i] >= 0 ? fds[i] : open("/dev/null", O_RDWR | O_CLOEXEC);
        above[i] = from < 0 ? -1 : fcntl(from, F_DUPFD_CLOEXEC, 3);
        if (above[i] < 0)
            return -errno;
    }
    for (int i = 0; i < 3; i++)
        if (dup2(above[i], i) < 0)
            return -errno;
    return 0;
}

/* Everything else closes, also what a library opened without O_CLOEXEC; `tell` moves to 3. Linux 5.9
 * can close a range, only 5.11 can mark it. */
static int
close_others(int *tell)
{
    if (*tell != 3 && dup3(*tell, 3, O_CLOEXEC) < 0)
        return -errno;
    *tell = 3;
    return syscall(SYS_close_range, 4u, ~0u, 0u) < 0 ? -errno : 0;
}

/* Signals come blocked: one that arrived since the fork is the program's, and our own handlers
 * (which write to a pipe that we share with the parent) must not take it. */
static void
reset_signals(void)
{
    sigset_t none;
    (void)sigemptyset(&none);
    for (int signo = 1; signo < NSIG; signo++)
        (void)sigaction(signo, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Mounts of its own, so that its /proc is seen by nobody else. */
static int
show_own_pids(void)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return -errno;
    return 0;
}

/* Whoever asked for us still waits for our word, and nobody else can hear it. In a namespace the
 * parent has no number. */
static bool
is_parent_there(const struct proc_wish *wish, pid_t parent, int tell)
{
    struct pollfd fd = {.fd = tell};
    if (!wish->own_pids)
        return getppid() == parent;
    return poll(&fd, 1, 0) >= 0 && !(fd.revents & POLLERR);
}

static int
prepare(const struct proc_wish *wish, pid_t parent, int *tell)
{
    reset_signals();
    if (wish->cgroup > 0 && write(wish->cgroup, "0", 1) < 0)
        return -errno;
    if (wish->own_pids && show_own_pids() < 0)
        return -errno;
    if (wish->new_session && setsid() < 0)
        return -errno;
    if (wish->reaper && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return -errno;
    if (wish->death_signal && prctl(PR_SET_PDEATHSIG, wish->death_signal) < 0)
        return -errno;
    if (wish->death_signal && !is_parent_there(wish, parent, *tell)) /* before the line above */
        return -ESRCH;
    int r = take_fds(wish->fds);
    return r < 0 ? r : close_others(tell);
}

static _Noreturn void
become(const struct proc_wish *wish, const char *program, int tell, int hear, pid_t parent)
{
    struct failure failure = {0};
    (void)close(hear); /* the parent's */
    int r = prepare(wish, parent, &tell);
    if (r == 0 && wish->dir && chdir(wish->dir) < 0) {
        failure.step = STEP_DIR;
        r = -errno;
    }
    if (r == 0) {
        char *const *environ_given = (char *const *)(uintptr_t)wish->environ;
        (void)execve(program, (char *const *)(uintptr_t)wish->argv,
                     environ_given ? environ_given : environ);
        failure.step = STEP_RUN;
        r = -errno;
    }
    failure.err = -r;
    (void)!write(tell, &failure, sizeof(failure));
    _exit(127);
}

static int
read_failure(int fd, struct failure *ret)
{
    ssize_t n;
    do
        n = read(fd, ret, sizeof(*ret));
    while (n < 0 && errno == EINTR);
    return n == sizeof(*ret);
}

/* As fork(), but for the handlers of libraries, which the child has no use for. */
static pid_t
fork_into(bool own_pids)
{
    if (!own_pids)
        return fork();
    return (pid_t)syscall(SYS_clone, SIGCHLD | CLONE_NEWPID | CLONE_NEWNS, NULL, NULL, NULL, 0UL);
}

static pid_t
fork_with_signals_blocked(bool own_pids)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork_into(own_pids);
    int failed = errno;
    if (pid != 0)
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = failed;
    return pid;
}

pid_t
proc_fork(int *keep)
{
    pid_t parent = getpid();
    pid_t pid = fork_with_signals_blocked(false);
    if (pid != 0)
        return pid < 0 ? -errno : pid;
    reset_signals();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || close_others(keep) < 0)
        _exit(127);
    return 0;
}

int
proc_start(const struct proc_wish *wish, struct proc *ret_proc, struct err *reterr)
{
    _cleanup_free_ char *program = find_program(wish->argv[0]);
    int ends[2];
    struct failure failure;
    struct proc_end end;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set_errno(reterr, errno, "cannot run '%s'", wish->argv[0]);
    _cleanup_close_ int tell = ends[1], hear = ends[0];
    /* The child's end must not be among the descriptors that the child rearranges. */
    int above = fcntl(tell, F_DUPFD_CLOEXEC, 3);
    pid_t self = getpid();
    pid_t pid = above < 0 ? -1 : fork_with_signals_blocked(wish->own_pids);
    if (pid == 0)
        become(wish, program, above, hear, self);
    int failed = pid < 0 ? errno : 0;
    cleanup_close(&above);
    cleanup_close(&tell);
    if (failed)
        return err_set_errno(reterr, failed, "cannot run '%s'", wish->argv[0]);
    /* The number is ours until it is reaped, so this is the child. */
    struct proc proc = {pid, (int)syscall(SYS_pidfd_open, pid, 0)};
    failed = proc.fd < 0 ? errno : 0;
    if (failed) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return err_set_errno(reterr, failed, "cannot watch '%s'", wish->argv[0]);
    }
    if (read_failure(hear, &failure)) {
        (void)!proc_wait(&proc, &end);
        proc_close(&proc);
        return err_set_errno(reterr, failure.err, "%s '%s'", steps[failure.step], wish->argv[0]);
    }
    *ret_proc = proc;
    return 0;
}

int
proc_signal(const struct proc *proc, int signo)
{
    if (proc->fd < 0)
        return -ESRCH;
    return syscall(SYS_pidfd_send_signal, proc->fd, signo, NULL, 0) < 0 ? -errno : 0;
}

static int
reap(struct proc *proc, int flags, struct proc_end *ret_end)
{
    siginfo_t info = {0};
    int r;
    if (proc->fd < 0)
        return -ESRCH;
    do
        r = waitid((idtype_t)P_PIDFD, (id_t)proc->fd, &info, WEXITED | flags);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return -errno;
    if (info.si_pid == 0)
        return -EAGAIN;
    *ret_end = (struct proc_end){info.si_code != CLD_EXITED, info.si_status};
    proc_close(proc);
    return 0;
}

int
proc_reap(struct proc *proc, struct proc_end *ret_end)
{
    return reap(proc, WNOHANG, ret_end);
}

int
proc_wait(struct proc *proc, struct proc_end *ret_end)
{
    return reap(proc, 0, ret_end);
}

void
proc_close(struct proc *proc)
{
    cleanup_close(&proc->fd);
    proc->pid = 0;
}

static void
take_end(struct proc_watch *watch)
{
    struct proc *proc = watch->proc;
    struct proc_end end;
    proc_watch_stop(watch); /* before its descriptor is closed */
    int r = proc_reap(proc, &end);
    assert(r == 0 || r == -EAGAIN); /* it is our child, and nobody else reaps it */
    if (r == 0)
        watch->ended(watch, &end);
    else /* its pidfd is readable already */
        loop_timer_start(watch->loop, &watch->again, TRACED_US, 0);
}

static void
on_end(struct loop_fd *fd, unsigned events unused_arg)
{
    take_end(container_of(fd, struct proc_watch, fd));
}

static void
on_again(struct loop_timer *timer)
{
    take_end(container_of(timer, struct proc_watch, again));
}

int
proc_watch_start(struct loop *loop, struct proc_watch *watch, struct proc *proc)
{
    watch->loop = loop;
    watch->proc = proc;
    watch->fd.ready = on_end;
    watch->again.expired = on_again;
    return loop_fd_start(loop, &watch->fd, proc->fd, LOOP_READ);
}

void
proc_watch_stop(struct proc_watch *watch)
{
    loop_fd_stop(&watch->fd);
    loop_timer_stop(&watch->again);
}

const char *
proc_end_print(const struct proc_end *end, char text[64])
{
    const char *name = end->killed ? sigabbrev_np(end->status) : NULL;
    if (name)
        (void)snprintf(text, 64, "killed by SIG%s", name);
    else
        (void)snprintf(text, 64, end->killed ? "killed by signal %d" : "exit status %d",
                       end->status);
    return text;
}
