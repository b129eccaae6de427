#pragma once

/* A backup of one directory: it becomes a snapshot of a repository, which is there as a whole or
 * not at all. What an earlier one knows to be unchanged is not read; what the repository has is
 * not stored again; what was stored before a backup broke off is neither.
 *
 * The loop's thread walks, decides and writes the snapshot. Threads read, hash and store: a file
 * is read by one at a time, since its digest goes from front to back, and what was read of it is
 * stored by others. Each that stores has a pack of its own. So one huge file is everybody's
 * work, and nothing but the lists of blocks of the files under way grows with them. */

#include "backup/codec.h"
#include "backup/repository.h"
#include "sys/loop.h"

struct save_wish {
    struct repository *repository; /* outlives it */
    const char *source;            /* a directory, or a link to one */
    bool is_image; /* or a block device, or a file: it is saved as the one file of a directory, */
    bool in_use;   /* even if it may change meanwhile (image.h) */
    const char *host, *subject, *name, *type; /* snapshot.h */
    enum codec_effort effort;
    bool delta;              /* where it comes of another model (bases.h), what it differs in */
    unsigned parity_percent; /* of packs, beside them; 0: none */
    unsigned threads;        /* that store; 1 to SAVE_THREADS_MAX */
    bool dry;                /* only tell what would be read */
};

#define SAVE_THREADS_MAX 16

/* What it has come to. Bytes are those of files. */
struct save_told {
    uint64_t total_files, total_bytes; /* of the source, as it was at the beginning */
    uint64_t files, bytes;             /* done */
    uint64_t unchanged_files, unchanged_bytes;
    uint64_t new_blocks, new_bytes, stored_bytes;
    uint64_t delta_blocks; /* of the new ones, stored as what they differ in from others */
    uint64_t changed;      /* files that changed while they were read, */
    uint64_t sockets;      /* what was left out: sockets, */
    uint64_t mounts;       /* and what is mounted inside; */
    uint64_t astray;       /* links that lead out of the source, whose targets are not part of it */
    char first_changed[256], first_astray[256];
    char snapshot[HASH_SHA256_HEX]; /* "" until it is there */
};

struct save;

/* ended() comes once, from the loop, when nothing of it runs any more: with 0 and the snapshot
 * is there, or an error. Then it is to be freed, but not within. */
int save_new(struct loop *loop, const struct save_wish *wish,
             void (*ended)(int r, const struct err *err, void *arg), void *arg, struct save **ret,
             struct err *reterr) must_check;
void save_free(struct save *s);
const struct save_told *save_told(const struct save *s);

/* As soon as what runs has come to an end; what was stored is kept for the next time. One that
 * writes its snapshot already is not stopped any more. */
void save_stop(struct save *s);
