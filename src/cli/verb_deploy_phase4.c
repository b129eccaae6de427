#include "cli/phase.h"

const struct verb_help verb_deploy_phase4_help = {
    .text = "Phase 4 of a deployment: everything that starts with the machine runs: monitor, "
            "gateway, timers, and the targets. What this release has no command for yet is left "
            "out; `citadel units` says so."
            "\n\nThe work is done as a unit of its own, which goes on when the terminal is lost.",
    .examples = VERB_EXAMPLES({"sudo citadel deploy phase4", "the rest"}),
};

int
verb_deploy_phase4(struct cli *cli)
{
    return cli_deploy_phase(cli, 4);
}
