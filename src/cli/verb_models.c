#include "cli/load_models.h"
#include "model/print.h"

const struct verb_help verb_models_help = {
    .text = "Lists the models on disk: what they do, how many parameters they have, what their "
            "weights take on the GPUs together, the longest context they were made for, and what "
            "each token of it takes in the KV cache of one GPU. Only configuration files and the "
            "headers of weight files are read. What a model does not tell is shown as '?', and is "
            "null in JSON.\n\n"
            "They are looked for in the directory of active models of the configuration, and "
            "where it says that its models are.",
    .examples = VERB_EXAMPLES({"citadel models", "the models of the configuration"},
                              {"citadel models --dir /srv/models", "of any directory"},
                              {"citadel models --json", "all that is known, for programs"}),
};

int
verb_models(struct cli *cli)
{
    _cleanup_cli_models_ struct cli_models models = {0};
    _cleanup_table_ struct table table;
    table_init(&table, model_columns, MODEL_COLUMNS);
    int r = cli_load_models(cli, &models);
    if (r < 0)
        return r;
    if (models.catalogue.more)
        cli_note(cli, "%s holds more than the %d models that are told", models.dir,
                 MODEL_CATALOGUE_MAX);
    if (!cli->json) {
        vec_foreach (&models.catalogue.models, m)
            model_add_row(&table, m);
        cli_table(cli, &table);
        return EXIT_CODE_OK;
    }
    json_open_map(cli->json, NULL);
    json_str(cli->json, "directory", models.dir);
    json_bool(cli->json, "more", models.catalogue.more);
    json_open_list(cli->json, "models");
    vec_foreach (&models.catalogue.models, m)
        model_print_json(m, cli->json);
    json_close_list(cli->json);
    json_close_map(cli->json);
    return EXIT_CODE_OK;
}
