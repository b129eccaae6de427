#pragma once

/* One at a time changes what is deployed. Who does is told to everybody, and is alive; but only who may
 * change it can keep others from it: the lock is root's alone, and whoever asks takes none. */

#include "base/err.h"

struct deploy_lock {
    int fd;   /* STATE/deploy/lock; it ends with its holder */
    int note; /* STATE/deploy/holder: who that is */
};
#define DEPLOY_LOCK_INIT     \
    {                        \
        .fd = -1, .note = -1 \
    }
#define _cleanup_deploy_lock_ _cleanup_(deploy_unlock)

/* ERR_DEPLOY_BUSY names who has it. */
int deploy_lock(const char *state_dir, const char *by, const char *what, struct deploy_lock *ret,
                struct err *reterr) must_check;
void deploy_unlock(struct deploy_lock *lock);

/* 0: nobody has it; else that error. */
int deploy_lock_look(const char *state_dir, struct err *reterr) must_check;
