#pragma once

#include "cli/cli.h"

/* Asks the person at the terminal. 0: yes; else ERR_UNCONFIRMED: the answer was another, or there is no
 * terminal. Verbs that have it take --force, and do not ask then. */
int cli_confirm(struct cli *cli, const char *fmt, ...) printf_like(2, 3) must_check;

/* Whether somebody can be asked. */
bool cli_is_attended(void);
