#pragma once

/* The marker of an emergency stop, RUN/emergency: while it is there, nothing of Citadel starts. Each
 * unit has a condition on it; the shim and the supervisor look for it themselves. What it holds is for
 * people and programs, {"by", "why", "at_us"}; that it is there is what counts. A reboot takes it away
 * with all of RUN. */

#include "base/err.h"

struct run_marker {
    bool set;
    uint64_t at_us; /* since 1970; 0: it does not tell */
    char by[64], why[256];
};

void run_marker_read(const char *run_dir, struct run_marker *ret_marker);

/* 0: it may start. ERR_EMERGENCY: it must not. */
int run_marker_check(const char *run_dir, struct err *reterr) must_check;

/* One that is there stays as it is. */
int run_marker_set(const char *run_dir, const char *by, const char *why, struct err *reterr)
    must_check;
int run_marker_lift(const char *run_dir, struct err *reterr) must_check; /* none is no error */
