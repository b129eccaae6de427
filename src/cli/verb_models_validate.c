#include "base/text.h"
#include "cli/load_models.h"
#include "model/print.h"

#include <stdio.h>
#include <stdlib.h>

const struct verb_help verb_models_validate_help = {
    .text =
        "Checks that models are whole: that config.json can be served from, that a tokenizer is "
        "there and begins and ends as its format does, that every weight file is there which the "
        "index or the numbering of the others asks for, is as long as its header says, and holds "
        "the tensors it should and no other file holds. Of GGUF files the head is read, of pickles "
        "nothing. Tensors are not read: for their content, see the verification of backups.\n\n"
        "All that is wrong is named, not only the first; of many things of one kind, the first "
        "eight and how many more; of one model, 500 in all.\n\n"
        "NAME is that of a directory, or of a model of the configuration; without one, it is "
        "all of them. Exits with 0 when all are whole, 3 when one is not, or when there are more "
        "than could be checked, and 4 when there is none, or none of that name.",
    .examples = VERB_EXAMPLES({"citadel models validate", "all models"},
                              {"citadel models validate phi3", "one of them"},
                              {"citadel models validate --dir /srv/models", "of any directory"}),
};

/* The models that were named, or all; each once, however it is served. -ENOENT, with cli->err
 * filled, when there is none. */
static int
choose(struct cli *cli, const struct cli_models *models, const struct cli_model **chosen,
       size_t *ret_count)
{
    size_t count = 0;
    for (size_t i = 0; i < cli->args_count; i++) {
        chosen[count] = cli_find_model(cli, models, cli->args[i]);
        if (!chosen[count++])
            return -err_row(cli->err.id)->err;
    }
    if (cli->args_count == 0)
        vec_foreach (&models->items, item)
            if (count == 0 || chosen[count - 1]->model != item->model)
                chosen[count++] = item;
    *ret_count = count;
    return count ? 0 : err_set(&cli->err, ERR_NO_MODEL, "there are no models in %s", models->dir);
}

static void
print_name(struct cli *cli, const struct model *m)
{
    char line[512];
    int len = snprintf(line, sizeof(line), "%s%s%s%s: %s", m->name, m->alias_of ? " (link to " : "",
                       m->alias_of ? m->alias_of : "", m->alias_of ? ")" : "",
                       model_is_whole(m) ? "whole" : "not whole");
    text_make_safe(line, sizeof(line), len);
    cli_print(cli, "%s\n", line);
}

static void
print(struct cli *cli, const struct cli_model *const *chosen, size_t count, size_t whole)
{
    for (size_t i = 0; i < count; i++) {
        _cleanup_buf_ struct buf problems = BUF_INIT(MIB);
        model_print_problems(chosen[i]->model, &problems);
        print_name(cli, chosen[i]->model);
        cli_print_bytes(cli, problems.data, problems.len);
    }
    cli_print(cli, "%zu of %zu model%s whole\n", whole, count, count == 1 ? "" : "s");
}

static void
print_json(struct cli *cli, const struct cli_models *models, const struct cli_model *const *chosen,
           size_t count, size_t whole)
{
    json_open_map(cli->json, NULL);
    json_str(cli->json, "directory", models->dir);
    json_bool(cli->json, "directory_is_there", models->dir_is_there);
    json_bool(cli->json, "more", models->catalogue.more);
    json_u64(cli->json, "count", count);
    json_u64(cli->json, "whole", whole);
    json_open_list(cli->json, "models");
    for (size_t i = 0; i < count; i++)
        model_print_json(chosen[i]->model, &chosen[i]->use, cli->json);
    json_close_list(cli->json);
    json_close_map(cli->json);
}

int
verb_models_validate(struct cli *cli)
{
    _cleanup_cli_models_ struct cli_models models = {0};
    int r = cli_load_models(cli, NULL, &models);
    if (r < 0)
        return r;
    size_t count = 0, whole = 0, most = MAX(cli->args_count, models.items.count);
    _cleanup_free_ const struct cli_model **chosen = mem_alloc(most * sizeof(*chosen));
    r = choose(cli, &models, chosen, &count);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++)
        whole += model_is_whole(chosen[i]->model);
    if (cli->json)
        print_json(cli, &models, chosen, count, whole);
    else
        print(cli, chosen, count, whole);
    bool all = cli->args_count > 0 || !models.catalogue.more;
    return whole == count && all ? EXIT_CODE_OK : EXIT_CODE_UNHEALTHY;
}
