#pragma once

/* How verbs come by the configuration: -c, $CITADEL_CONFIG, and the usual places. */

#include "cli/cli.h"
#include "config/config.h"

/* Tells everything that is wrong with it on stderr, a line each; what it returns is then spoken by
 * the frame. Warnings are told, too. */
int cli_load_config(struct cli *cli, struct config **ret_config) must_check;
