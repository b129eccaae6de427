#pragma once

/* What repositories on other hosts differ in. Files there have keys, "packs/3f0c..." and the like;
 * what is stored is there as a whole or not at all. Any thread may call; calls try again by
 * themselves what fails for a while. */

#include "backup/repository.h"

struct remote_kind {
    unsigned transfers; /* at a time, of all threads: read, fetch and store */
    int (*open)(const struct repository_wish *wish, void **ret, struct err *reterr);
    void (*free)(void *there);
    /* What has to be there before anything is stored; NULL: nothing. */
    int (*make)(void *there, struct err *reterr);

    int (*size)(void *there, const char *key, uint64_t *ret_bytes, struct err *reterr);
    /* What is in an area: names without it, which are a stranger's. */
    int (*list)(void *there, const char *area,
                int (*each)(void *arg, const char *name, uint64_t bytes), void *arg,
                struct err *reterr);
    int (*read)(void *there, const char *key, uint64_t at, void *ret_bytes, size_t len,
                struct err *reterr);
    int (*fetch)(void *there, const char *key, int to, uint64_t most, struct err *reterr);
    int (*store)(void *there, int from, const char *key, struct err *reterr);
    int (*store_new)(void *there, int from, const char *key, struct err *reterr); /* -EEXIST */
    int (*remove)(void *there, const char *key, struct err *reterr);
    /* By the clock of the other host; -ENOENT. */
    int (*touch)(void *there, const char *key, struct err *reterr);
    int (*changed)(void *there, const char *key, uint64_t *ret_us, struct err *reterr);
    /* What is left of files of an area that were begun before then, and never got their keys. */
    int (*tidy)(void *there, const char *area, uint64_t before_us, struct err *reterr);
    /* NULL: it has room without end. UINT64_MAX: nobody says. */
    int (*find_room)(void *there, uint64_t *ret_bytes, struct err *reterr);
};

extern const struct remote_kind remote_sftp, remote_s3;

#define REMOTE_KEY_MAX 96
