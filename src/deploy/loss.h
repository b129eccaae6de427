#pragma once

/* What a deployment would lose: models that are deployed, that the configuration still wants, and that
 * cannot be had as they are now, since the machine has changed under them. Their disk is not mounted, a
 * file is gone, the driver does not answer. That is to be mended; it is nobody's wish that they end. Pure. */

#include "deploy/generation.h"

struct config;
struct plan;

/* A model that is wanted, and that the plan has no place for as the machine is now. */
struct deploy_lack {
    const char *model;
    const char *why, *fix; /* fix: "" where none is known */
    bool of_gpus;          /* it has a place, but on no GPU */
};

/* In the order of the plan; the result lives in the arena, and points into the plan. */
int deploy_find_lacks(const struct config *config, const struct plan *plan, struct arena *arena,
                      struct deploy_lack **ret_items, size_t *ret_count, struct err *reterr)
    must_check;

/* Whether that is deployed now, by the files of the current generation. */
bool deploy_is_loss(const struct deploy_lack *lack, const struct generation_file *files,
                    size_t count);

/* ERR_DEPLOY_LOSS, which names them and tells why; of one at least. */
int deploy_refuse_losses(const struct deploy_lack *items, size_t count, struct err *reterr);
