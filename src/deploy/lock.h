#pragma once

/* One at a time changes what is deployed. Who does is told, and is alive: the lock ends with it. */

#include "base/err.h"

/* STATE/deploy/lock. A descriptor, to be closed; ERR_DEPLOY_BUSY names who has it. */
int deploy_lock(const char *state_dir, const char *by, const char *what, struct err *reterr)
    must_check;

/* 0: nobody has it; else that error. */
int deploy_lock_look(const char *state_dir, struct err *reterr) must_check;
