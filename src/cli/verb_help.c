#include "cli/frame.h"

#include <stdio.h>

const struct verb_help verb_help_help = {
    .text = "Without a verb, tells in a line what each verb does. With one, tells its arguments "
            "and options, and shows examples; with the first word of several (citadel help "
            "config), tells about those.\n\n"
            "'citadel VERB --help' tells the same.",
    .examples = VERB_EXAMPLES({"citadel help", "what there is"},
                              {"citadel help version", "all about one verb"}),
};

int
verb_help(struct cli *cli)
{
    char words[sizeof(cli->frame->words)] = "";
    size_t len = 0;
    for (size_t i = 0; i < cli->args_count && len < sizeof(words); i++)
        len +=
            (size_t)snprintf(words + len, sizeof(words) - len, "%s%s", i ? " " : "", cli->args[i]);
    if (len < sizeof(words) && cli_help(cli, words))
        return EXIT_CODE_OK;
    return cli_refuse_words(cli, verb_rows, cli->args);
}
