#include "cli/deploy.h"
#include "cli/load_config.h"
#include "deploy/phase.h"

const struct verb_help verb_deploy_rollback_help = {
    .text = "Takes the whole deployment back: all services are stopped, models with their running "
            "answers "
            "finished, and nothing starts with the machine any more. Generations stay; `citadel "
            "generations switch` or a new deployment brings one back. Files, secrets and models "
            "are not "
            "touched.",
    .examples = VERB_EXAMPLES({"sudo citadel deploy rollback", "stop and disable all"}),
};

/* Phases that were done are to be done again, also where nothing is left to stop. */
static int
look(struct cli *cli, struct cli_deploy *d, void *unused unused_arg)
{
    int r = cli_deploy_look(cli, d, NULL);
    return r < 0 ? r : 0;
}

static int
withdraw(struct cli *cli, struct cli_deploy *d, void *unused unused_arg)
{
    int code = cli_deploy_work(cli, d, NULL);
    int r = code < 0 ? code : deploy_phases_forget(d->wish.state_dir, &cli->err);
    return r < 0 ? r : code;
}

int
verb_deploy_rollback(struct cli *cli)
{
    static const struct cli_deed deed = {.words = "deploy rollback",
                                         .question =
                                             "Stop all services, and start none with the machine?",
                                         .look = look,
                                         .work = withdraw};
    _cleanup_config_ struct config *config = NULL;
    _cleanup_cli_deploy_ struct cli_deploy d = {0};
    int r = cli_load_deployed(cli, &config);
    if (r == 0)
        r = cli_deploy_open(cli, config, "citadel deploy rollback", &d);
    return r < 0 ? r : cli_deploy_do(cli, &d, &deed);
}
