#pragma once

/* Nobody below us but whom we start. A process that is told to end all that it started ends every
 * orphan below it too, so it must not be one that has children from before (`x & exec citadel ...`),
 * and not the first of a PID namespace, to which everybody's orphans come (in a container: sshd, what
 * `docker exec` started). Such a one goes on in a child, in a session of its own, and stays in front of
 * it: it passes signals on to it, takes orphans of others out of the process table, and ends as it
 * ends. Should it be killed, the child gets SIGTERM. */

#include "base/err.h"

/* To be called before there is a thread or a loop. 0: nobody else is below this process, which may be
 * another one than before. */
int apart_begin(struct err *reterr) must_check;
