#pragma once

/* A snapshot, or part of one, on its way out of a repository: its entries from first to last, and the
 * blocks of a file in runs, each for one thread. What restore.h and export.h have in common. */

#include "backup/index.h"
#include "backup/lock.h"
#include "backup/repository.h"
#include "backup/snapshot.h"

struct reading_wish {
    struct repository *repository; /* outlives it */
    uint8_t snapshot[HASH_SHA256_BYTES];
    const char *path; /* only this entry, what is below it, and the directories above; NULL: all */
    const char *what; /* for whom: "restore" */
};

struct reading {
    struct snapshot_head head;
    uint64_t files, bytes; /* in all of it */
    bool is_over;
    struct index *index;

    /* the rest is its own */
    const char *path;
    struct lock *lock;
    struct repository_object object;
    struct snapshot_reader reader;
};

/* All of it is read once, so that nothing is begun for a snapshot that is damaged, or has no such
 * path: SNAPSHOT_DAMAGED, _NONE. After an error it is to be closed likewise. */
int reading_open(struct loop *loop, const struct reading_wish *wish, struct reading *ret,
                 struct err *reterr) must_check;
void reading_close(struct reading *r);

/* 1 and the next entry; 0, and it is over; or an error. */
int reading_next(struct reading *r, struct snapshot_entry *ret_entry, struct err *reterr)
    must_check;
int reading_rewind(struct reading *r, struct err *reterr) must_check;

/* Whether it is one of what is wished for, were there such an entry. */
bool reading_has(const struct reading *r, const char *path) must_check;

/* Blocks off the beginning of the rest of a file. */
#define READING_RUN_BYTES CODEC_BLOCK_MAX
#define READING_RUN_BLOCKS 512
struct reading_run {
    size_t bytes, count;
    struct snapshot_block blocks[READING_RUN_BLOCKS];
};
void reading_take_run(struct snapshot_records *rest, struct reading_run *ret);
