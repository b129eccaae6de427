#include "cli/confirm.h"
#include "cli/deploy.h"
#include "cli/load_config.h"
#include "deploy/lock.h"
#include "deploy/phase.h"

#include <unistd.h>

const struct verb_help verb_deploy_rollback_help = {
    .text = "Takes the whole deployment back: all services are stopped, models with their running "
            "answers "
            "finished, and nothing starts with the machine any more. Generations stay; `citadel "
            "generations switch` or a new deployment brings one back. Files, secrets and models "
            "are not "
            "touched.",
    .examples = VERB_EXAMPLES({"sudo citadel deploy rollback", "stop and disable all"}),
};

static int
withdraw(struct cli *cli, struct cli_deploy *d)
{
    struct deploy_end end = {0};
    _cleanup_deploy_lock_ struct deploy_lock lock = DEPLOY_LOCK_INIT;
    int r = deploy_lock(d->wish.state_dir, d->by, d->wish.why, &lock, &cli->err);
    if (r == 0)
        r = deploy_apply(&d->wish, &d->host, &d->arena, &end, &cli->err);
    if (r == 0)
        r = deploy_phases_forget(d->wish.state_dir, &cli->err);
    if (r == 0 && !cli->json)
        cli_print(cli, "Nothing is deployed, and nothing of it runs.\n");
    return r < 0 ? r : EXIT_CODE_OK;
}

int
verb_deploy_rollback(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_cli_deploy_ struct cli_deploy d = {0};
    int r = cli_load_deployed(cli, &config);
    if (r == 0)
        r = cli_deploy_open(cli, config, "citadel deploy rollback", &d);
    if (r == 0)
        r = cli_deploy_check(&d, &cli->err);
    if (r < 0)
        return r;
    if (cli_flag(cli, "here") || d.keeper == CLI_KEEPER_NONE)
        return withdraw(cli, &d);
    r = cli_confirm(cli, "force", "Stop all services, and start none with the machine?");
    if (r < 0)
        return r;
    return d.keeper == CLI_KEEPER_SYSTEMD ? cli_deploy_apart(cli, &d, "deploy rollback")
                                          : withdraw(cli, &d);
}
