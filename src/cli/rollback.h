#pragma once

/* `rollback graceful` and `rollback partial`: all, or a group of it, stopped in order and kept down. */

#include "cli/cli.h"
#include "deploy/halt.h"

/* words: of the verb, which is what goes on when the terminal is lost. */
int cli_rollback(struct cli *cli, enum halt_group group, const char *words) must_check;
