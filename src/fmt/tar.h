#pragma once

/* Archives as POSIX has them (ustar), for few files that are in memory. */

#include "base/buf.h"

#define TAR_NAME_MAX 100

/* A regular file that its owner alone reads. False: the name is too long, or there is no room. */
bool tar_add(struct buf *out, const char *name, const void *bytes, size_t len, uint64_t modified_s)
    must_check;
/* Behind the last. */
bool tar_end(struct buf *out) must_check;
