#pragma once

/* How verbs come by the models on disk: those in the directory of --dir, or else in that of the
 * configuration, with those it names that lie elsewhere, or should be there and are not. */

#include "cli/cli.h"
#include "config/config.h"
#include "model/model.h"

struct cli_models {
    char *dir;
    struct config *config; /* NULL with --dir */
    struct model_catalogue catalogue;
};

/* The verb has an option --dir. */
int cli_load_models(struct cli *cli, struct cli_models *ret_models) must_check;
void cli_models_finish(struct cli_models *models);
#define _cleanup_cli_models_ _cleanup_(cli_models_finish)

/* By the name of its directory, or by that of a configured model; NULL, with cli->err filled. */
const struct model *cli_find_model(struct cli *cli, const struct cli_models *models,
                                   const char *name);
