#pragma once

/* A snapshot, or part of one, becomes one file that needs nothing of ours: a tar archive (pax.h) within
 * zstd. It has one directory, named after what the snapshot is of, and last SHA256SUMS, for `sha256sum -c`.
 *
 * Every block is compared with its digest before it goes out, and what is damaged ends the archive
 * without its end. A file gets its name when all of it is on the disk; before that it is called
 * ".NAME.export", and goes when the export does not come to its end. */

#include "backup/repository.h"
#include "sys/loop.h"

struct export_wish {
    struct repository *repository; /* outlives it */
    uint8_t snapshot[HASH_SHA256_BYTES];
    const char *path; /* as of a restore */
    const char *to;   /* a file that will be there; NULL: it goes to fd, which stays open */
    int fd;
    bool replace;     /* and may be there already */
    bool dry;         /* only tell how much it is */
    unsigned threads; /* 1 to EXPORT_THREADS_MAX */
};

#define EXPORT_THREADS_MAX 16

struct export_told {
    uint64_t total_files, total_bytes;
    uint64_t files, bytes;        /* done */
    uint64_t stored_bytes;        /* of the archive, */
    char sha256[HASH_SHA256_HEX]; /* and its digest, once it is there */
};

struct export;

/* ended() comes once, from the loop, as in save.h. */
int export_new(struct loop *loop, const struct export_wish *wish,
               void (*ended)(int r, const struct err *err, void *arg), void *arg,
               struct export **ret, struct err *reterr) must_check;
void export_free(struct export *x);
const struct export_told *export_told(const struct export *x);
void export_stop(struct export *x);
