#include "cli/deploy.h"
#include "cli/load_config.h"
#include "deploy/lock.h"
#include "deploy/phase.h"
#include "sys/clock.h"

const struct verb_help verb_deploy_status_help = {
    .text =
        "Tells which phases of the deployment are done, by whom, and how they ended; and who is "
        "changing what is deployed now.",
    .examples = VERB_EXAMPLES({"citadel deploy status", "where the deployment stands"}),
};

static const struct table_column columns[] = {
    {.title = "PHASE"},
    {.title = "WHAT", .expendable = 2},
    {.title = "STATE"},
    {.title = "WHEN", .expendable = 1},
    {.title = "BY", .expendable = 3},
    {.title = "", .min_width = 20, .expendable = 4},
};

static void
add(struct table *table, unsigned phase, const struct deploy_phase_end *end)
{
    char when[CLOCK_LOCAL_MAX];
    table_addf(table, TONE_PLAIN, "phase%u", phase);
    table_add(table, TONE_PLAIN, deploy_phase_what(phase));
    if (!end->at_us) {
        table_add(table, TONE_DIM, "not done");
        for (unsigned i = 0; i < 3; i++)
            table_add(table, TONE_DIM, "-");
        return;
    }
    table_add(table, end->well ? TONE_GOOD : TONE_BAD, end->well ? "done" : "failed");
    table_add(table, TONE_PLAIN, clock_print_local(end->at_us, when));
    table_add(table, TONE_PLAIN, end->by);
    table_add(table, TONE_PLAIN, end->text);
}

int
verb_deploy_status(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_table_ struct table table;
    struct deploy_phases phases = {0};
    struct err busy;
    table_init(&table, columns, ARRAY_SIZE(columns));
    int r = cli_load_deployed(cli, &config);
    if (r == 0)
        r = deploy_phases_load(config->paths.state, &phases, &cli->err);
    if (r < 0)
        return r;
    bool changing = deploy_lock_look(config->paths.state, &busy) < 0;
    if (cli->json) {
        json_open_map(cli->json, NULL);
        json_str(cli->json, "changing", changing ? busy.what : NULL);
        deploy_phases_print(&phases, cli->json, "phases");
        json_close_map(cli->json);
        return EXIT_CODE_OK;
    }
    for (unsigned i = 1; i <= DEPLOY_PHASES; i++)
        add(&table, i, &phases.phases[i]);
    cli_table(cli, &table);
    if (changing)
        cli_print(cli, "\nNow: %s.\n", busy.what);
    return EXIT_CODE_OK;
}
