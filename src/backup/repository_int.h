#pragma once

/* The back ends of repository.h. */

#include "backup/repository.h"

struct repository_kind {
    const char *scheme;               /* with which its places begin */
    const struct remote_kind *remote; /* of one on another host (remote.h) */
    /* Fills id, is_encrypted and areas. */
    int (*open)(struct repository *r, const struct repository_wish *wish, struct err *reterr);
    void (*close)(struct repository *r); /* may be NULL */
    int (*list)(struct repository *r, enum repository_area area, struct repository_names *ret,
                struct err *reterr);
    /* A whole object as a file, open for reading. */
    int (*get)(const struct repository *r, enum repository_area area, const char *name,
               struct err *reterr);
    /* 1: better than to get it, parts of it, which has so many bytes, are read; 0: it is not.
     * NULL: it never is. */
    int (*find)(const struct repository *r, enum repository_area area, const char *name,
                uint64_t *ret_bytes, struct err *reterr);
    /* How long one is, asked for there and now; NULL: it is as cheap to read it. */
    int (*measure)(const struct repository *r, enum repository_area area, const char *name,
                   uint64_t *ret_bytes, struct err *reterr);
    int (*read)(const struct repository *r, enum repository_area area, const char *name,
                uint64_t at, void *ret_bytes, size_t len, struct err *reterr);
    /* As of struct object_place, with a struct repository_shelf; NULL: objects belong where they
     * are made. */
    int (*put)(void *shelf, int fd, const char *name, struct err *reterr);
    /* A file beside the areas, anew. */
    int (*write)(struct repository *r, const char *name, const void *bytes, size_t len,
                 struct err *reterr);
    int (*remove)(const struct repository *r, enum repository_area area, const char *name,
                  struct err *reterr);
    /* Its time of change becomes now, and is told, by one clock for all (lock.h); -ENOENT. */
    int (*touch)(const struct repository *r, enum repository_area area, const char *name,
                 struct err *reterr);
    int (*changed)(const struct repository *r, enum repository_area area, const char *name,
                   uint64_t *ret_us, struct err *reterr);
    /* What can be stored still; UINT64_MAX: nobody says. */
    int (*find_room)(const struct repository *r, uint64_t *ret_bytes, struct err *reterr);
    /* Removes what was begun before then, and never finished; NULL: whoever writes does. */
    int (*tidy)(struct repository *r, uint64_t before_us, struct err *reterr);
    /* Copies on this machine are not believed any more; may be NULL. */
    void (*forget)(struct repository *r);
};

extern const struct repository_kind repository_directory, repository_sftp, repository_s3;

/* REPOSITORY_FILE, which a stranger may have written. */
struct repository_about {
    char id[REPOSITORY_ID_TEXT];
    bool is_encrypted;
};
int repository_parse(const char *text, size_t len, struct repository_about *ret, struct err *reterr)
    must_check;
#define REPOSITORY_FILE_BYTES ((size_t)(64 * KIB))

/* What it says of one that is made now; *ret has the id. */
int repository_print(bool is_encrypted, struct buf *out, struct repository_about *ret,
                     struct err *reterr) must_check;

/* Into the place of the keys, which has neither the repository nor its keys yet. */
int repository_write_key(const struct object_place *place, const struct seal_key_file *key,
                         struct err *reterr) must_check;

/* The same, of whatever is wrong with a place. */
int repository_none(const char *where, struct err *reterr);
int repository_is_there(const char *where, struct err *reterr);

/* Whether copies of what lies in that area are kept on this machine. */
bool repository_is_copied(enum repository_area area);

/* That an object of it may have: what is fetched is a stranger's. */
uint64_t repository_most_bytes(enum repository_area area);

/* Of all that an open file holds; -errno. */
int repository_hash_fd(int fd, uint8_t ret[HASH_SHA256_BYTES]) must_check;

void repository_names_sort(struct repository_names *names);
bool repository_names_have(const struct repository_names *sorted,
                           const uint8_t name[HASH_SHA256_BYTES]);
