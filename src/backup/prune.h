#pragma once

/* What need not be kept goes, in two steps each, so that neither a mistake nor a backup at the
 * same time costs anything.
 *
 * Snapshots that no rule keeps (keep.h) are marked as deleted, and can come back for a while.
 * Then they are removed, and what no snapshot needs can go:
 *
 * Packs that hold nothing that is needed are marked as going: from there on nobody who begins
 * relies on them. They are removed when all have ended who were at work at that moment, and only
 * if what is needed has been looked for since; where a snapshot has come that needs one, it
 * stays. Where nobody is at work, that is at once. Packs of which little is needed are copied
 * into new ones before, up to PRUNE_COPY_BYTES a time, where there is room. The index goes
 * first, the pack last: a crash between any two calls costs nothing, and the next pruning goes
 * on.
 *
 * A backup is never kept waiting, and prunings at the same time are refused. */

#include "backup/keep.h"
#include "backup/repository.h"
#include "backup/snapshots.h"
#include "sys/loop.h"

#define PRUNE_COPY_BYTES ((uint64_t)(4 * GIB))

struct prune_rule {
    const char *subject; /* "models" */
    struct keep_wish keep;
};

struct prune_wish {
    struct repository *repository;  /* outlives it */
    const struct prune_rule *rules; /* likewise; what is of no subject of theirs stays */
    size_t rules_count;
    bool dry;                /* only tell what would go */
    unsigned parity_percent; /* of packs that are made */
};

struct prune_told {
    uint64_t snapshots;        /* that there were, */
    uint64_t deleted, removed; /* marked now, and removed for good */
    uint64_t packs, bytes;
    uint64_t unneeded_bytes; /* of those bytes */
    uint64_t removed_packs, removed_bytes;
    uint64_t going_packs;  /* that wait until others have ended */
    uint64_t copied_bytes; /* out of packs of which little was needed */
    uint64_t unread_packs; /* that could not be read: what they need is not known, and all stay */
};

struct prune;

/* ended() comes once, from the loop, as in save.h. REPOSITORY_BUSY: somebody else prunes. */
int prune_new(struct loop *loop, const struct prune_wish *wish,
              void (*ended)(int r, const struct err *err, void *arg), void *arg, struct prune **ret,
              struct err *reterr) must_check;
void prune_free(struct prune *p);
const struct prune_told *prune_told(const struct prune *p);
/* As soon as what is being done has come to an end: the next one goes on. */
void prune_stop(struct prune *p);

/* In the end: each snapshot, and what becomes of it by its rule. */
void prune_tell(const struct prune *p,
                void (*tell)(const struct snapshot_row *row, const struct keep_verdict *verdict,
                             const struct keep_wish *keep, void *arg),
                void *arg);
