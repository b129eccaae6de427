#pragma once

#include "cli/cli.h"
#include "cli/monitor.h"

/* Sets or lifts a hold, and tells how the model is held then. An exit code, or an error. */
int cli_change_hold(struct cli *cli, const struct monitor_wish *wish) must_check;
