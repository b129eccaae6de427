#include "cli/phase.h"

const struct verb_help verb_deploy_phase2_help = {
    .text =
        "Phase 2 of a deployment: one model is started, and asked through its own port. MODEL, or "
        "--test-model, says which; else deploy.test_model, or the one that needs the least memory "
        "of those that "
        "are kept loaded. When it does not answer it is stopped again, and the message says why."
        "\n\nThe work is done as a unit of its own, which goes on when the terminal is lost.",
    .examples = VERB_EXAMPLES({"sudo citadel deploy phase2 phi3", "one model, proven"},
                              {"sudo citadel deploy phase2 --timeout 10m", "not longer than that"}),
};

int
verb_deploy_phase2(struct cli *cli)
{
    return cli_deploy_phase(cli, 2);
}
