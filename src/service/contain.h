#pragma once

/* Holding a service together with all that it starts, so that it can be ended as a whole. Three
 * ways; the strongest that this machine allows is taken, and says what it promises.
 *
 *   cgroup      a control group (version 2) for each service, killed as one; and what has left it, as
 *               below. Not with --root, below which there are none
 *   namespace   a PID namespace: the kernel ends all in it with the service's first process
 *   subreaper   whoever loses its parent becomes a child of the service's first process, and ours
 *               when that has ended, and is killed then
 *
 * While we live, all that a service has left is killed, and nobody else, whatever it has done to its
 * session, its parents and its environment: nobody but services is below us (sys/apart.h), and none
 * of them loses a process to us while its first one lives, so whoever is below us and below no first
 * process comes of a service that has ended. The price: orphans that a first process does not take
 * out of the process table stay there as long as it lives.
 *
 * A supervisor that is killed itself can end nothing. Its services get SIGTERM from the kernel, and
 * what does not heed that is found by the next supervisor of the same run directory: by the control
 * group, whose path is in RUN/services/.group, and by the mark that is in the environment of all that
 * a service starts, CITADEL_SERVICE=RUN/services/NAME. There the promise gives way: a process that
 * took it out of its environment, or overwrote that, and is held by neither group nor namespace stays
 * rather than that others are killed. */

#include "base/err.h"
#include "base/vec.h"
#include "sys/kin.h"
#include "sys/proc.h"

enum contain_kind { CONTAIN_AUTO, CONTAIN_CGROUP, CONTAIN_NAMESPACE, CONTAIN_SUBREAPER };

struct contain {
    enum contain_kind kind;
    const char *run_dir; /* the caller's */
    char dir[512];       /* of the control groups; "" with the other kinds */
    VEC(struct kin) given_up;
};

bool contain_parse(const char *word, enum contain_kind *ret_kind) must_check;
const char *contain_word(enum contain_kind kind);
const char *contain_promise(enum contain_kind kind); /* a sentence without its full stop */

/* Kills what an earlier supervisor of run_dir left, and returns how many processes were seen at once.
 * Waits some seconds for their end; ERR_PROC_STUCK when they do not. The caller has the lock of
 * run_dir. */
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
 * all services that live. What another has left that has just ended as well is killed, too, but counts
 * for that one, if its mark tells. Returns how many there were; to be called again until that is 0. */
size_t contain_kill(const struct contain *c, const char *name, const pid_t *known, size_t count)
    must_check;

/* What it would return now, since that hangs in the kernel or is another user's, is not waited for any
 * more, by no service; contain_kill() goes on trying. */
void contain_give_up(struct contain *c, const char *name, const pid_t *known, size_t count);
