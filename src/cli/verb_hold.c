#include "cli/hold.h"

const struct verb_help verb_hold_help = {
    .text =
        "Keeps a model from being started, by whomever but a person who types `citadel start`: not "
        "after a crash, not at the next boot, not by `citadel ensure`. One that runs goes on. Who "
        "held it, when and why is told by `citadel why` and to everybody whom it refuses.\n\n"
        "It takes root or the account of the services, and a monitor that runs.",
    .examples =
        VERB_EXAMPLES({"citadel hold phi3 --reason \"its disk is replaced\"", "keep it down"},
                      {"citadel release phi3", "and let it start again"}),
};

int
verb_hold(struct cli *cli)
{
    const char *reason = cli_option(cli, "reason");
    return cli_change_hold(cli, &(const struct operation_wish){.id = OPERATION_HOLD,
                                                               .name = cli->args[0],
                                                               .query = reason ? "why" : NULL,
                                                               .value = reason});
}
