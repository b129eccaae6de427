#pragma once

/* What takes how much room, by area. */

#include "base/err.h"

struct config;

enum { USAGE_AREAS = 7 };

struct usage_area {
    const char *name; /* "active" */
    char path[1100];
    bool is_there;
    uint64_t bytes;                       /* on the disk; of what has several names, its share */
    uint64_t files;                       /* directories not counted */
    uint64_t skipped;                     /* directories that could not be looked into */
    bool more;                            /* there were too many to be counted */
    uint64_t disk_bytes, disk_free_bytes; /* of the file system that it is on */
};

/* No area is part of another: what is below one and is one is counted there. progress() may be NULL. */
int usage_measure(const struct config *config, struct usage_area ret_areas[USAGE_AREAS],
                  void (*progress)(const char *area, uint64_t entries, void *arg), void *arg,
                  struct err *reterr) must_check;
