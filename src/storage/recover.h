#pragma once

/* A file system that is damaged: who uses it, and the check of it. Never of one that is mounted, and
 * never of the one that the system runs from. */

#include "base/buf.h"
#include "base/err.h"

#include <sys/types.h>

#define RECOVER_PATH_MAX 1024
#define RECOVER_USERS_MAX 64

struct recovery {
    char device[RECOVER_PATH_MAX]; /* a block device */
    char point[RECOVER_PATH_MAX];  /* where it is mounted, or is to be; "": not known */
    char type[32];                 /* "ext4"; "": not known */
    bool is_mounted;
    dev_t number;
};

/* what: a block device, or a mount point: one that is mounted, or is in /etc/fstab. */
int recovery_find(const char *what, struct recovery *ret_recovery, struct err *reterr) must_check;

struct recovery_user {
    pid_t pid;
    char name[32];
};

/* Who has something of it open, mapped, or as working directory, as far as this user may see; returns how
 * many, at most RECOVER_USERS_MAX. */
size_t recovery_users(const struct recovery *recovery,
                      struct recovery_user users[RECOVER_USERS_MAX]);

/* The command that checks it and mends what can be mended without asking; NULL: none is known for its
 * type. Ends with NULL. */
const char *const *recovery_command(const struct recovery *recovery, const char *argv[8])
    must_check;

int recovery_unmount(struct recovery *recovery, struct err *reterr) must_check;
/* Refuses one that is in use by the kernel, in whatever namespace. What was said comes behind `out`. */
int recovery_check(const struct recovery *recovery, struct buf *out, struct err *reterr) must_check;
int recovery_mount(const struct recovery *recovery, struct err *reterr) must_check;
