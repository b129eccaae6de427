#include "cli/rollback.h"

const struct verb_help verb_rollback_graceful_help = {
    .text =
        "Stops everything in the reverse of the order in which it starts: what runs at its time, "
        "the "
        "models with their running answers finished, the gateway and the monitor, the GPUs' "
        "settings, the storage. What it has stopped is said.\n\n"
        "All of it counts as stopped by a person: the monitor, a deployment and a boot leave it "
        "down. `citadel start` starts it again; so does `citadel deploy phase1` and what follows. "
        "Nothing is removed. Under `citadel up` its services are stopped, and it goes on without "
        "any.\n\n"
        "With systemd the work is done as a unit of its own, which goes on when the terminal is "
        "lost.",
    .examples = VERB_EXAMPLES({"sudo citadel rollback graceful", "shows what runs, and asks"},
                              {"sudo citadel-rollback graceful --force", "asks nothing"}),
};

int
verb_rollback_graceful(struct cli *cli)
{
    return cli_rollback(cli, HALT_ALL, "rollback graceful");
}
