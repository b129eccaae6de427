#pragma once

/* A request's body while it is kept: in memory as long as it is small, and from there on in a file
 * without a name, so that many large ones cost page cache and disk instead of memory.
 *
 * The file is written by write() and read by pread(), a part at a time, which may have to wait for a disk
 * that has too much to do; it is not mapped, since a disk that fails would end us. Where none
 * can be made (no such directory, a file system without O_TMPFILE) the body stays in memory: ceilings
 * count it in either place. */

#include "base/buf.h"
#include "base/err.h"

struct loop;

#define BODY_MEMORY_MAX (1 * MIB)

struct body {
    size_t len; /* so far */

    /* the rest is the body's own */
    struct loop *loop;
    const char *dir;
    struct buf memory;
    int fd; /* -1: it is in memory */
};

/* dir: where files are made; it outlives the body. Their end is work: a disk takes some milliseconds to
 * let go of a large one. */
void body_init(struct body *b, struct loop *loop, const char *dir, uint64_t bytes_max);
void body_finish(struct body *b);

/* ERR_SPOOL: the disk is full, or failed; a client may read it, so it does not say where. After
 * a failure nothing may follow. */
int body_add(struct body *b, const char *bytes, size_t len, struct err *reterr) must_check;
/* A part of it: where it lies in memory, or read into `room`. NULL: ERR_SPOOL. */
const char *body_read(const struct body *b, size_t at, size_t len, char *room, struct err *reterr)
    must_check;
bool body_is_in_memory(const struct body *b); /* no room is needed */
