#include "cli/hold.h"

const struct verb_help verb_release_help = {
    .text =
        "Lifts the hold of a model, one that a person set or the breaker's, and forgets its "
        "failures. What the breaker had stopped is started; what was waiting for the hold to be "
        "lifted is tried at once.\n\n"
        "It takes root or the account of the services, and a monitor that runs; without one, "
        "`citadel start` lifts it too.",
    .examples = VERB_EXAMPLES({"citadel release phi3", "let it start again"}),
};

int
verb_release(struct cli *cli)
{
    return cli_change_hold(
        cli, &(const struct operation_wish){.id = OPERATION_RELEASE, .name = cli->args[0]});
}
