#pragma once

/* Where export.h writes: a file that gets its name at the end, or what is open already. */

#include "backup/export.h"
#include "backup/flow.h"

struct export_file {
    const char *to; /* NULL: fd is somebody else's */
    bool replace;
    int dir, fd;
    const char *name;
    char *draft; /* its name until then; NULL: it has none */
    uint64_t bytes;
    struct hash_sha256 hash; /* of these */
    uint64_t sent, gone; /* of these, those that are on their way to the disk, and out of memory */
};

#define EXPORT_FILE_INIT ((struct export_file){.dir = -1, .fd = -1})

/* Whether it may be made, and has room for so many bytes at most; nothing is made yet. */
int export_file_look(struct export_file *f, const struct export_wish *wish, uint64_t bytes,
                     struct err *reterr) must_check;
int export_file_make(struct export_file *f, struct err *reterr) must_check;
struct flow_sink export_file_sink(struct export_file *f);
/* Brings it to the disk, and to its name. */
int export_file_end(struct export_file *f, struct err *reterr) must_check;
/* What has no name yet goes. */
void export_file_close(struct export_file *f);
