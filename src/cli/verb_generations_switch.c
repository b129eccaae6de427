#include "cli/deploy.h"
#include "cli/load_config.h"
#include "deploy/engine.h"

const struct verb_help verb_generations_switch_help = {
    .text =
        "Brings the machine back to what was deployed as GENERATION: its configuration, plan and "
        "units as they were, and nothing else. It is shown, asked for and done as `citadel "
        "apply` does it. It is refused when the release of vLLM that it ran on is not where it "
        "was.\n\n"
        "Your own configuration file stays as it is, and the next `citadel apply` deploys it "
        "again.",
    .examples = VERB_EXAMPLES({"citadel generations", "what there is"},
                              {"sudo citadel generations switch 6", "back to it"}),
};

int
verb_generations_switch(struct cli *cli)
{
    static const struct cli_deed deed = {.words = "generations switch", .question = "Do it?"};
    _cleanup_config_ struct config *config = NULL;
    _cleanup_cli_deploy_ struct cli_deploy d = {0};
    unsigned number;
    int r = cli_read_generation(cli, cli->args[0], &number);
    if (r == 0)
        r = cli_load_deployed(cli, &config);
    if (r == 0)
        r = deploy_engine_check(config->paths.generations, number, &cli->err);
    if (r == 0)
        r = cli_deploy_open(cli, config, "citadel generations switch", &d);
    if (r < 0)
        return r;
    d.wish.number = number;
    return cli_deploy_do(cli, &d, &deed);
}
