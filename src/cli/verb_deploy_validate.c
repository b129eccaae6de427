#include "cli/cli.h"

const struct verb_help verb_deploy_validate_help = {
    .text =
        "Looks whether this machine has what the configuration needs, before anything is deployed: "
        "all that `citadel doctor` looks at, and with its exit codes.",
    .examples = VERB_EXAMPLES({"citadel deploy validate", "all checks"}),
};

int
verb_deploy_validate(struct cli *cli)
{
    return verb_doctor(cli);
}
