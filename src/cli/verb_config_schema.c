#include "cli/cli.h"
#include "config/show.h"

const struct verb_help verb_config_schema_help = {
    .text = "Prints the JSON Schema (draft 2020-12) of citadel.yaml. Editors use it to complete "
            "options, to show their help and to mark errors while one types. With a YAML language "
            "server, the first line of the configuration names it:\n\n"
            "  # yaml-language-server: $schema=citadel.schema.json\n\n"
            "What needs two options to be seen together is left to 'citadel config check'.",
    .examples = VERB_EXAMPLES({"citadel config schema > citadel.schema.json", "for an editor"}),
};

int
verb_config_schema(struct cli *cli)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1 * MIB);
    config_print_schema(&out);
    cli_print_bytes(cli, out.data, out.len);
    return EXIT_CODE_OK;
}
