#pragma once

/* How verbs come by the plan: the configuration, what is on disk of its models, and the GPUs of this
 * machine, which a child of ours reads, as a driver can hang for ever. */

#include "base/mem.h"
#include "cli/cli.h"
#include "config/config.h"
#include "plan/plan.h"

struct cli_plan {
    struct config *config;
    struct arena arena;
    struct plan plan;
};

/* What paths.vllm_env leads to now; its texts live in the arena. */
int cli_find_vllm(const struct config *config, struct arena *arena, struct plan_engine *ret_vllm,
                  struct err *reterr) must_check;

/* Without a driver it is the plan of a machine without GPUs; one that does not answer is an error. */
int cli_load_plan(struct cli *cli, struct cli_plan *ret_plan) must_check;
/* Likewise of a configuration that is loaded: the rest of *plan is empty, and finished in any case. */
int cli_make_plan(struct cli *cli, struct cli_plan *plan) must_check;
void cli_plan_finish(struct cli_plan *plan);
#define _cleanup_cli_plan_ _cleanup_(cli_plan_finish)
