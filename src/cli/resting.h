#pragma once

/* What a person stops under systemd rests (unit/rest.h) until a person starts it. */

#include "cli/cli.h"
#include "config/config.h"

int cli_rest_begin(struct cli *cli, const struct config *config, const char *service) must_check;

/* Of services, and of the timers, sockets and targets that were stopped together with the groups that the
 * arguments name; those are started here. No arguments: of everything. 1: something has rested. */
int cli_rest_end(struct cli *cli, const struct config *config) must_check;
