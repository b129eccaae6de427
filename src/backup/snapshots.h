#pragma once

/* Which snapshots a repository has, and which one somebody means. */

#include "backup/repository.h"
#include "backup/snapshot.h"
#include "base/mem.h"

#define SNAPSHOTS_MAX 100000
#define SNAPSHOTS_PREFIX_MIN 4 /* digits of a name that will do, where no other begins so */

struct snapshot_row {
    char name[HASH_SHA256_HEX];
    bool is_damaged; /* then nothing else is known of it */
    struct snapshot_head head;
    struct snapshot_end end;
};

/* From the oldest to the newest; those that are damaged come first. All words of their heads can be shown;
 * sources are as they are. */
struct snapshots {
    struct arena arena;
    struct snapshot_row *rows;
    size_t count;
};

/* By their beginnings and ends: that all of one is whole is for those who read it. */
int snapshots_read(struct repository *repository, struct snapshots *ret, struct err *reterr)
    must_check;
void snapshots_finish(struct snapshots *s);
#define _cleanup_snapshots_ _cleanup_(snapshots_finish)

/* By the first digits of its name; or the newest of what has been backed up under that name. NULL, with an
 * error: there is none, or more than one. */
const struct snapshot_row *snapshots_find(const struct snapshots *s, const char *word,
                                          struct err *reterr);
