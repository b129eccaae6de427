#pragma once

/* A request's body while it is kept: in memory as long as it is small, and from there on in a file
 * without a name, so that many large ones cost page cache and disk instead of memory. Once it is whole
 * it is read as one run of bytes, wherever it is.
 *
 * The file is written by write(), which may have to wait for a disk that has too much to do. Where none
 * can be made (no such directory, a file system without O_TMPFILE) the body stays in memory: ceilings
 * count it in either place. */

#include "base/buf.h"
#include "base/err.h"

#define BODY_MEMORY_MAX (1 * MIB)

struct body {
    const char *bytes; /* once it is whole: these, and a NUL behind them */
    size_t len;        /* so far */

    /* the rest is the body's own */
    const char *dir;
    struct buf memory;
    int fd; /* -1: it is in memory */
    bool is_whole, is_mapped;
};

/* dir: where files are made; it outlives the body. */
void body_init(struct body *b, const char *dir, uint64_t bytes_max);
void body_finish(struct body *b);

/* ERR_SPOOL: the disk is full, or failed. After a failure nothing may follow. */
int body_add(struct body *b, const char *bytes, size_t len, struct err *reterr) must_check;
int body_end(struct body *b, struct err *reterr) must_check;
