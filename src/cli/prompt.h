#pragma once

/* A secret from a person, or from standard input. */

#include "base/secret.h"
#include "cli/cli.h"

/* On a terminal it is asked for twice, and not shown; a signal that ends or stops the program finds the
 * terminal as it was. Else all of standard input is the value. */
int cli_ask_secret(struct cli *cli, const char *what, struct secret *ret_value) must_check;
