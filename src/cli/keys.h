#pragma once

/* Asking about keys and usage: the gateway, at its control socket; or, where none runs, its database,
 * which root opens as the account that has it. The answers are the same. */

#include "cli/monitor.h"
#include "gateway/keyring.h"

struct cli;

/* One key, or none. members: JSON of key_change(); NULL: none. */
int cli_do_with_key(struct cli *cli, enum keyring_deed deed, const char *name,
                    const struct buf *members, struct arena *arena, struct value **ret_answer)
    must_check;
int cli_list_keys(struct cli *cli, struct arena *arena, struct value **ret_answer) must_check;
int cli_read_usage(struct cli *cli, const char *by, uint64_t since_us, struct arena *arena,
                   struct value **ret_answer) must_check;

/* What the options of create and limits come to, as members. */
int cli_read_members(struct cli *cli, struct buf *out) must_check;

/* What a deed has come to. */
void cli_print_key(struct cli *cli, const struct value *answer);
