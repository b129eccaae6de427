#pragma once

#include "cli/cli.h"
#include "cli/operate.h"

/* Sets or lifts a hold, and tells how the model is held then. An exit code, or an error. */
int cli_change_hold(struct cli *cli, const struct operation_wish *wish) must_check;
