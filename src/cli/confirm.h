#pragma once

#include "cli/cli.h"

/* Asks the person at the terminal. 0: yes, or the verb's option that says so beforehand was given; else
 * ERR_UNCONFIRMED: the answer was another, or there is no terminal. */
int cli_confirm(struct cli *cli, const char *option, const char *fmt, ...) printf_like(3, 4)
    must_check;

/* Whether somebody can be asked. */
bool cli_is_attended(void);
