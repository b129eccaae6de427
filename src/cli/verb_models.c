#include "base/quantity.h"
#include "cli/load_models.h"
#include "model/print.h"

#define TENSOR_PARALLEL_MAX 64 /* as the configuration has it */

const struct verb_help verb_models_help = {
    .text =
        "Lists the models on disk: what they do, how many parameters they have, what their weights "
        "take on the GPUs together, the longest context they were made for, and what each token of "
        "it takes in the KV cache of one GPU. Only configuration files and the headers of weight "
        "files are read. What a model does not tell is shown as '?', and is null in JSON.\n\n"
        "They are looked for in the directory of active models of the configuration, and where it "
        "says that its models are.\n\n"
        "GPUs is how many share each layer, and with it the heads of the KV cache: the "
        "tensor_parallel of the configured model, which also says the number format of its cache; "
        "else it is one GPU, and the model's own format. A model that the configuration serves in "
        "several ways has a line for each. The options hold for all models, as if they were "
        "configured so. Layers that pipeline_parallel gives to other GPUs are counted, too.",
    .examples = VERB_EXAMPLES({"citadel models", "the models of the configuration"},
                              {"citadel models --dir /srv/models", "of any directory"},
                              {"citadel models --tensor-parallel 4 --kv-dtype fp8",
                               "on four GPUs each, with 8 bits in the KV cache"},
                              {"citadel models --json", "all that is known, for programs"}),
};

static int
read_wanted(struct cli *cli, struct model_use *use)
{
    const char *gpus = cli_option(cli, "tensor-parallel"), *dtype = cli_option(cli, "kv-dtype");
    uint64_t n = 0;
    int r = gpus ? quantity_parse_u64(gpus, &n, &cli->err) : 0;
    if (r == 0 && gpus && (n < 1 || n > TENSOR_PARALLEL_MAX))
        r = err_set(&cli->err, ERR_USAGE, "--tensor-parallel: %s is not from 1 to %d", gpus,
                    TENSOR_PARALLEL_MAX);
    if (r < 0)
        return r;
    *use = (struct model_use){.tensor_parallel = (unsigned)n};
    if (dtype) {
        bool known = cli_kv_dtype_parse(dtype, use);
        assert(known); /* the parser has checked it */
    }
    return 0;
}

static void
print_json(struct json_writer *w, const struct cli_models *models)
{
    json_open_map(w, NULL);
    json_str(w, "directory", models->dir);
    json_bool(w, "directory_is_there", models->dir_is_there);
    json_bool(w, "more", models->catalogue.more);
    json_open_list(w, "models");
    vec_foreach (&models->items, item)
        model_print_json(item->model, &item->use, w);
    json_close_list(w);
    json_close_map(w);
}

int
verb_models(struct cli *cli)
{
    _cleanup_cli_models_ struct cli_models models = {0};
    _cleanup_table_ struct table table;
    struct model_use wanted;
    table_init(&table, model_columns, MODEL_COLUMNS);
    int r = read_wanted(cli, &wanted);
    if (r == 0)
        r = cli_load_models(cli, &wanted, &models);
    if (r < 0)
        return r;
    if (cli->json) {
        print_json(cli->json, &models);
        return EXIT_CODE_OK;
    }
    vec_foreach (&models.items, item)
        model_add_row(&table, item->model, &item->use);
    cli_table(cli, &table);
    return EXIT_CODE_OK;
}
