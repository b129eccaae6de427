#include "base/text.h"
#include "cli/cli.h"
#include "cli/manual.h"

const struct verb_help verb_manual_help = {
    .text = "Prints a page of the manual, in the language of man(1). Page 1, which is meant when "
            "none is said, is about the program: verbs, exit codes, errors. Page 5 is about the "
            "configuration file: every option. An installed Citadel has both as files: man "
            "citadel, man citadel.yaml.",
    .examples = VERB_EXAMPLES({"citadel manual | man -l -", "read it"},
                              {"citadel manual 5 | man -l -", "read about citadel.yaml"}),
};

int
verb_manual(struct cli *cli)
{
    _cleanup_buf_ struct buf page = BUF_INIT(4 * MIB);
    bool is_file = text_eq(cli->args[0], "5");
    if (is_file)
        manual_citadel_yaml(&page);
    else
        manual_citadel(&page);
    if (cli->json) {
        json_open_map(cli->json, NULL);
        json_u64(cli->json, "page", is_file ? 5 : 1);
        json_strn(cli->json, "mdoc", page.data, page.len);
        json_close_map(cli->json);
    } else {
        cli_print_bytes(cli, page.data, page.len);
    }
    return EXIT_CODE_OK;
}
