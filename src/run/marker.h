#pragma once

/* The marker of an emergency stop, RUN/emergency: while it is there, nothing of Citadel starts. Each
 * unit has a condition on it; the shim and the supervisor look for it themselves. What it holds is for
 * people and programs, {"by", "why", "at_us"}; that it is there is what counts. A reboot takes it away
 * with all of RUN.
 *
 * RUN is root's, so that no engine can set it, or take it away. */

#include "base/err.h"

#define RUN_MARKER_WHY_MAX 255 /* bytes of a reason */

struct run_marker {
    bool set;
    uint64_t at_us; /* since 1970; 0: it does not tell */
    char by[64], why[RUN_MARKER_WHY_MAX + 1];
};

void run_marker_read(const char *run_dir, struct run_marker *ret_marker);

/* 0: it may start. ERR_EMERGENCY: it must not. */
int run_marker_check(const char *run_dir, struct err *reterr) must_check;

/* One that is there stays as it is. Waits for nobody, not even for a disk. */
int run_marker_set(const char *run_dir, const char *by, const char *why, struct err *reterr)
    must_check;
int run_marker_lift(const char *run_dir, struct err *reterr) must_check; /* none is no error */
