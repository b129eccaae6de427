#pragma once

/* Where restore.h puts things: the directory that will be there, the places below it, and what every
 * file is given in the end. */

#include "backup/restore.h"
#include "sys/account.h"

/* ---- the directory ---- */

struct target {
    const struct restore_wish *wish;
    char *path;       /* of the wish, without slashes at its end */
    int above;        /* the directory that it is in, */
    const char *name; /* by this name */
    char *staging;    /* what it is called until it is whole; NULL: in place */
    char *staging_path;
    int fd;
    bool was_there; /* a try before this one has left it */
    bool replaces;
    int parent; /* the directory of the last place, and its path */
    char *parent_path;
};

#define TARGET_INIT ((struct target){.above = -1, .fd = -1, .parent = -1})

int target_open(struct target *t, const struct restore_wish *wish, struct err *reterr) must_check;
/* Brings a file or directory of it to the disk; or all of it. */
int target_sync(struct target *t, const char *path, struct err *reterr) must_check;
int target_sync_all(struct target *t, struct err *reterr) must_check;
/* Brings the directory, which is on the disk, to its place. */
int target_end(struct target *t, struct err *reterr) must_check;
void target_close(struct target *t);

/* ---- a place in it ---- */

struct place {
    struct target *target;
    int dir; /* the target's, until the next is found */
    const char *path, *name;
};

/* Directories above it are there. */
int place_find(struct target *t, const char *path, struct place *ret, struct err *reterr)
    must_check;

/* Who owns what, by name where the name is known here. */
struct owners {
    char user[ACCOUNT_TEXT_MAX], group[ACCOUNT_TEXT_MAX];
    uid_t uid;
    gid_t gid;
    bool has_user, has_group;
    uint64_t refused, attributes; /* that could not be given */
};

/* What has no content: a directory, whose rights come at the end, a symbolic link, a device. */
int place_make(const struct place *p, const struct snapshot_entry *e, struct owners *owners,
               struct err *reterr) must_check;
/* Another name of a file that is there. */
int place_link(struct target *t, const struct place *p, const struct snapshot_entry *e,
               struct err *reterr) must_check;
int place_end_directory(struct target *t, const struct snapshot_entry *e, struct owners *owners,
                        struct err *reterr) must_check;

/* ---- a file ---- */

#define PLACE_DRAFT ".citadel-restore-" /* begins the names of files that are not whole */
#define PLACE_DRAFT_MAX (sizeof(PLACE_DRAFT) + 16)

struct place_file {
    int fd;
    int dir; /* where it is, its own; -1: it has its name already */
    bool is_open, was_there;
    char draft[PLACE_DRAFT_MAX];
    const char *name;
};

/* 1: a file of this length has the name, and is open for comparing; 0: there is none. */
int place_file_open(const struct place *p, const struct snapshot_entry *e, struct place_file *ret,
                    struct err *reterr) must_check;
/* A draft beside it, or the one that was left. */
int place_file_make(const struct place *p, const struct snapshot_entry *e, struct place_file *ret,
                    struct err *reterr) must_check;
/* Any thread may write. skips: pages of zeros, which are there already. */
int place_write(const struct place_file *f, const uint8_t *bytes, size_t len, uint64_t at,
                bool skips) must_check;
/* Owner, rights, attributes and times; then its name. */
int place_file_end(struct place_file *f, const struct snapshot_entry *e, struct owners *owners,
                   struct err *reterr) must_check;
void place_file_close(struct place_file *f);
