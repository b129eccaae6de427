#pragma once

/* A program of the system that is run to its end, for what it says and how it ends. */

#include "base/buf.h"
#include "base/err.h"
#include "sys/proc.h"

/* What it says, on standard output and standard error, goes behind what the buffer holds; above the
 * ceiling it is lost. It is killed after the limit: ERR_COMMAND_SLOW. */
int command_run(const char *const *argv, uint64_t limit_us, struct buf *out,
                struct proc_end *ret_end, struct err *reterr) must_check;

/* Likewise, where anything but exit status 0 is an error that has its last line. */
int command_insist(const char *const *argv, uint64_t limit_us, struct err *reterr) must_check;
