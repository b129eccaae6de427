#pragma once

/* Asking about keys and usage: the gateway, at its control socket; or, where none runs, its database,
 * which root opens as the account that has it. The answers are the same. */

#include "cli/operate.h"
#include "gateway/keyring.h"

struct cli;

/* A verb that does something with the key that its first argument names, by what its options say, and prints
 * what that has come to. Its exit code, or negative. */
int cli_do_with_key(struct cli *cli, enum keyring_deed deed) must_check;

int cli_list_keys(struct cli *cli, struct arena *arena, struct value **ret_answer) must_check;
int cli_read_usage(struct cli *cli, const char *by, uint64_t since_us, struct arena *arena,
                   struct value **ret_answer) must_check;
