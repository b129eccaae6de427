#pragma once

/* A snapshot, or part of one, becomes plain files again. Every block is compared with its digest before it
 * is written. A directory is made beside its place and then put there by one rename, or left for the next
 * try, which goes on where this one ended; in place, each file is put there by a rename, and one that is
 * as it should be is not touched.
 *
 * Nothing is written through a link, whatever a repository says: all is below one descriptor. */

#include "backup/repository.h"
#include "backup/snapshot.h"
#include "sys/loop.h"

struct restore_wish {
    struct repository *repository; /* outlives it */
    uint8_t snapshot[HASH_SHA256_BYTES];
    const char *path; /* only this entry, and what is below it; NULL: all */
    const char *to;   /* a directory that will be there */
    bool replace;     /* and may be there already: what it is now goes */
    bool in_place;    /* it is there, and only what differs is written */
    unsigned threads; /* 1 to RESTORE_THREADS_MAX */
};

#define RESTORE_THREADS_MAX 32

struct restore_told {
    uint64_t total_files, total_bytes;
    uint64_t files, bytes;           /* done, */
    uint64_t same_files, same_bytes; /* of these not written, as they were there already */
    uint64_t owners, attributes; /* that could not be given, by this user or on this file system */
};

struct restore;

/* ended() comes once, from the loop, as in save.h. */
int restore_new(struct loop *loop, const struct restore_wish *wish,
                void (*ended)(int r, const struct err *err, void *arg), void *arg,
                struct restore **ret, struct err *reterr) must_check;
void restore_free(struct restore *r);
const struct restore_told *restore_told(const struct restore *r);
void restore_stop(struct restore *r);
