#pragma once

/* Whether a repository, or a snapshot, is whole: every pack is read, every record unpacked,
 * every digest compared; and what is damaged is named, down to the files that cannot be
 * restored. Nothing is changed; which snapshots were found whole is marked (mark.h). */

#include "backup/repository.h"
#include "sys/loop.h"

struct verify_wish {
    struct repository *repository; /* outlives it */
    const uint8_t *snapshot;       /* only this, and the packs that it needs; NULL: all */
    double sample_percent;         /* of the packs: so many are read, drawn by chance; 100: all */
    unsigned threads;              /* 1 to VERIFY_THREADS_MAX */
    bool repair;                   /* what parity can mend; and the index, of the packs */
    unsigned parity_percent;       /* then, of packs that are whole and have none; 0: none */
    /* What was mended, in words, on the loop's thread. */
    void (*mended)(const char *what, void *arg);
    /* Each thing that is wrong, on the loop's thread. */
    void (*found)(const struct err *problem, void *arg);
};

#define VERIFY_THREADS_MAX 32

struct verify_told {
    uint64_t total_packs, packs, bytes;
    uint64_t blocks, snapshots, files;
    uint64_t problems;         /* that are left */
    uint64_t mended, prepared; /* packs: as they were again, and with parity that had none */
    uint64_t damaged_files;    /* that cannot be restored, of all snapshots that were looked at */
};

struct verify;

/* ended() comes once, from the loop, as in save.h. With 0: all was looked at, whatever was
 * found. */
int verify_new(struct loop *loop, const struct verify_wish *wish,
               void (*ended)(int r, const struct err *err, void *arg), void *arg,
               struct verify **ret, struct err *reterr) must_check;
void verify_free(struct verify *v);
const struct verify_told *verify_told(const struct verify *v);
void verify_stop(struct verify *v);
