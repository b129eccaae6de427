#pragma once

/* A repository: where backups are kept (docs/backup-format.md). What its place looks like decides which
 * back end has it, and all that these differ in is a row of struct repository_kind. Objects are made in
 * directories of this machine (object.h), which of a repository elsewhere are not the repository yet. */

#include "backup/object.h"

enum repository_area {
    REPOSITORY_PACKS,
    REPOSITORY_INDEX,
    REPOSITORY_SUMS,
    REPOSITORY_SNAPSHOTS,
    REPOSITORY_AREAS
};

#define REPOSITORY_FORMAT 1
#define REPOSITORY_FILE "citadel-repository" /* says what it is, and is there when all else is */
#define REPOSITORY_ID_TEXT 33

struct repository {
    const struct repository_kind *kind;
    char *where; /* as it was given */
    char id[REPOSITORY_ID_TEXT];
    int areas[REPOSITORY_AREAS]; /* where objects are made */
};

struct repository_wish {
    const char *where;
    const char *mount; /* it lies in or below what is mounted there; NULL: anywhere */
    bool make;         /* it must not be there yet */
};

/* REPOSITORY_NONE, _THERE, _OTHER, STORAGE_NOT_MOUNTED. */
int repository_open(const struct repository_wish *wish, struct repository **ret, struct err *reterr)
    must_check;
void repository_free(struct repository *r);
void repository_freep(struct repository **r);
#define _cleanup_repository_ _cleanup_(repository_freep)

const char *repository_area_name(enum repository_area area);

/* The names of all objects of an area, sorted. */
struct repository_names {
    uint8_t (*items)[HASH_SHA256_BYTES]; /* on the heap */
    size_t count;
};
int repository_list(struct repository *r, enum repository_area area, struct repository_names *ret,
                    struct err *reterr) must_check;

/* Exactly len bytes of an object, as they are there. Any thread may ask. */
int repository_read(const struct repository *r, enum repository_area area,
                    const uint8_t name[HASH_SHA256_BYTES], uint64_t at, void *ret_bytes, size_t len,
                    struct err *reterr) must_check;

/* A whole object, mapped; with `check`, -EBADMSG when its bytes do not fit its name. */
struct repository_object {
    const uint8_t *bytes;
    size_t len;
};
int repository_map(const struct repository *r, enum repository_area area,
                   const uint8_t name[HASH_SHA256_BYTES], bool check, struct repository_object *ret,
                   struct err *reterr) must_check;
void repository_unmap(struct repository_object *object);
#define _cleanup_repository_object_ _cleanup_(repository_unmap)

/* Maps what is open and a regular file. */
int repository_map_fd(int fd, struct repository_object *ret) must_check;
