#include "cli/phase.h"

const struct verb_help verb_deploy_phase3_help = {
    .text = "Phase 3 of a deployment: each model that is kept loaded is started and asked, one "
            "after the other; one that fails is stopped and left out, and stops no other. Then "
            "those that fit beside them are "
            "started, asked and stopped again; of the others it is told who holds the memory.\n\n"
            "Exits with 1 when any failed; run it again when that is mended."
            "\n\nThe work is done as a unit of its own, which goes on when the terminal is lost.",
    .examples = VERB_EXAMPLES({"sudo citadel deploy phase3", "the other models"}),
};

int
verb_deploy_phase3(struct cli *cli)
{
    return cli_deploy_phase(cli, 3);
}
