#pragma once

/* How verbs come by the models on disk: those in the directory of --dir, or else in that of the
 * configuration, with those it names that lie elsewhere, or should be there and are not. */

#include "cli/cli.h"
#include "config/config.h"
#include "model/model.h"
#include "model/print.h"

struct cli_model {
    const struct model *model;
    struct model_use use;
};

struct cli_models {
    char *dir;
    bool dir_is_there;
    struct config *config; /* NULL with --dir */
    struct model_catalogue catalogue;
    VEC(struct cli_model) items; /* the catalogue, once for each way in which a model is served */
};

/* The verb has an option --dir. Models of its arguments are among them, if they are there. wanted: a
 * use that holds for all, where it says something (else 0 and NULL). */
int cli_load_models(struct cli *cli, const struct model_use *wanted, struct cli_models *ret_models)
    must_check;
void cli_models_finish(struct cli_models *models);
#define _cleanup_cli_models_ _cleanup_(cli_models_finish)

/* By the name of its directory, or by that of a configured model; NULL, with cli->err filled. */
const struct cli_model *cli_find_model(struct cli *cli, const struct cli_models *models,
                                       const char *name);

/* What --kv-dtype may say. */
bool cli_kv_dtype_parse(const char *text, struct model_use *use);
