#pragma once

/* A repository: where backups are kept (docs/backup-format.md). What its place looks like
 * decides which back end has it: a directory, or another host (remote.h); and all that these
 * differ in is a row of struct repository_kind. Objects are made in directories of this machine
 * (object.h), which of a repository elsewhere are only its drafts, and copies of what is small. */

#include "backup/object.h"

enum repository_area {
    REPOSITORY_PACKS,
    REPOSITORY_INDEX,
    REPOSITORY_SUMS,
    REPOSITORY_SNAPSHOTS,
    REPOSITORY_KEYS,   /* of one that is encrypted (seal.h) */
    REPOSITORY_MARKS,  /* what was said of snapshots and packs since (mark.h) */
    REPOSITORY_LOCKS,  /* who is at work (lock.h) */
    REPOSITORY_PARITY, /* of packs, by their names (parity.h) */
    REPOSITORY_AREAS
};

#define REPOSITORY_FORMAT 1
#define REPOSITORY_FILE "citadel-repository" /* says what it is, and is there when all else is */
#define REPOSITORY_ID_TEXT 33

struct repository {
    const struct repository_kind *kind;
    char *where; /* as it was given */
    char id[REPOSITORY_ID_TEXT];
    int areas[REPOSITORY_AREAS]; /* where objects are made; -1: an older one that has none */
    bool is_encrypted;
    struct seal_keys *keys;      /* NULL until it is unlocked */
    struct elsewhere *elsewhere; /* of one on another host */
    struct repository_shelf {
        struct repository *repository;
        enum repository_area area;
    } shelves[REPOSITORY_AREAS];
};

/* Of one on another host; what is NULL is as ssh_config or the system has it. */
struct repository_access {
    const char *copies; /* a directory of this machine for drafts and copies, of all repositories */
    const char *ssh_key, *ssh_known_hosts;
    const char *ca;              /* who vouches for the host of a bucket (PEM) */
    const struct secret *s3_key; /* "KEY:SECRET" */
};

struct repository_wish {
    const char *where;
    struct repository_access access;
    const char *mount; /* it lies in or below what is mounted there; NULL: anywhere */
    bool make;         /* it must not be there yet */
    const struct seal_key_file *keys; /* of one that is made: with some it is encrypted */
    size_t keys_count;
};

/* REPOSITORY_NONE, _THERE, _OTHER, STORAGE_NOT_MOUNTED. */
int repository_open(const struct repository_wish *wish, struct repository **ret, struct err *reterr)
    must_check;
void repository_free(struct repository *r);
void repository_freep(struct repository **r);
#define _cleanup_repository_ _cleanup_(repository_freep)

const char *repository_area_name(enum repository_area area);
struct object_place repository_place(const struct repository *r, enum repository_area area);
/* For what is brought there as it is, sealed or not. */
struct object_place repository_place_raw(const struct repository *r, enum repository_area area);

/* How long an object of so many bytes is where it lies: one that is sealed is longer. */
uint64_t repository_lying_bytes(const struct repository *r, uint64_t bytes);
bool repository_is_elsewhere(const struct repository *r); /* on another host */

/* A file beside the areas, for people: replaced. */
int repository_write(struct repository *r, const char *name, const void *bytes, size_t len,
                     struct err *reterr) must_check;
/* How much can be stored still; UINT64_MAX: nobody says. */
int repository_find_room(const struct repository *r, uint64_t *ret_bytes, struct err *reterr)
    must_check;
/* What was begun on the other host before then, by its clock, and never finished, goes. */
int repository_tidy(struct repository *r, uint64_t before_us, struct err *reterr) must_check;
/* From here on what lies there is looked at, not copies of it on this machine. */
void repository_forget(struct repository *r);

/* ---- one that is encrypted ---- */

/* By the first of its keys that this opens; a passphrase takes up to a second for each. Nothing
 * but the names of objects can be had of it before. SEAL_WRONG_KEY. */
int repository_unlock(struct repository *r, const struct secret *with, struct err *reterr)
    must_check;
/* SEAL_ONLY_ADDS where the keys that were opened do not read. */
int repository_need_reading(const struct repository *r, struct err *reterr) must_check;

#define REPOSITORY_KEYS_MAX 64
struct repository_key {
    uint8_t name[HASH_SHA256_BYTES];
    bool is_damaged; /* then nothing else is known of it */
    struct seal_lock lock;
};
/* By label; on the heap. */
int repository_list_keys(struct repository *r, struct repository_key **ret, size_t *ret_count,
                         struct err *reterr) must_check;
int repository_add_key(struct repository *r, const struct seal_key_file *key, struct err *reterr)
    must_check;

/* ---- objects ---- */

/* The names of all objects of an area, sorted. */
struct repository_names {
    uint8_t (*items)[HASH_SHA256_BYTES]; /* on the heap */
    size_t count;
};
int repository_list(struct repository *r, enum repository_area area, struct repository_names *ret,
                    struct err *reterr) must_check;

/* Then it is not there any more, whatever happens. */
int repository_remove(struct repository *r, enum repository_area area,
                      const uint8_t name[HASH_SHA256_BYTES], struct err *reterr) must_check;

/* One that is open, for one thread: parts of it, unsealed where it is sealed. */
struct repository_file;
int repository_open_file(const struct repository *r, enum repository_area area,
                         const uint8_t name[HASH_SHA256_BYTES], struct repository_file **ret,
                         struct err *reterr) must_check;
/* For who reads all of it. */
int repository_open_whole(const struct repository *r, enum repository_area area,
                          const uint8_t name[HASH_SHA256_BYTES], struct repository_file **ret,
                          struct err *reterr) must_check;
void repository_close_file(struct repository_file *f);
uint64_t repository_file_bytes(const struct repository_file *f);
int repository_read_file(struct repository_file *f, uint64_t at, void *ret_bytes, size_t len,
                         struct err *reterr) must_check;
/* For what reads of anything; the error has no words. */
struct flow_source repository_file_source(struct repository_file *f);

/* Whether the bytes of one that was opened as a whole, as they lie there, fit its name:
 * PACK_DAMAGED, SNAPSHOT_DAMAGED. */
int repository_check_file(struct repository_file *f, struct err *reterr) must_check;

/* Exactly len bytes of an object. Any thread may ask. */
int repository_read(const struct repository *r, enum repository_area area,
                    const uint8_t name[HASH_SHA256_BYTES], uint64_t at, void *ret_bytes, size_t len,
                    struct err *reterr) must_check;

/* A whole object, mapped, or unsealed into memory; with `check`, -EBADMSG when its bytes do not
 * fit its name. */
struct repository_object {
    const uint8_t *bytes;
    size_t len;
};
int repository_map(const struct repository *r, enum repository_area area,
                   const uint8_t name[HASH_SHA256_BYTES], bool check, struct repository_object *ret,
                   struct err *reterr) must_check;
void repository_unmap(struct repository_object *object);
#define _cleanup_repository_object_ _cleanup_(repository_unmap)

/* Likewise what is open and a regular file, as it lies there. */
int repository_map_fd(int fd, struct repository_object *ret) must_check;
/* And the beginning of one that breaks off, as far as it goes. */
int repository_map_draft(const struct repository *r, int fd, struct repository_object *ret)
    must_check;
