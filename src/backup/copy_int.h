#pragma once

/* The parts of copy.h: what is lacking, how it goes over, and how a snapshot is told there. */

#include "backup/block.h"
#include "backup/blocks.h"
#include "backup/copy.h"
#include "backup/index.h"
#include "backup/known.h"
#include "backup/lock.h"
#include "backup/snapshot.h"
#include "base/vec.h"
#include "sys/work.h"

/* ---- what blocks are called there ---- */

struct name_pair {
    struct block_id here, there;
};
struct name_pairs {
    struct name_pair *slots; /* zeros: free */
    size_t room, count;      /* at most 3/4 of the room */
};
void name_pairs_finish(struct name_pairs *n);
void name_pairs_add(struct name_pairs *n, const struct block_id *here,
                    const struct block_id *there);
bool name_pairs_find(const struct name_pairs *n, const struct block_id *here,
                     struct block_id *ret_there);

/* ---- a pack here, and what goes of it for one snapshot ---- */

struct copy_pack {
    struct block_id name;
    uint64_t bytes, needed_bytes; /* as far as its records go; of those that are needed there */
    bool goes_whole, has_gone;
    struct copy_piece *piece; /* of the snapshot under way, until somebody sends it */
};

struct copy_piece {
    struct copy_pack *pack;
    VEC(struct snapshot_block) blocks;
};

/* ---- who sends ---- */

struct copied_pack { /* is there */
    struct block_id name;
    struct pack_entries entries;
};

struct copier {
    struct work work;
    struct copy *copy;
    struct copy_piece *piece;
    bool is_busy;
    struct block_reader *reader;
    struct copier_block { /* [1]: of a base */
        uint8_t *record, *bytes;
    } blocks[2];
    struct pack_writer *pack; /* of blocks that go one by one; NULL: none has begun */
    struct blocks done;       /* of these, by their names there */

    /* for the loop's thread to take */
    VEC(struct copied_pack) packed;
    VEC(struct name_pair) names;
    VEC(struct snapshot_block) missing, bases; /* that cannot be read; that a pack needs as well */
    struct err missing_err;
    uint64_t sent_packs, sent_blocks, sent_bytes;
    int r;
    struct err err;
};

struct copy {
    struct copy_wish wish;
    struct copy_told told;
    struct loop *loop;
    void (*ended)(int r, const struct err *err, void *arg);
    void *arg;
    struct loop_defer more, defer;
    struct work work; /* of a phase that needs one thread */
    enum copy_phase { COPY_LOOKS, COPY_PLANS, COPY_SENDS, COPY_COMMITS, COPY_IS_OVER } phase;
    struct lock *reads, *writes;
    bool is_stopped; /* of all threads */
    unsigned at_work;

    struct snapshots here, there;
    bool has_here, has_there;
    VEC(const struct snapshot_row *) todo; /* rows of here, */
    size_t next;                           /* of which this one is under way */
    struct index *index;                   /* here */
    struct known *known;                   /* there */
    struct name_pairs names;               /* where they cannot be told by the name alone */
    struct blocks planned, missing;        /* by their names here */
    VEC(struct copy_pack) packs;           /* by name */

    VEC(struct copy_piece *) pieces; /* of the snapshot under way */
    size_t next_piece;
    VEC(struct snapshot_block) bases; /* that turned out to be needed: planned when all rest */
    struct copier *copiers;
    size_t copiers_count;
    bool is_damaged; /* something that it needs cannot be read: */
    struct err damage;
    char name_there[HASH_SHA256_HEX];

    int r; /* the first error that ends it */
    struct err err;
};

bool copy_is_stopped(const struct copy *c);

/* On a thread: what is there, what is lacking, and how much that is. */
int copy_look(struct copy *c, struct err *reterr) must_check;
/* Likewise: pieces of the snapshot that is the next. */
int copy_plan(struct copy *c, struct err *reterr) must_check;
/* Another that turned out to be needed, when nobody sends. */
void copy_plan_block(struct copy *c, const struct snapshot_block *block);

/* False: it has to be read for that. */
bool copy_translate(const struct copy *c, const struct block_id *here, struct block_id *ret_there);
/* Whether nothing has to be sent for it. */
bool copy_has(const struct copy *c, const struct block_id *here);

void copier_init(struct copier *k, struct copy *c);
void copier_finish(struct copier *k);
/* On a thread: sends its piece; then what was not sent yet goes. */
void copier_send(struct copier *k);
int copier_end_pack(struct copier *k, struct err *reterr) must_check;

/* On a thread: packs that were begun, the index of all, and the snapshot under its name there. */
int copy_commit(struct copy *c, struct err *reterr) must_check;
/* Likewise of one that comes to nothing: what was sent is kept for the next time. */
int copy_keep(struct copy *c, struct err *reterr) must_check;
