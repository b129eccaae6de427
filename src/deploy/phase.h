#pragma once

/* A deployment in phases, each proven before the next, and undone when it fails:
 *
 *     phase1   infrastructure: the generation goes live; storage and GPU services do their work
 *     phase2   one model, proven by a real answer through its own port
 *     phase3   the others: those that are kept loaded, one by one, where one that fails is stopped alone;
 *              then those that fit beside them are started, proven and stopped again
 *     phase4   everything that is wanted: monitor, gateway, timers, targets
 *
 * STATE/deploy/phases.json remembers how each ended, until the next phase1. */

#include "deploy/apply.h"

struct config;
struct json_writer;
struct plan;

#define DEPLOY_PHASES 4

struct deploy_phase_end {
    uint64_t at_us; /* since 1970; 0: it was not tried */
    bool well;
    unsigned generation;
    char by[64];
    char text[512]; /* what became of it, or why not */
};

/* By the number of the phase, from 1 on. */
struct deploy_phases {
    struct deploy_phase_end phases[DEPLOY_PHASES + 1];
};
int deploy_phases_load(const char *state_dir, struct deploy_phases *ret, struct err *reterr)
    must_check;
int deploy_phases_forget(const char *state_dir, struct err *reterr) must_check;
/* A list; name: as a member of a map. */
void deploy_phases_print(const struct deploy_phases *phases, struct json_writer *w,
                         const char *name);
const char *deploy_phase_what(unsigned phase); /* "infrastructure" */

struct deploy_phase_wish {
    struct deploy_wish deploy; /* as for deploy_apply(), with files */
    const struct config *config;
    const struct plan *plan;
    unsigned phase;
    const char *model; /* of phase 2; NULL: as configured */
    bool anyway;       /* although the phase before it has not ended well */
};

/* Whether the phase before it has ended well, or is not asked for. */
int deploy_phase_check(const struct deploy_phase_wish *wish, struct err *reterr) must_check;

/* With the lock held. ERR_DEPLOY_STALE: it is not what was shown, or not what phase 1 has put in
 * place, and nothing was tried. Else how it ended is remembered, and told in *reterr when it
 * failed. */
int deploy_phase_run(const struct deploy_phase_wish *wish, const struct deploy_host *host,
                     struct arena *arena, struct deploy_phase_end *ret_end, struct err *reterr)
    must_check;
