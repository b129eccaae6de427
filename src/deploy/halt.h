#pragma once

/* Stops what is deployed, or a group of it, in the reverse of the order in which it starts, and keeps it
 * down: to the monitor, to deployments and to a boot, a person has stopped it. What does not run, and is
 * not wanted, is left as it is.
 *
 *     1  timers and what they start     so that nothing begins
 *     2  models                         their running answers are finished, through a gateway that runs
 *     3  the gateway's socket
 *     4  gateway and monitor
 *     5  GPUs
 *     6  storage
 *     7  the target of all */

#include "deploy/apply.h"

/* HALT_GROUP(NAME, "word", "what belongs to it") */
#define HALT_GROUPS(HALT_GROUP)                                          \
    HALT_GROUP(MODELS, "models", "the models")                           \
    HALT_GROUP(INFRASTRUCTURE, "infrastructure",                         \
               "GPUs, storage, timers; and the models, which need them") \
    HALT_GROUP(MONITORING, "monitoring", "the monitor and its report")   \
    HALT_GROUP(GATEWAY, "gateway", "the gateway and its port")

enum halt_group {
#define HALT_GROUP(name, word, help) HALT_##name,
    HALT_GROUPS(HALT_GROUP)
#undef HALT_GROUP
        HALT_ALL, /* of them */
};

const char *halt_group_word(enum halt_group group); /* "all" */
/* HALT_ALL: there is no group of that name. */
enum halt_group halt_group_find(const char *word);
/* Whether a unit, by its name, goes with a group; `has_timer`: it is started by one. */
bool halt_is_meant(enum halt_group group, const char *unit, bool has_timer);

#define HALT_STEPS 7

struct halt_unit {
    const char *name;
    bool wanted; /* it starts with the machine */
};

struct halt_step {
    struct halt_unit *units; /* of the generation, by name */
    size_t count;
};

/* What to stop, step by step: pure. -ENOMEM. */
int halt_plan(enum halt_group group, const struct generation_file *files, size_t count,
              struct arena *arena, struct halt_step ret_steps[HALT_STEPS]) must_check;

struct halt_wish {
    const char *store, *state_dir;
    const char *by, *why; /* why: the command */
    enum halt_group group;
    const char *expect; /* the digest that was shown; NULL: none was */
    const struct generation_file
        *files; /* NULL: those of the current generation. One without bytes is wanted */
    size_t count;
};

struct halt_outlook {
    char digest[HASH_SHA256_HEX]; /* of what is deployed */
    struct deploy_orders running; /* in the order in which it would be stopped */
};
int halt_look(const struct halt_wish *wish, const struct deploy_host *host, struct arena *arena,
              struct halt_outlook *ret, struct err *reterr) must_check;

/* With the lock held; ERR_DEPLOY_STALE as for deploy_apply(). ret_stopped: what ran; one that does
 * not stop is marked there, is the error, and does not keep the others. ERR_DEPLOY_NOTHING: nothing
 * is deployed. */
int halt(const struct halt_wish *wish, const struct deploy_host *host, struct arena *arena,
         struct deploy_orders *ret_stopped, struct err *reterr) must_check;
