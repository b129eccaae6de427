#pragma once

#include "cli/cli.h"

/* Asks the person at the terminal. 0: yes, or --yes has said so beforehand, which every verb that
 * asks has; else ERR_UNCONFIRMED: the answer was another, there is no terminal, or it is a program
 * that asks, by --json. What is asked about was shown before, whatever comes of it. */
int cli_confirm(struct cli *cli, const char *fmt, ...) printf_like(2, 3) must_check;

/* Whether somebody can be asked. */
bool cli_is_attended(void);
