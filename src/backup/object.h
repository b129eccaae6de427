#pragma once

/* A file whose name is the SHA-256 of its bytes, as all files of a repository but a few are: written once,
 * as a draft, and there under its name only when it is whole and on the disk. */

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"

#define OBJECT_DRAFT ".draft-" /* begins the names of what a crash may have left */

struct object_writer {
    uint64_t bytes; /* so far */

    /* the rest is its own */
    int dir, fd;
    char draft[sizeof(OBJECT_DRAFT) + 16];
    bool is_finished, has_failed;
    struct hash_sha256 hash;
    struct buf pending; /* small pieces go to the disk together */
};

/* In a directory that stays open. On failure there is nothing to be ended. */
int object_begin(struct object_writer *w, int dir, struct err *reterr) must_check;
/* After an error nothing more can be written. */
int object_write(struct object_writer *w, const void *bytes, size_t len, struct err *reterr)
    must_check;
/* Then it is there, whatever happens; that is so, too, of one that was there before. */
int object_finish(struct object_writer *w, char ret_name[HASH_SHA256_HEX], struct err *reterr)
    must_check;
/* In any case: removes what was not finished. */
void object_end(struct object_writer *w);
