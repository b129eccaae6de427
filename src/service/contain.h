#pragma once

/* Holding a service together with all that it starts, so that it can be ended as a whole. Three
 * ways; the strongest that this machine allows is taken, and says what it promises.
 *
 *   cgroup      a control group of its own, killed as one
 *   namespace   a PID namespace: all in it end with the service's first process
 *   subreaper   orphans become our children, and are then killed; nothing holds them if we are
 *               killed ourselves, until the next start finds what was noted */

#include "base/err.h"
#include "sys/proc.h"

enum contain_kind { CONTAIN_AUTO, CONTAIN_CGROUP, CONTAIN_NAMESPACE, CONTAIN_SUBREAPER };

struct contain {
    enum contain_kind kind;
    char dir[512]; /* of the control groups; "" with the other kinds */
};

/* kind: CONTAIN_AUTO, or the one that is insisted on. */
int contain_open(struct contain *c, enum contain_kind kind, struct err *reterr) must_check;
void contain_close(struct contain *c);
bool contain_parse(const char *word, enum contain_kind *ret_kind) must_check;
const char *contain_word(enum contain_kind kind);
const char *contain_promise(enum contain_kind kind); /* a sentence */

/* Before a start: kills what is left of an earlier one, and prepares the wish. *ret_fd is closed by
 * the caller after the start. */
int contain_prepare(struct contain *c, const char *name, struct proc_wish *wish, int *ret_fd,
                    struct err *reterr) must_check;

/* Kills all that is left of a service whose first process has ended, or is to. known: the first
 * processes of all services that live. Returns how many there were; 0: none. */
size_t contain_kill(struct contain *c, const char *name, const struct proc *first,
                    const pid_t *known, size_t count);
