#pragma once

/* Models that run, and that have to end before others start: as the plan of a generation has it, they
 * wait for memory which those are to have. */

#include "deploy/generation.h"

struct deploy_room_asks {
    int (*runs)(void *arg, const char *unit, bool *ret, struct err *reterr);
    int (*is_to_start)(void *arg, const char *unit, bool *ret, struct err *reterr);
    void *arg;
};

struct deploy_room {
    const char *unit;     /* of a model that runs */
    const char *name;     /* its own */
    const char *for_name; /* a model that is to start, and that it waits for */
};

/* In the order of the plan, which is one of the files; without it nobody waits. The result lives in
 * the arena. */
int deploy_room_find(const struct generation_file *files, size_t count,
                     const struct deploy_room_asks *asks, struct arena *arena,
                     struct deploy_room **ret_items, size_t *ret_count, struct err *reterr)
    must_check;
