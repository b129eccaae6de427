#include "deploy/under_way.h"

#include "base/mem.h"
#include "deploy/lock.h"
#include "deploy/pending_int.h"
#include "sys/clock.h"

#include <stdlib.h>
#include <sys/stat.h>

/* The time of a file is that of the last tick, which is up to 10 ms old. */
#define TICK_US UINT64_C(100000)

/* When a deployment has changed something last: each file of STATE/deploy comes and goes by its name,
 * phases.json or pending.json after all that is started and stopped. 0: never. */
static uint64_t
last_change(const char *state_dir)
{
    _cleanup_free_ char *dir = mem_printf("%s/deploy", state_dir);
    struct stat st;
    if (stat(dir, &st) < 0)
        return 0;
    return (uint64_t)st.st_mtim.tv_sec * 1000000 + (uint64_t)st.st_mtim.tv_nsec / 1000;
}

bool
deploy_was_under_way(const char *state_dir, uint64_t at_us)
{
    struct pending pending;
    uint64_t changed_us = last_change(state_dir);
    /* A clock that was set back since makes nothing a deployment's. */
    if (at_us <= changed_us + TICK_US && changed_us <= clock_wall_us() + TICK_US)
        return true;
    return deploy_lock_look(state_dir, NULL) == -err_row(ERR_DEPLOY_BUSY)->err ||
           (pending_load(state_dir, &pending, NULL) == 0 && pending.under_way && !pending.failed);
}
