#include "base/text.h"
#include "cli/load_models.h"
#include "model/print.h"

#include <stdio.h>
#include <stdlib.h>

const struct verb_help verb_models_validate_help = {
    .text = "Checks that models are whole: configuration, tokenizer, every weight file that the "
            "index or the numbering of the others asks for, its length and its header. All that "
            "is wrong is named, not only the first. Tensors are not read: for their content, see "
            "the verification of backups.\n\n"
            "NAME is that of a directory, or of a model of the configuration; without one, it is "
            "all of them. Exits with 0 when all are whole, 3 when one is not, and 4 when there is "
            "none, or none of that name.",
    .examples = VERB_EXAMPLES({"citadel models validate", "all models"},
                              {"citadel models validate phi3", "one of them"},
                              {"citadel models validate --dir /srv/models", "of any directory"}),
};

/* Those that were named, or all; -ENOENT, with cli->err filled, when there is none. */
static int
choose(struct cli *cli, const struct cli_models *models, const struct model **chosen,
       size_t *ret_count)
{
    size_t count = 0;
    for (size_t i = 0; i < cli->args_count; i++) {
        chosen[count] = cli_find_model(cli, models, cli->args[i]);
        if (!chosen[count++])
            return -err_row(cli->err.id)->err;
    }
    if (cli->args_count == 0)
        vec_foreach (&models->catalogue.models, m)
            chosen[count++] = m;
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
print(struct cli *cli, const struct model *const *chosen, size_t count, size_t whole)
{
    for (size_t i = 0; i < count; i++) {
        _cleanup_buf_ struct buf problems = BUF_INIT(MIB);
        model_print_problems(chosen[i], &problems);
        print_name(cli, chosen[i]);
        cli_print_bytes(cli, problems.data, problems.len);
    }
    cli_print(cli, "%zu of %zu model%s whole\n", whole, count, count == 1 ? "" : "s");
}

static void
print_json(struct cli *cli, const char *dir, const struct model *const *chosen, size_t count,
           size_t whole)
{
    json_open_map(cli->json, NULL);
    json_str(cli->json, "directory", dir);
    json_u64(cli->json, "count", count);
    json_u64(cli->json, "whole", whole);
    json_open_list(cli->json, "models");
    for (size_t i = 0; i < count; i++)
        model_print_json(chosen[i], cli->json);
    json_close_list(cli->json);
    json_close_map(cli->json);
}

int
verb_models_validate(struct cli *cli)
{
    _cleanup_cli_models_ struct cli_models models = {0};
    int r = cli_load_models(cli, &models);
    if (r < 0)
        return r;
    size_t count = 0, whole = 0, most = MAX(cli->args_count, models.catalogue.models.count);
    _cleanup_free_ const struct model **chosen = mem_alloc(most * sizeof(*chosen));
    r = choose(cli, &models, chosen, &count);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++)
        whole += model_is_whole(chosen[i]);
    if (cli->json)
        print_json(cli, models.dir, chosen, count, whole);
    else
        print(cli, chosen, count, whole);
    return whole == count ? EXIT_CODE_OK : EXIT_CODE_UNHEALTHY;
}
