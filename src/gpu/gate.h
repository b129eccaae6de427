#pragma once

/* A lock that one process of this host has at a time, that comes free whatever ends its holder, and
 * that can be waited for with poll(). It is a named pipe: the holder has a lock on it and is its
 * only writer, so that those who wait, its readers, see a hangup when it is gone. */

#include "base/util.h"

/* 0: *ret_held is the gate; closing it gives it back. -EAGAIN: another has it; *ret_wait hangs up
 * (POLLHUP, LOOP_HANGUP) when a new try is due; close it then. Waiting is not queueing: any of those
 * who wait may be next. Other errors: -errno. */
int gate_try(int dir, const char *name, int *ret_held, int *ret_wait) must_check;

/* Waits for it, for so long. -ETIMEDOUT. */
int gate_enter(int dir, const char *name, int timeout_ms, int *ret_held) must_check;
