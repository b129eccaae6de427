#include "cli/phase.h"

#include "cli/confirm.h"
#include "cli/deploy.h"
#include "deploy/lock.h"
#include "deploy/phase.h"

#include <stdio.h>
#include <unistd.h>

static int
run_here(struct cli *cli, const struct deploy_phase_wish *wish, struct cli_deploy *d)
{
    struct deploy_phase_end end = {0};
    _cleanup_deploy_lock_ struct deploy_lock lock = DEPLOY_LOCK_INIT;
    int r = deploy_lock(d->wish.state_dir, d->by, d->wish.why, &lock, &cli->err);
    if (r == 0)
        r = deploy_phase_run(wish, &d->host, &d->arena, &end, &cli->err);
    if (r < 0)
        return r;
    if (!cli->json) {
        cli_print(cli, "phase%u is done: %s.\n", wish->phase, end.text);
        return EXIT_CODE_OK;
    }
    json_open_map(cli->json, NULL);
    json_u64(cli->json, "phase", wish->phase);
    json_u64(cli->json, "generation", end.generation);
    json_str(cli->json, "text", end.text);
    json_close_map(cli->json);
    return EXIT_CODE_OK;
}

static int
run(struct cli *cli, struct cli_candidate *c, struct cli_deploy *d, unsigned phase,
    const char *words)
{
    struct deploy_phase_wish wish = {.config = c->loaded.config,
                                     .plan = &c->loaded.plan,
                                     .phase = phase,
                                     .force = cli_flag(cli, "force")};
    d->wish.files = c->files;
    d->wish.count = c->count;
    d->machine.deadline_us = cli_duration_us(cli, "timeout", d->machine.deadline_us);
    wish.deploy = d->wish;
    if (phase == 2)
        wish.model = cli->args_count ? cli->args[0] : cli_option(cli, "test-model");
    if (d->keeper == CLI_KEEPER_NONE) {
        int r = err_set(&cli->err, ERR_SERVICE_DOWN,
                        "phases start services, and neither systemd nor citadel up runs any here");
        err_fix(&cli->err, "citadel up");
        return r;
    }
    int r = cli_deploy_check(d, &cli->err);
    if (r == 0 && cli_flag(cli, "here"))
        return run_here(cli, &wish, d);
    if (r == 0)
        r = deploy_phase_check(&wish, &cli->err);
    if (r == 0 && phase == 1)
        r = cli_deploy_look(cli, d);
    if (r == 0 && phase == 1 && !cli->json)
        cli_deploy_print(cli, d);
    if (r == 0 && !wish.force)
        r = cli_confirm(cli, "yes", "phase%u: %s. Do it?", phase, deploy_phase_what(phase));
    if (r < 0)
        return r;
    return d->keeper == CLI_KEEPER_SYSTEMD ? cli_deploy_apart(cli, d, words)
                                           : run_here(cli, &wish, d);
}

int
cli_deploy_phase(struct cli *cli, unsigned phase)
{
    _cleanup_cli_candidate_ struct cli_candidate c = {0};
    _cleanup_cli_deploy_ struct cli_deploy d = {0};
    char words[32], why[64];
    (void)snprintf(words, sizeof(words), "deploy phase%u", phase);
    (void)snprintf(why, sizeof(why), "citadel %s", words);
    int r = cli_load_candidate(cli, false, &c);
    if (r == 0)
        r = cli_check_conflicts(cli, &c.loaded.plan);
    if (r == 0)
        r = cli_deploy_open(cli, c.loaded.config, why, &d);
    return r < 0 ? r : run(cli, &c, &d, phase, words);
}
