#pragma once

/* Snapshots go into another repository, which is there and may have some of them already, with all
 * that they need and it lacks.
 *
 * Where both have the same keys, or none, packs go over as they are, and snapshots keep their names.
 * A pack of which little is lacking, and everything where the keys differ, goes block by block:
 * each is unpacked, compared with its digest, named and sealed as the other repository does, and
 * stored in the form that it had. Nothing is said there of what somebody pinned or deleted here.
 *
 * Packs first, each seen to have arrived (raw.h); then the index of them, the sums, and the snapshot,
 * from the oldest on: so each is whole from when it is there, and what broke off goes on. */

#include "backup/pack.h"
#include "backup/repository.h"
#include "backup/snapshots.h"
#include "sys/loop.h"

struct copy_wish {
    struct repository *from, *to; /* both can be read, and outlive it */
    const struct block_id *only;  /* these snapshots; NULL: all that were not deleted */
    size_t only_count;
    unsigned parity_percent; /* of packs that have none here, or are made; 0: none */
    unsigned threads;        /* 1 to COPY_THREADS_MAX */
    bool verify;             /* what another host has is read back as well */
    bool dry;                /* only tell what would go */
    /* Each snapshot that is there now, or would be, and one that cannot be copied; on the loop's
     * thread. */
    void (*copied)(const struct snapshot_row *row, const char *name_there, void *arg);
    void (*found)(const struct err *problem, void *arg);
};

#define COPY_THREADS_MAX 16

struct copy_told {
    uint64_t snapshots, had; /* that are wished for, and of these there already */
    uint64_t copied, failed;
    uint64_t total_bytes, bytes; /* of packs: that are to go, and that went */
    uint64_t packs, blocks;      /* that went whole, and one by one */
    bool is_alike, is_read_back; /* how packs go, and how they are seen to have arrived */
};

struct copy;

/* ended() comes once, from the loop, as in save.h. With 0: each was copied, or told as found. */
int copy_new(struct loop *loop, const struct copy_wish *wish,
             void (*ended)(int r, const struct err *err, void *arg), void *arg, struct copy **ret,
             struct err *reterr) must_check;
void copy_free(struct copy *c);
const struct copy_told *copy_told(const struct copy *c);
/* As soon as what is being sent has come to an end; the next one goes on. */
void copy_stop(struct copy *c);
