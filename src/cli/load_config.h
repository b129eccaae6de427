#pragma once

/* How verbs come by the configuration: -c, $CITADEL_CONFIG, and the usual places. */

#include "cli/cli.h"
#include "config/config.h"

/* Tells everything that is wrong with it on stderr, a line each; what it returns is then spoken by
 * the frame. Warnings are told, too. */
int cli_load_config(struct cli *cli, struct config **ret_config) must_check;

/* For verbs that manage what is deployed, and are wanted most when the file is spoilt: what is wrong with
 * it is told likewise, and then the configuration of the current generation is taken, if there is one and
 * no file was named. */
int cli_load_deployed(struct cli *cli, struct config **ret_config) must_check;

/* A configuration that was deployed, or that somebody has read: nothing of it is told. NULL: this release
 * cannot read it. */
struct config *cli_parse_config(const char *text, size_t len, const char *file);
