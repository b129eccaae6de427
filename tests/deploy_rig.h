#pragma once

/* For tests: the parts of a machine (deploy/apply.h) that a test has nothing to say of. */

#include "deploy/apply.h"
#include "tap.h"

static inline int
deploy_rig_check(void *arg unused_arg, bool *ret_behind, struct err *reterr unused_arg)
{
    *ret_behind = false;
    return 0;
}

static inline int
deploy_rig_prepare(void *arg unused_arg, bool deployed unused_arg, struct err *reterr unused_arg)
{
    return 0;
}

static inline int
deploy_rig_reload(void *arg unused_arg, struct err *reterr unused_arg)
{
    return 0;
}

static inline void
deploy_rig_tell(void *arg unused_arg, const char *line)
{
    tap_note("%s", line);
}
