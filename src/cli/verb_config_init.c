#include "cli/cli.h"
#include "config/show.h"

const struct verb_help verb_config_init_help = {
    .text = "Prints a first configuration, with comments: the models that stand in the usual "
            "directories, the GPUs that the driver shows, the disks that are mounted where Citadel "
            "looks for them, and every section with its defaults. It only looks; it writes nothing "
            "but its output.",
    .examples = VERB_EXAMPLES({"citadel config init > citadel.yaml", "begin here"}),
};

int
verb_config_init(struct cli *cli)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1 * MIB);
    config_print_init(&out);
    if (cli->json) {
        json_open_map(cli->json, NULL);
        json_strn(cli->json, "yaml", out.data, out.len);
        json_close_map(cli->json);
    } else {
        cli_print_bytes(cli, out.data, out.len);
    }
    return EXIT_CODE_OK;
}
