#pragma once

/* A program of the system that is run to its end, for what it says and how it ends, and not for longer
 * than it may take. */

#include "base/buf.h"
#include "sys/proc.h"

struct command {
    const char *const *argv; /* as in proc.h */
    int in;                  /* its standard input; -1: nothing */
    uint64_t limit_us;       /* then it is killed */
    /* What it says goes behind what these hold, up to their ceilings (buf_error()); the rest is thrown
     * away. */
    struct buf *out;   /* standard output */
    struct buf *words; /* standard error; NULL: into out, too */
};

/* ERR_COMMAND_SLOW: it has not ended by itself. What it has left behind may go on. */
int command_run(const struct command *command, struct proc_end *ret_end, struct err *reterr)
    must_check;

/* Where anything but exit status 0 is an error, which has the last line of what was said. */
int command_insist(const char *const *argv, uint64_t limit_us, struct err *reterr) must_check;

/* The last line that is not empty, in which programs say why they failed; cuts what follows it. */
const char *command_last_line(struct buf *said);
