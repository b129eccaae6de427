#pragma once

/* The parts of prune.h: which packs are needed, and how those that are not go. */

#include "backup/blocks.h"
#include "backup/lock.h"
#include "backup/mark.h"
#include "backup/prune.h"
#include "backup/snapshots.h"
#include "sys/work.h"

struct prune_pack {
    struct block_id name;
    uint64_t bytes;        /* as it lies there */
    uint64_t needed_bytes; /* of records that only this one is asked for */
    bool is_going, is_unread, is_indexed;
};

/* Blocks that are needed: by snapshots; and by other blocks, without a base then (docs/backup-format.md).
 * These as long as the pack is there that they are in: who comes later may take any of its blocks
 * for stored. */
struct prune_wants {
    struct blocks blocks, bases;
};

struct prune {
    struct prune_wish wish;
    struct prune_told told;
    struct loop *loop;
    void (*ended)(int r, const struct err *err, void *arg);
    void *arg;
    struct loop_defer defer;
    struct work work;
    struct lock *lock;
    bool is_stopped, is_at_work; /* is_stopped: of all threads */
    int r;
    struct err err;

    struct snapshots snapshots;
    bool has_snapshots;
    struct keep_verdict *verdicts; /* of snapshots.rows */
    struct marks marks;
    struct locks locks;
    struct prune_wants wants; /* until a pack is asked for them */
    VEC(struct prune_pack) packs;
    VEC(struct block_id) made; /* packs that came by copying */
};

bool prune_is_stopped(const struct prune *p);
/* Whether others are at work. */
bool prune_is_beside(const struct locks *locks);

/* Which packs hold what snapshots need. */
int prune_look(struct prune *p, struct err *reterr) must_check;
/* Those of which little is needed become new ones. */
int prune_copy(struct prune *p, struct err *reterr) must_check;
/* Those that are not needed are said to be going; those that may go, do. */
int prune_sweep(struct prune *p, struct err *reterr) must_check;

/* Fragments anew, without these packs, which are sorted; and where there are many small ones, as one. */
int prune_index(struct repository *repository, const struct block_id *gone, size_t count,
                struct err *reterr) must_check;
