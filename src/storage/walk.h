#pragma once

/* All that is below a directory. No link is followed and no other file system entered; names may be
 * anything, and trees as wide as they like. What is too deep, or may not be opened, is counted. */

#include "base/buf.h"
#include "base/err.h"

#include <sys/stat.h>

#define WALK_DEPTH_MAX 100        /* directories in directories */
#define WALK_ENTRIES_MAX 50000000 /* files and directories of a walk */
#define WALK_PROGRESS 100000      /* so many, and progress() is told */

struct walk {
    /* Each thing that is no directory. false: that is enough. */
    bool (*file)(struct walk *walk, const char *path, const struct stat *st);
    void (*directory)(struct walk *walk, const struct stat *st); /* may be NULL */
    void (*progress)(struct walk *walk, const char *path);       /* may be NULL */
    bool (*passes)(const struct walk *walk,
                   const struct stat *st); /* a directory that is left out */

    uint64_t entries;
    uint64_t skipped; /* directories that were not looked into */
    bool is_over;     /* file() had enough, or there were too many entries */
    dev_t device;
    struct buf path; /* within the top */
};

/* Of an open directory, which stays open. */
int walk_run(struct walk *walk, int top) must_check;
