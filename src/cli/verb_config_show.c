#include "cli/load_config.h"
#include "config/show.h"

const struct verb_help verb_config_show_help = {
    .text = "Shows the configuration as it takes effect: every option with its value, also those "
            "that the file leaves out, which are marked. The output can be used as a configuration "
            "and means the same. Secrets are never in it: a configuration says where they are.\n\n"
            "PATH picks a section or an option, as in models.phi3 or gateway.port.",
    .examples = VERB_EXAMPLES({"citadel config show", "everything"},
                              {"citadel config show models.phi3", "one model"},
                              {"citadel config show models.phi3.port", "one value, for a script"}),
};

/* Seven models are 20 KB; 256 with long lists stay below this. */
#define OUT_BYTES (32 * MIB)

int
verb_config_show(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_buf_ struct buf out = BUF_INIT(OUT_BYTES);
    const char *path = cli->args_count ? cli->args[0] : NULL;
    int r = cli_load_config(cli, &config);
    if (r < 0)
        return r;
    if (cli->json)
        return config_print_json(config, path, cli->json, &cli->err);
    r = config_print(config, path, &out, &cli->err);
    cli_print_bytes(cli, out.data, out.len);
    return r;
}
