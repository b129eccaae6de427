#include "cli/phase.h"

#include "cli/deploy.h"
#include "deploy/phase.h"

#include <stdio.h>

/* Only the first puts something in place; the others prove it, and ask whether it is that. */
static int
look(struct cli *cli, struct cli_deploy *d, void *arg)
{
    const struct deploy_phase_wish *wish = arg;
    int r = deploy_phase_check(wish, &cli->err);
    if (r == 0 && wish->phase == 1)
        r = cli_deploy_look(cli, d, NULL);
    return r < 0 ? r : 0;
}

static void
print(struct cli *cli, const struct cli_deploy *d, void *arg)
{
    const struct deploy_phase_wish *wish = arg;
    if (wish->phase == 1)
        cli_deploy_print(cli, d, NULL);
}

static int
work(struct cli *cli, struct cli_deploy *d, void *arg)
{
    struct deploy_phase_wish *wish = arg;
    struct deploy_phase_end end = {0};
    wish->deploy.expect = d->wish.expect;
    int r = deploy_phase_run(wish, &d->host, &d->arena, &end, &cli->err);
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
    char question[64];
    (void)snprintf(question, sizeof(question), "phase%u: %s. Do it?", phase,
                   deploy_phase_what(phase));
    /* What the first has not put in place, the others refuse anyway. */
    int r = cli_deploy_take(cli, d, c, phase == 1 ? "anyway" : NULL);
    if (r < 0)
        return r;
    d->machine.deadline_us = cli_duration_us(cli, "timeout", d->machine.deadline_us);
    struct deploy_phase_wish wish = {.deploy = d->wish,
                                     .config = c->loaded.config,
                                     .plan = &c->loaded.plan,
                                     .phase = phase,
                                     .anyway = cli_flag(cli, "anyway")};
    if (phase == 2)
        wish.model = cli->args_count ? cli->args[0] : cli_option(cli, "test-model");
    const struct cli_deed deed = {.words = words,
                                  .question = question,
                                  .look = look,
                                  .print = print,
                                  .work = work,
                                  .arg = &wish};
    if (d->keeper != CLI_KEEPER_NONE)
        return cli_deploy_do(cli, d, &deed);
    r = err_set(&cli->err, ERR_SERVICE_DOWN,
                "phases start services, and neither systemd nor citadel up runs any here");
    err_fix(&cli->err, "citadel up");
    return r;
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
        r = cli_check_models_disk(cli, c.loaded.config);
    if (r == 0)
        r = cli_deploy_open(cli, c.loaded.config, why, &d);
    return r < 0 ? r : run(cli, &c, &d, phase, words);
}
