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
    int (*remove)(const struct repository *r, enum repository_area area, const char *name);
    /* Its time of change becomes now, and is told, by one clock for all (lock.h); -ENOENT. */
    int (*touch)(const struct repository *r, enum repository_area area, const char *name);
    int (*changed)(const struct repository *r, enum repository_area area, const char *name,
                   uint64_t *ret_us);
};

extern const struct repository_kind repository_directory;

/* REPOSITORY_FILE, which a stranger may have written. */
struct repository_about {
    char id[REPOSITORY_ID_TEXT];
    bool is_encrypted;
};
int repository_parse(const char *text, size_t len, struct repository_about *ret, struct err *reterr)
    must_check;
#define REPOSITORY_FILE_BYTES ((size_t)(64 * KIB))

/* Into the directory of the keys, which has neither the repository nor its keys yet. */
int repository_write_key(int dir, const struct seal_key_file *key, struct err *reterr) must_check;
