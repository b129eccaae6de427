#include "cli/cli.h"
#include "cli/manual.h"

const struct verb_help verb_manual_help = {
    .text = "Prints the manual, in the language of man(1): verbs, exit codes, errors. An installed "
            "Citadel has it as a file: man citadel.",
    .examples = VERB_EXAMPLES({"citadel manual | man -l -", "read it"}),
};

int
verb_manual(struct cli *cli)
{
    _cleanup_buf_ struct buf page = BUF_INIT(4 * MIB);
    manual_citadel(&page);
    assert(buf_error(&page) == 0);
    if (cli->json) {
        json_open_map(cli->json, NULL);
        json_strn(cli->json, "mdoc", page.data, page.len);
        json_close_map(cli->json);
    } else {
        cli_print_bytes(cli, page.data, page.len);
    }
    return EXIT_CODE_OK;
}
