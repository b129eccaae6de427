#include "cli/cli.h"
#include "config/config.h"
#include "config/problems.h"

const struct verb_help verb_config_check_help = {
    .text = "Reads the configuration and tells everything that is wrong with it in one go, each "
            "with file, line and column, what was found and what is allowed. Nothing is changed, "
            "and the machine is not looked at.\n\n"
            "Without FILE it is the file of -c, else the one that $CITADEL_CONFIG names, else "
            "./citadel.yaml, else /etc/citadel/citadel.yaml.",
    .examples = VERB_EXAMPLES({"citadel config check", "the configuration that is in use"},
                              {"citadel config check new.yaml --json", "another, for a program"}),
};

static void
print_json(struct cli *cli, const struct config *config, const struct config_problems *problems)
{
    struct json_writer *w = cli->json;
    json_open_map(w, NULL);
    json_str(w, "file", problems->file);
    json_bool(w, "accepted", config != NULL);
    json_u64(w, "errors", problems->errors);
    json_u64(w, "left_out", problems->left_out);
    config_problems_json(problems, w, "problems");
    json_close_map(w);
}

int
verb_config_check(struct cli *cli)
{
    _cleanup_config_problems_ struct config_problems problems;
    _cleanup_config_ struct config *config = NULL;
    _cleanup_buf_ struct buf lines = BUF_INIT(1 * MIB);
    const char *file = cli->args_count ? cli->args[0] : cli->config_file;
    config_problems_init(&problems);
    int r = config_load(file, &config, &problems, &cli->err);
    if (cli->json) {
        print_json(cli, config, &problems);
        return r;
    }
    config_problems_print(&problems, &lines);
    cli_complain(cli, lines.data);
    if (r == 0)
        cli_print(cli, "%s: right, %zu model%s\n", config->name, config->models.count,
                  config->models.count == 1 ? "" : "s");
    return r;
}
