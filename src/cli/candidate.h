#pragma once

/* What a configuration comes to on this machine, as the files of a generation: the configuration byte
 * for byte as it was read, its plan, and the units. */

#include "cli/load_plan.h"
#include "deploy/generation.h"
#include "unit/unit.h"

struct cli_candidate {
    struct cli_plan loaded;
    struct unit_set units;
    struct generation_file *files; /* by name */
    size_t count;
};

/* explain: each line of a unit with its reason; such a candidate is to be shown, not deployed. */
int cli_load_candidate(struct cli *cli, bool explain, struct cli_candidate *ret) must_check;
/* Likewise of a configuration that is loaded: the rest is empty, and finished in any case. */
int cli_make_candidate(struct cli *cli, bool explain, struct cli_candidate *c) must_check;
void cli_candidate_finish(struct cli_candidate *candidate);
#define _cleanup_cli_candidate_ _cleanup_(cli_candidate_finish)

/* That models may be planned as they are: the disk that has their files is mounted, or is that of
 * another machine (--root). */
int cli_check_models_disk(struct cli *cli, const struct config *config) must_check;

/* As files, into a directory, which is made. */
int cli_write_units(struct cli *cli, const struct unit_set *set, const char *dir) must_check;
