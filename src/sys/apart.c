#include "sys/apart.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* What concerns the process that it is sent to, or what a terminal's job control does with it. */
static const int kept[] = {SIGSEGV, SIGBUS,  SIGFPE,  SIGILL,  SIGTRAP, SIGABRT,
                           SIGSYS,  SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT};

static bool
has_children(void)
{
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

/* Takes who has ended; true: the child has, and that is its exit status. */
static bool
reap(pid_t child, int *ret_status)
{
    siginfo_t info = {0};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL) == 0 && info.si_pid != 0) {
        if (info.si_pid == child) {
            *ret_status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
            return true;
        }
        info.si_pid = 0;
    }
    return false;
}

/* No handler is of use: the first of a PID namespace does not get what it has none for, unless it is
 * blocked. */
static _Noreturn void
stay_in_front(pid_t child, const sigset_t *passed_on)
{
    int status;
    while (!reap(child, &status)) {
        int signo = sigwaitinfo(passed_on, NULL);
        if (signo > 0 && signo != SIGCHLD)
            (void)kill(child, signo); /* it is reaped above only, so the number is its own */
    }
    _exit(status);
}

/* Away from the terminal, which would send Ctrl-C to both. */
static void
go_on(pid_t front, const sigset_t *before)
{
    (void)setsid();
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != front)
        (void)raise(SIGTERM);
    (void)sigprocmask(SIG_SETMASK, before, NULL);
}

int
apart_begin(struct err *reterr)
{
    sigset_t passed_on, before;
    pid_t front = getpid();
    if (front != 1 && !has_children())
        return 0;
    (void)sigfillset(&passed_on);
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
        (void)sigdelset(&passed_on, kept[i]);
    (void)sigprocmask(SIG_BLOCK, &passed_on, &before);
    (void)sigaction(SIGCHLD, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    pid_t child = fork();
    if (child < 0) {
        int failed = errno;
        (void)sigprocmask(SIG_SETMASK, &before, NULL);
        return err_set_errno(reterr, failed, "cannot go on apart from what is here");
    }
    if (child > 0)
        stay_in_front(child, &passed_on);
    go_on(front, &before);
    return 0;
}
