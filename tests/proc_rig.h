#pragma once

/* For tests: a process that waits to be killed, and how it ended. */

#include "sys/proc.h"

#include <stdlib.h>

#define PROC_RIG_WAITS "trap '' TERM; exec sleep 1000" /* longer than any test: it is killed */

/* A shell's script; with `variable`, "NAME=VALUE", in its environment, or NULL. */
static inline struct proc
proc_rig_start(const char *script, const char *variable, bool new_session)
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

/* The signal that ended it, or 0. */
static inline int
proc_rig_end(struct proc *proc)
{
    struct proc_end end;
    return proc_wait(proc, &end) == 0 && end.killed ? end.status : 0;
}
