#pragma once

/* Several files changed as one: written, linked and removed all together or not at all, whatever
 * happens in between, with a journal of what is under way.
 *
 *     change_init(&c, "/etc/citadel/.journal");
 *     change_write(&c, "/etc/citadel/a", bytes, len, 0644);
 *     change_link(&c, "/etc/citadel/current", "generations/7");
 *     change_remove(&c, "/etc/citadel/b");
 *     r = change_commit(&c, reterr);
 *     change_finish(&c);
 *
 * Paths are absolute and their directories exist. Whoever starts after a crash calls
 * change_recover() first. */

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

#include <sys/types.h>

#define CHANGE_FILES_MAX 1000
#define CHANGE_BYTES_MAX (64 * MIB)

struct change {
    const char *journal;
    struct arena arena;
    struct change_file *first, **last;
    size_t count;
    struct err err; /* of the first call that could not be noted; commit tells it */
    char id[17];
};

void change_init(struct change *c, const char *journal);
void change_finish(struct change *c);
#define _cleanup_change_ _cleanup_(change_finish)

void change_write(struct change *c, const char *path, const void *bytes, size_t len, mode_t mode);
void change_link(struct change *c, const char *path, const char *target);
void change_remove(struct change *c, const char *path); /* a file or link; absent is no error */

/* -EBUSY when another process commits or recovers with the same journal, or this one could not end
 * an earlier change. After an error nothing has changed, but for ERR_CHANGE_HALF: then names may have
 * moved, and the rest is done by change_recover(). */
int change_commit(struct change *c, struct err *reterr) must_check;

enum change_recovered { CHANGE_NOTHING, CHANGE_UNDONE, CHANGE_COMPLETED };

/* Ends what a crash has left: undoes what was not yet decided, completes what was.
 * ERR_CHANGE_DAMAGED: a person must look, as the error says; the journal stays until then. */
int change_recover(const char *journal, enum change_recovered *ret_what, struct err *reterr)
    must_check;
