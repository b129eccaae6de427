#pragma once

/* A program that is run to its end for what it says, and not for longer than it may take. */

#include "base/buf.h"
#include "sys/proc.h"

struct output_wish {
    const char *const *argv; /* as in proc.h */
    int in;                  /* its standard input; -1: nothing */
    uint64_t limit_us;       /* then it is killed */
};

/* 0: it has ended, and how is *ret_end. What it wrote to 1 and 2 is in the two buffers, up to their
 * ceilings (buf_error()); the rest is thrown away. -ETIMEDOUT: it was killed. */
int output_read(const struct output_wish *wish, struct buf *out, struct buf *words,
                struct proc_end *ret_end, struct err *reterr) must_check;

/* The last line of what it wrote, in which programs say why they failed; cuts what follows it. */
const char *output_last_line(struct buf *words);
