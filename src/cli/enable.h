#pragma once

/* `citadel enable` and `disable`: the switch of services in the configuration file, and what follows. */

#include "cli/cli.h"

int cli_enable(struct cli *cli, bool enabled) must_check;
