#include "cli/deploy.h"
#include "cli/load_config.h"

const struct verb_help verb_diff_help = {
    .text = "Shows line by line what `citadel apply` would change of the current generation: "
            "configuration, plan and units. With GENERATION it is what has changed from that one "
            "to the current one, for which the configuration need not be right. Nothing is "
            "written.",
    .examples = VERB_EXAMPLES({"citadel diff", "what applying the configuration would change"},
                              {"citadel diff 6", "what is not as it was in generation 6"}),
};

#define DIFF_MAX (64 * MIB)

static int
print(struct cli *cli, const struct deploy_change *changes, size_t count)
{
    _cleanup_buf_ struct buf text = BUF_INIT(DIFF_MAX);
    if (cli->json)
        json_open_list(cli->json, NULL);
    for (size_t i = 0; i < count; i++) {
        buf_clear(&text);
        deploy_print_change(&changes[i], &text);
        if (buf_error(&text) < 0)
            return err_set(&cli->err, ERR_TOO_LARGE, "%s differs in too much to be shown",
                           changes[i].name);
        if (!cli->json) {
            cli_print_bytes(cli, text.data, text.len);
            continue;
        }
        json_open_map(cli->json, NULL);
        json_str(cli->json, "file", changes[i].name);
        json_str(cli->json, "diff", text.data);
        json_close_map(cli->json);
    }
    if (cli->json)
        json_close_list(cli->json);
    else if (count == 0)
        cli_note(cli, "Nothing differs.");
    return EXIT_CODE_OK;
}

static int
diff_generations(struct cli *cli, const struct config *config, unsigned from)
{
    const char *store = config->paths.generations;
    _cleanup_arena_ struct arena arena;
    struct generation_file *old = NULL, *new = NULL;
    struct deploy_change *changes = NULL;
    size_t old_count = 0, new_count = 0, count = 0;
    unsigned current = 0;
    arena_init(&arena, DEPLOY_BYTES);
    int r = generation_load(store, from, GENERATION_WHOLE, &arena, &old, &old_count, &cli->err);
    if (r == 0)
        r = generation_of(store, GENERATION_CURRENT, &current, &cli->err);
    if (r == 0 && current)
        r = generation_load(store, current, GENERATION_WHOLE, &arena, &new, &new_count, &cli->err);
    if (r < 0)
        return r;
    if (deploy_compare(old, old_count, new, new_count, &arena, &changes, &count) < 0)
        return err_set(&cli->err, ERR_TOO_LARGE, "generations %u and %u are too large", from,
                       current);
    return print(cli, changes, count);
}

static int
diff_candidate(struct cli *cli)
{
    _cleanup_cli_candidate_ struct cli_candidate c = {0};
    _cleanup_cli_deploy_ struct cli_deploy d = {0};
    int r = cli_load_candidate(cli, false, &c);
    if (r == 0)
        r = cli_deploy_open(cli, c.loaded.config, "", &d);
    if (r < 0)
        return r;
    d.wish.files = c.files;
    d.wish.count = c.count;
    r = cli_deploy_look(cli, &d, NULL);
    return r < 0 ? r : print(cli, d.outlook.changes, d.outlook.change_count);
}

int
verb_diff(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    unsigned number;
    if (cli->args_count == 0)
        return diff_candidate(cli);
    int r = cli_read_generation(cli, cli->args[0], &number);
    if (r == 0)
        r = cli_load_deployed(cli, &config);
    if (r < 0)
        return r;
    assert(config);
    return diff_generations(cli, config, number);
}
