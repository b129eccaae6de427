#pragma once

/* The processes that come of one that we started, however far they have strayed: its session, and
 * all that descend from us. Engines start workers, workers start helpers, and any may die first.
 *
 * A process is known by its number and the time at which it started, so that nobody is killed who
 * got a number later. */

#include "base/err.h"

#include <sys/types.h>

struct kin {
    pid_t pid;
    pid_t parent;
    pid_t session;
    uint64_t start; /* ticks since boot */
};

/* From now on, whoever loses a parent below us becomes our child. */
void kin_adopt(void);

/* One process; -ESRCH when it has ended. A zombie counts as ended, unless threads of it go on. */
int kin_look(pid_t pid, struct kin *ret_kin) must_check;

/* Sends a signal to all descendants of us (session 0) or to all in a session, and tells how many there
 * were; 0: none is left. keep: one that is passed over, 0: nobody. */
size_t kin_signal(pid_t session, pid_t keep, int signo);

/* All descendants of us that descend from none of these children of ours; the caller frees the list.
 * Who is hidden from us is among them if it is our child, and has start 0. */
size_t kin_strays(const pid_t *known, size_t count, struct kin **ret_strays);
/* All descendants of a process, likewise. */
size_t kin_below(pid_t top, struct kin **ret_below);
/* To one of them, if it still is that one and has the same parent. */
void kin_send(const struct kin *kin, int signo);
/* What its environment, as it got it, has that begins with mark, "NAME=value"; "" when nothing, or when
 * it is not ours to see, or sees another root directory than we do: a mark names files. The caller frees
 * it. */
char *kin_mark(const struct kin *kin, const char *mark) must_check;

/* All processes of this user (root: of any), whoever started them, whose environment as they got it has
 * something that begins with mark; but neither us nor those whom we descend from. The caller frees the
 * list. */
size_t kin_marked(const char *mark, struct kin **ret_marked);
size_t kin_signal_marked(const char *mark, int signo); /* to all of them */

/* Takes what has ended of our children out of the process table. These are left to their watchers; one
 * of them that has ended may be in the way, so it is called again once that was taken. */
void kin_reap(const pid_t *known, size_t count);

/* Calls kill_all(), which tells how many are left, until that is 0; for some seconds, then
 * ERR_PROC_STUCK. Returns how many were there at once. */
int kin_end(size_t (*kill_all)(const void *arg), const void *arg, struct err *reterr) must_check;

/* Who a leader of a session is, in a file: for who comes after us, should we be killed. Returns 0 and
 * writes nothing where it has ended already, or could not be told from another after a reboot. */
int kin_note(const char *path, pid_t leader, struct err *reterr) must_check;
/* Kills what the note tells of, if it is still there, and removes the note. Returns the number of
 * processes that had to be killed; waits for them for some seconds. */
int kin_end_noted(const char *path, struct err *reterr) must_check;
/* Likewise those who bear a mark. */
int kin_end_marked(const char *mark, struct err *reterr) must_check;
