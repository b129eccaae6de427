#pragma once

/* What a generation is made of: the configuration byte for byte as it was read, the plan for it, and
 * the units that both come to. */

#include "deploy/generation.h"
#include "plan/plan.h"
#include "unit/unit.h"

/* By name, in the arena; the texts of the units are those of the set. */
int deploy_content_make(const struct buf *config, const struct plan *plan,
                        const struct unit_set *units, struct arena *arena,
                        struct generation_file **ret_files, size_t *ret_count, struct err *reterr)
    must_check;
