#include "cli/cli.h"
#include "cli/complete.h"

#include <string.h>

const struct verb_help verb_complete_help = {
    .text = "Tells what could stand next on a command line; the completions of the shells ask it. "
            "The last WORD is the one being typed, and may be empty. Each line of the answer is a "
            "word, a tab and what it means, or one of :file, :dir and :model, where names of "
            "those may stand.",
    .examples = VERB_EXAMPLES({"citadel complete -- he", "help"},
                              {"citadel complete -- version --", "the options of version"}),
};

int
verb_complete(struct cli *cli)
{
    _cleanup_buf_ struct buf said = BUF_INIT(MIB);
    complete_words(verb_rows, verb_common, cli->args, &said);
    if (!cli->json) {
        cli_print_bytes(cli, said.data, said.len);
        return EXIT_CODE_OK;
    }
    json_open_list(cli->json, NULL);
    for (const char *line = said.data; *line; line += strcspn(line, "\n") + 1) {
        size_t word = strcspn(line, "\t\n"), gap = line[word] == '\t';
        json_open_map(cli->json, NULL);
        json_strn(cli->json, "word", line, word);
        json_strn(cli->json, "what", line + word + gap, strcspn(line + word + gap, "\n"));
        json_close_map(cli->json);
    }
    json_close_list(cli->json);
    return EXIT_CODE_OK;
}
