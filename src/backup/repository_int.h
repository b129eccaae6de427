#pragma once

/* The back ends of repository.h. */

#include "backup/repository.h"

struct repository_kind {
    const char *scheme; /* with which its places begin */
    /* Fills id and areas; -ENOENT, without an error: there is none. */
    int (*open)(struct repository *r, const struct repository_wish *wish, struct err *reterr);
    int (*list)(struct repository *r, enum repository_area area, struct repository_names *ret,
                struct err *reterr);
    /* A whole object as a file, open for reading; or -errno. */
    int (*get)(const struct repository *r, enum repository_area area, const char *name);
};

extern const struct repository_kind repository_directory;

/* REPOSITORY_FILE, which a stranger may have written. */
int repository_parse(const char *text, size_t len, char ret_id[REPOSITORY_ID_TEXT],
                     struct err *reterr) must_check;
#define REPOSITORY_FILE_BYTES ((size_t)(64 * KIB))
