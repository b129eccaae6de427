#pragma once

/* Holding a service together with all that it starts, so that it can be ended as a whole. Three
 * ways; the strongest that this machine allows is taken, and says what it promises.
 *
 *   cgroup      a control group (version 2) for each service, killed as one; and strays, as below.
 *               Not with --root, below which there are none
 *   namespace   a PID namespace: the kernel ends all in it with the service's first process
 *   subreaper   whoever loses its parent below us becomes our child, and is killed when the service
 *               it came from has ended; so is a stray of another service, if that is not the reaper
 *               of its own, as the shims are
 *
 * A supervisor that is killed itself can end nothing. Its services get SIGTERM from the kernel, and
 * what does not heed that is found by the next supervisor of the same run directory: by the control
 * group, whose path is in RUN/services/.group, and by the mark that is in the environment of all that
 * a service starts unless it is taken out, CITADEL_SERVICE=RUN/services/NAME. */

#include "base/err.h"
#include "sys/proc.h"

enum contain_kind { CONTAIN_AUTO, CONTAIN_CGROUP, CONTAIN_NAMESPACE, CONTAIN_SUBREAPER };

struct contain {
    enum contain_kind kind;
    const char *run_dir; /* the caller's */
    char dir[512];       /* of the control groups; "" with the other kinds */
};

bool contain_parse(const char *word, enum contain_kind *ret_kind) must_check;
const char *contain_word(enum contain_kind kind);
const char *contain_promise(enum contain_kind kind); /* a sentence without its full stop */

/* Kills what an earlier supervisor of run_dir left, and returns how many processes that were. Waits
 * some seconds for their end; ERR_PROC_STUCK when they do not. The caller has the lock of run_dir. */
int contain_clean(const char *run_dir, struct err *reterr) must_check;

/* kind: the one that is insisted on, or CONTAIN_AUTO. What is taken was tried with a process. */
int contain_open(struct contain *c, enum contain_kind kind, const char *run_dir, struct err *reterr)
    must_check;
void contain_close(struct contain *c);

/* For the environment of a service. */
char *contain_mark(const struct contain *c, const char *name) must_check;

/* Before a start: prepares the wish. *ret_fd is closed by the caller after the start. */
int contain_prepare(const struct contain *c, const char *name, struct proc_wish *wish, int *ret_fd,
                    struct err *reterr) must_check;

/* Kills all that is left of a service whose first process has ended. known: the first processes of
 * all services that live. Returns how many there were; to be called again until that is 0. */
size_t contain_kill(const struct contain *c, const char *name, const pid_t *known, size_t count)
    must_check;
