#pragma once

/* From the configuration to the command of one model's engine: every option of the model that
 * concerns it, its version as installed, its directories. Nothing is started. */

#include "base/err.h"
#include "base/mem.h"
#include "engine/kind.h"
#include "plan/plan.h"

struct config;
struct config_model;
struct engine_command;
struct engine_version;

/* Which GPUs a model is given here: the simulator those of a fake driver that the environment names. */
enum plan_gpus run_wish_gpus(const struct config_model *model);
bool run_driver_is_fake(void);

/* RUN/models/NAME: sockets and what is known of a running engine; gone at a reboot. */
char *run_dir(struct arena *arena, const struct config *config, const char *name) must_check;

/* "NAME=value" in the environment of its engine, and so of all that come of it. With `citadel up` above
 * us its supervisor's mark begins alike, so that the next supervisor finds them too. Else no supervisor
 * does: the engine of a shim that somebody else runs is none of its leftovers. */
char *run_mark(struct arena *arena, const struct config *config, const char *name, bool supervised)
    must_check;

/* What it does, as the engine's room calls it. */
enum engine_kind run_engine_kind(const struct config_model *model);

/* What engines say on /v1/models, and are asked for. */
const char *run_served_name(const struct config_model *model);

/* The version that is installed; -ENODATA when this engine has none that counts. */
int run_engine_version(const struct config *config, const struct config_model *model,
                       struct engine_version *ret_version, struct err *reterr) must_check;

/* version: NULL where run_engine_version() knows none. Lives in the arena. */
int run_wish_build(const struct config *config, const struct config_model *model,
                   const struct engine_version *version, const unsigned *gpus, size_t gpu_count,
                   struct arena *arena, struct engine_command *ret_command, struct err *reterr)
    must_check;
