#pragma once

/* A file of lines that is only ever added to: whole lines, whatever a disk does. One that has grown to its
 * size becomes FILE.1, instead of the one before. One that somebody has removed or moved goes on in its
 * place, and so does its directory. It blocks as its disk does: for a work, where
 * others wait. */

#include "base/err.h"

#include <sys/types.h>

struct line_file {
    const char *path;
    mode_t mode;        /* nobody may do more with it, also with one that was there */
    uint64_t bytes_max; /* of one file; what is written at once may be more */

    /* the rest is its own */
    int fd; /* -1: it is not open, and is tried again with the next lines */
    uint64_t bytes;
};

/* The path stays the caller's. */
void line_file_init(struct line_file *f, const char *path, mode_t mode, uint64_t bytes_max);
void line_file_close(struct line_file *f);

/* All of it, or -errno and none of it. */
int line_file_add(struct line_file *f, const char *lines, size_t len) must_check;
