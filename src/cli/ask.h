#pragma once

/* Asking who sits there. */

#include "cli/cli.h"

/* Whether to go on: 1, or 0 with a word of farewell. Where nobody can be asked it is an error that
 * names `option`, which answers yes beforehand. */
int cli_ask(struct cli *cli, const char *question, const char *option) must_check;

/* Who gave the command, behind sudo too. */
const char *cli_asker(char text[64]);
