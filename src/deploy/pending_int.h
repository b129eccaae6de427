#pragma once

/* STATE/deploy/pending.json: a deployment that has begun and not ended.
 *
 *   {"boot": "...", "by": "root", "failed": false, "from": [6], "to": 7}
 *
 * Units may run as any generation in `from` says, or as `to` does: several, when one deployment after
 * the other was interrupted, or failed and could not be taken back. After a reboot all run as the
 * current one says. */

#include "base/err.h"
#include "base/util.h"
#include "sys/clock.h"

#define PENDING_FROM_MAX 16

struct pending {
    char boot[CLOCK_BOOT_ID_LEN + 1];
    char by[64];
    unsigned from[PENDING_FROM_MAX];
    size_t from_count;
    bool unknown; /* there were more: units may run as anything */
    bool under_way;
    bool failed; /* it ended, and what it left is not as it should be */
    unsigned to; /* 0: to nothing at all */
};

/* A file that cannot be read is an error: what it says matters. */
int pending_load(const char *state_dir, struct pending *ret, struct err *reterr) must_check;
int pending_save(const char *state_dir, const struct pending *p, struct err *reterr) must_check;
int pending_remove(const char *state_dir, struct err *reterr) must_check;

/* Once each. */
void pending_add_from(struct pending *p, unsigned number);
