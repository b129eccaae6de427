#pragma once

/* What the verbs for secrets share: the store, and who of the configuration uses it. */

#include "cli/cli.h"
#include "config/config.h"
#include "secrets/use.h"

struct cli_secrets {
    struct config *config; /* NULL: there is none yet, and nobody uses anything */
    struct arena arena;
    struct secret_store store;
    struct secret_use *uses;
    size_t use_count;
};

int cli_load_secrets(struct cli *cli, struct cli_secrets *ret_secrets) must_check;
void cli_secrets_finish(struct cli_secrets *secrets);
#define _cleanup_cli_secrets_ _cleanup_(cli_secrets_finish)

/* The options that ask for a secret of the store, and the readers behind them. */
bool cli_secret_is_used(const struct secret_use *use, const char *name);
size_t cli_secret_options(const struct cli_secrets *secrets, const char *name,
                          struct buf *ret_text);
unsigned cli_secret_readers(const struct cli_secrets *secrets, const char *name);

/* Warns of what others can get into, for each form that is kept. */
void cli_warn_of_open_store(struct cli *cli, const struct secret_store *store);

/* Services by their names, with a space between: those that read it when they start. */
void cli_secret_services(const struct cli_secrets *secrets, unsigned readers, struct buf *out);
