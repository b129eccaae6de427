#include "cli/phase.h"

const struct verb_help verb_deploy_phase1_help = {
    .text = "Phase 1 of a deployment: the configuration becomes the current generation, and "
            "storage and GPU services do their work. No model is started. When it fails on a "
            "machine that had nothing deployed, "
            "nothing is; else the generation of before is back."
            "\n\nThe work is done as a unit of its own, which goes on when the terminal is lost.",
    .examples = VERB_EXAMPLES({"sudo citadel deploy phase1", "infrastructure"}),
};

int
verb_deploy_phase1(struct cli *cli)
{
    return cli_deploy_phase(cli, 1);
}
