#pragma once

/* What is said of snapshots and packs after they were made, which themselves never change:
 * marks, small objects that are written once, and removed when they do not hold any more. Each
 * is JSON: its kind, when it was made, and the names that it is about.
 *
 *   {"mark": "deleted", "at_ns": 1795330000000000000, "names": ["3f0c...", ...]}
 *
 * A pack that is "going" is as good as gone for whoever stores: no new snapshot relies on it. It
 * may be removed when all have ended who were at work when that was said, and may not know it:
 * those whose locks are in "waits_for". Where there is no such member, nobody has looked yet
 * (prune.h). */

#include "backup/pack.h"
#include "backup/repository.h"
#include "base/vec.h"

#define MARKS_MAX 100000
#define MARK_NAMES_MAX 1000000 /* of one */

struct mark {
    uint8_t name[HASH_SHA256_BYTES]; /* its own */
    enum mark_kind {
        MARK_PINNED,  /* snapshots that stay whatever else is wished, */
        MARK_DELETED, /* that are to be removed when they need not come back any more, */
        MARK_GOOD,    /* and that were read to the last byte, and found whole, */
        MARK_DAMAGED, /* or not */
        MARK_GOING,   /* packs */
        MARK_KINDS
    } kind;
    int64_t at_ns;
    bool has_waited; /* it says for whom, be it nobody */
    VEC(struct block_id) names;
    VEC(struct block_id) waits_for;
};

struct marks {
    VEC(struct mark) items;
};

/* MARK_DAMAGED names the file: what it said is not known. */
int marks_read(struct repository *repository, struct marks *ret, struct err *reterr) must_check;
void marks_finish(struct marks *m);
#define _cleanup_marks_ _cleanup_(marks_finish)

/* waits_for: NULL where nobody has looked. */
struct mark_wish {
    enum mark_kind kind;
    const struct block_id *names;
    size_t count;
    const struct block_id *waits_for;
    size_t waits_count;
};
int mark_write(struct repository *repository, const struct mark_wish *wish, struct err *reterr)
    must_check;

/* All that say this of it; *ret_count (may be NULL): how many there were. */
int marks_take_back(struct repository *repository, const struct marks *m, enum mark_kind kind,
                    const struct block_id *name, size_t *ret_count, struct err *reterr) must_check;

/* The newest of that kind about it; NULL: there is none. */
const struct mark *marks_find(const struct marks *m, enum mark_kind kind,
                              const struct block_id *name);

/* As text, for tests and fuzzing. */
bool mark_parse(const char *text, size_t len, struct mark *ret) must_check;
void mark_finish(struct mark *m);
