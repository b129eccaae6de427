#pragma once

/* What is below a directory, in the order of a snapshot (snapshot_order): each directory, then what is
 * in it, by the bytes of the names. No link is followed and no other file system entered. */

#include "base/err.h"

#include <sys/stat.h>

#define SCAN_DEPTH_MAX 100                   /* directories in directories */
#define SCAN_NAMES_MAX ((size_t)(256 * MIB)) /* of the names of one directory */

struct scan;

struct scan_item {
    const char *path; /* within the directory, "" for itself */
    int dir;          /* in which it is, by this name */
    const char *name;
    bool is_mount; /* what is mounted there is not looked into */
    struct stat st;
};

/* The directory stays open, and the caller's. */
int scan_open(int top, struct scan **ret, struct err *reterr) must_check;
void scan_free(struct scan *s);

/* 1 and the next, as long as it is there until it is looked at; 0 behind the last; or an error, with
 * the path that cannot be read. It is valid until the next call. */
int scan_next(struct scan *s, struct scan_item *ret, struct err *reterr) must_check;
