#include "cli/rollback.h"

const struct verb_help verb_rollback_partial_help = {
    .text =
        "Stops a group of services as `citadel rollback graceful` stops all, and leaves the others "
        "running:\n\n"
#define HALT_GROUP(name, word, help) "  " word ": " help "\n"
    HALT_GROUPS(HALT_GROUP)
#undef HALT_GROUP
        "\nThe group may also be given by --group; it is the models where none is given.",
    .examples = VERB_EXAMPLES({"sudo citadel rollback partial", "the models"},
                              {"sudo citadel rollback partial monitoring", "the monitor"},
                              {"sudo citadel-rollback partial --group gateway --force",
                               "the gateway, without a question"}),
};

int
verb_rollback_partial(struct cli *cli)
{
    const char *option = cli_option(cli, "group");
    const char *word = cli->args_count ? cli->args[0] : option ? option : "models";
    if (cli->args_count && option)
        return err_set(&cli->err, ERR_USAGE, "'%s' and --group %s: the group is to be given once",
                       word, option);
    return cli_rollback(cli, halt_group_find(word), "rollback partial");
}
