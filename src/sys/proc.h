#pragma once

/* Processes that we start. One is held by a pidfd, so that no signal ever reaches another process
 * that got the same number later. */

#include "base/err.h"
#include "sys/loop.h"

#include <sys/types.h>

struct proc_wish {
    const char *const *argv;    /* NULL behind the last; the first is found in $PATH */
    const char *const *environ; /* NULL: as ours */
    const char *dir;            /* NULL: where we are */
    int fds[3]; /* its 0, 1 and 2; -1: /dev/null. No other descriptor is passed on */
    bool new_session;
    bool own_pids; /* a PID namespace: all in it end with this process; its /proc shows only them */
    int cgroup;    /* of which it is to be: its cgroup.procs, open for writing; 0: ours */
    bool reaper;   /* whoever loses its parent below it becomes its child, while it lives */
    int death_signal; /* sent to it when the thread that started it ends; 0: none */
};

#define PROC_FDS_NULL \
    {                 \
        -1, -1, -1    \
    }

struct proc {
    pid_t pid;
    int fd; /* pidfd; -1: none */
};

/* How a process ended. */
struct proc_end {
    bool killed; /* by the signal `status`; else it exited with `status` */
    int status;
};

/* When it returns 0, the program runs: that it could not be executed is told here, with why. */
int proc_start(const struct proc_wish *wish, struct proc *ret_proc, struct err *reterr) must_check;

/* fork(), for a child that goes on as this program and may hang for ever: it is killed when the
 * thread that made it ends, has no signal handlers, and of descriptors only 0 to 2 and *keep, which
 * is 3 there. -errno. */
pid_t proc_fork(int *keep) must_check;

/* -ESRCH: it has ended. */
int proc_signal(const struct proc *proc, int signo) must_check;

/* Whether it has ended; then how, and it is gone from the process table. -EAGAIN: it runs. */
int proc_reap(struct proc *proc, struct proc_end *ret_end) must_check;
int proc_wait(struct proc *proc, struct proc_end *ret_end) must_check; /* until it has */

/* Gives up a process that was reaped, or that somebody else will reap. */
void proc_close(struct proc *proc);

/* Tells on the loop when it ends; it is reaped then. While a tracer (`strace -p`) has not let go of one
 * that has ended, it has not ended for us. */
struct proc_watch {
    void (*ended)(struct proc_watch *watch, const struct proc_end *end);
    struct proc *proc;
    struct loop *loop;
    struct loop_fd fd;
    struct loop_timer again;
};
int proc_watch_start(struct loop *loop, struct proc_watch *watch, struct proc *proc) must_check;
void proc_watch_stop(struct proc_watch *watch);

const char *proc_end_print(const struct proc_end *end, char text[64]); /* "exit status 1" */
