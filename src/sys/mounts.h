#pragma once

/* What is mounted where, as this process sees it: a line of /proc/self/mountinfo each.
 *
 * A sandbox mounts what a service may write upon itself, so that it looks like a mount point and is
 * none. Such a mount is not told: what it shows belongs to the file system around it. */

#include "base/err.h"
#include "base/mem.h"

#include <sys/types.h>

struct mount_row {
    unsigned id, parent;
    dev_t device;
    const char *root; /* the directory of its file system that is seen at the point */
    const char *point;
    const char *type;
    const char *source; /* a device, mostly */
    bool read_only;
};

struct mounts {
    struct arena arena;
    struct mount_row *rows;
    size_t count;
};

int mounts_read(struct mounts *ret_mounts, struct err *reterr) must_check;
int mounts_parse(const char *text, size_t len, struct mounts *ret_mounts, struct err *reterr)
    must_check;
void mounts_finish(struct mounts *m);
#define _cleanup_mounts_ _cleanup_(mounts_finish)

/* What is mounted there, the uppermost; NULL: nothing is. */
const struct mount_row *mounts_find(const struct mounts *m, const char *point);

/* Likewise at an open directory, whatever links led to it; for mounts that were read after it was
 * opened. A file system that is unmounted meanwhile stays behind the descriptor. */
const struct mount_row *mounts_find_open(const struct mounts *m, int dir);

/* The one that a path lies in: the longest point above it; NULL: none is known. */
const struct mount_row *mounts_around(const struct mounts *m, const char *path);
