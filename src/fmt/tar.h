#pragma once

/* Archives as POSIX has them (ustar): the head of a file, and archives of few files that are in memory. */

#include "base/buf.h"

#define TAR_BLOCK 512
#define TAR_NAME_MAX 100 /* of a name, and of a target */
#define TAR_OWNER_MAX 31
#define TAR_LARGE_DIGITS 11 /* octal ones: of size and time; */
#define TAR_DIGITS 7        /* of all other numbers */

struct tar_head {
    const char *name, *target, *owner, *group; /* NULL: none */
    char type;                                 /* '0' of a file; as POSIX has them */
    uint64_t mode, uid, gid, size, modified_s, major, minor;
};

/* What is longer than it may be is cut, and a number that is too large becomes the largest. */
void tar_print_head(const struct tar_head *head, char ret[TAR_BLOCK]);

/* A regular file that its owner alone reads. False: the name is too long, or there is no room. */
bool tar_add(struct buf *out, const char *name, const void *bytes, size_t len, uint64_t modified_s)
    must_check;
/* Behind the last. */
bool tar_end(struct buf *out) must_check;
