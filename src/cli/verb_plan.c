#include "base/quantity.h"
#include "cli/deploy.h"

const struct verb_help verb_plan_help = {
    .text =
        "Tells which models are kept in GPU memory and on which GPUs, which are loaded when they "
        "are asked for and wait for whom, and which can never work here, with the arithmetic and "
        "with what would change it. Nothing is started, and nothing is written but what --write "
        "asks for. While the disk of the models is not mounted there is no plan, since none of "
        "them could be seen.\n\n"
        "Models with residency always come first, then those with auto, each by priority, as long "
        "as they fit. A model claims gpu_memory_fraction of each of its GPUs. What it needs of "
        "each is predicted: its weights, the KV cache of one request of full length, and an "
        "estimate of what its engine takes beside. What is not known is shown as '?'.\n\n"
        "Below stands what `citadel apply` would do: options that differ, files that are created, "
        "changed or removed, and which units are started, restarted or stopped; `citadel diff` "
        "shows the lines. What --json prints can be given to `citadel apply`.\n\n"
        "A Loss is a model that is deployed and still enabled, and that would be left out as its "
        "files, its engine or its GPUs are not there now: `citadel apply` refuses that.\n\n"
        "GIVEN UP AFTER is how long restarts go on at most when a model always fails.",
    .examples =
        VERB_EXAMPLES({"citadel plan", "what the configuration comes to on this machine"},
                      {"citadel plan -c new.yaml", "what another one would"},
                      {"citadel plan --json > plan.json", "to look at, and to apply later"}),
};

static const struct table_column model_columns[] = {
    {.title = "MODEL"},
    {.title = "FATE"},
    {.title = "GPUS", .expendable = 1},
    {.title = "CLAIM", .right = true, .expendable = 2},
    {.title = "NEED", .right = true, .expendable = 3},
    {.title = "GIVEN UP AFTER", .right = true, .expendable = 4},
};

static const struct table_column gpu_columns[] = {
    {.title = "GPU", .right = true},
    {.title = "NAME", .min_width = 8, .expendable = 1},
    {.title = "PROMISED", .right = true},
    {.title = "OF", .right = true},
};

static enum tone
tone_of(const struct plan_model *m)
{
    if (m->conflict || m->fate == PLAN_BROKEN || m->fate == PLAN_IMPOSSIBLE)
        return TONE_BAD;
    return m->fate == PLAN_RESIDENT ? TONE_GOOD : TONE_PLAIN;
}

static void
add_gpus(struct table *table, const struct plan_model *m)
{
    _cleanup_buf_ struct buf text = BUF_INIT(256);
    for (size_t i = 0; i < m->part_count; i++)
        buf_printf(&text, "%s%u", i ? " " : "", m->parts[i].gpu->index);
    table_add(table, TONE_PLAIN, m->part_count ? text.data : "-");
}

static void
add_model(struct table *table, const struct plan_model *m)
{
    uint64_t parts[] = {m->weights_bytes, m->kv_bytes, m->overhead_bytes}, need = 0;
    quantity_text text;
    bool known = true;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        known = known && parts[i] != PLAN_UNKNOWN;
        need += parts[i];
    }
    table_add(table, TONE_PLAIN, m->name);
    table_addf(table, tone_of(m), "%s%s", plan_fate_word(m->fate), m->conflict ? " (!)" : "");
    add_gpus(table, m);
    table_add(table, TONE_PLAIN, m->claim_bytes ? quantity_show_bytes(m->claim_bytes, text) : "-");
    table_add(table, TONE_PLAIN, known ? quantity_show_bytes(need, text) : "?");
    table_add(table, TONE_PLAIN,
              plan_fate_is_possible(m->fate) ? quantity_print_us(m->start_bound_us, text) : "-");
}

static void
print_models(struct cli *cli, const struct plan *plan)
{
    _cleanup_table_ struct table table;
    table_init(&table, model_columns, ARRAY_SIZE(model_columns));
    for (size_t i = 0; i < plan->model_count; i++)
        add_model(&table, &plan->models[i]);
    cli_table(cli, &table);
}

static void
print_gpus(struct cli *cli, const struct plan *plan)
{
    _cleanup_table_ struct table table;
    quantity_text text;
    table_init(&table, gpu_columns, ARRAY_SIZE(gpu_columns));
    if (plan->gpu_count == 0) {
        cli_print(cli, "\nNo GPUs: %s\n", plan->no_gpus);
        return;
    }
    for (size_t i = 0; i < plan->gpu_count; i++) {
        const struct plan_gpu *gpu = &plan->gpus[i];
        table_addf(&table, TONE_PLAIN, "%u", gpu->index);
        table_add(&table, TONE_PLAIN, gpu->name);
        table_add(&table, TONE_PLAIN, quantity_show_bytes(gpu->promised_bytes, text));
        table_add(&table, TONE_PLAIN, quantity_show_bytes(gpu->total_bytes, text));
    }
    cli_print(cli, "\n");
    cli_table(cli, &table);
    for (size_t i = 0; i < plan->gpu_count; i++)
        if (plan->gpus[i].trouble[0])
            cli_print(cli, "GPU %u takes no part: %s\n", plan->gpus[i].index,
                      plan->gpus[i].trouble);
}

static void
print_engine(struct cli *cli, const struct plan_engine *vllm)
{
    if (vllm->trouble[0])
        cli_print(cli, "\nNo vLLM: %s\n", vllm->trouble);
    else if (vllm->env[0])
        cli_print(cli, "\nvLLM %s in %s\n", vllm->version, vllm->env);
}

static void
print_reasons(struct cli *cli, const struct plan *plan)
{
    for (size_t i = 0; i < plan->model_count; i++) {
        const struct plan_model *m = &plan->models[i];
        cli_print(cli, "%s%s: %s\n", i ? "" : "\n", m->name, m->reason);
        if (m->fix[0])
            cli_print(cli, "  try: %s\n", m->fix);
    }
}

static void
print_conflicts(struct cli *cli, const struct plan *plan)
{
    for (size_t i = 0; i < plan->model_count; i++)
        if (plan->models[i].conflict)
            cli_print(cli, "\nConflict: %s is to be kept loaded always, and cannot be.\n",
                      plan->models[i].name);
}

static int
look(struct cli *cli, const struct cli_candidate *c, struct cli_deploy *d)
{
    int r = cli_deploy_open(cli, c->loaded.config, "", d);
    if (r == 0)
        r = cli_deploy_take(cli, d, c, NULL);
    if (r == 0)
        r = cli_deploy_look(cli, d, NULL);
    return r < 0 ? r : 0;
}

static void
print_json(struct json_writer *w, const struct plan *plan, const struct cli_deploy *d)
{
    json_open_map(w, NULL);
    plan_print_members(plan, w);
    cli_deploy_print_json(d, w);
    cli_print_drift_json(d->config, d->keeper == CLI_KEEPER_SYSTEMD, w);
    json_close_map(w);
}

static void
print(struct cli *cli, const struct plan *plan, const struct cli_deploy *d)
{
    print_models(cli, plan);
    print_gpus(cli, plan);
    print_engine(cli, &plan->vllm);
    print_reasons(cli, plan);
    print_conflicts(cli, plan);
    cli_print(cli, "\n");
    cli_deploy_print(cli, d, NULL);
    cli_print_drift(cli, d->config, d->keeper == CLI_KEEPER_SYSTEMD);
}

int
verb_plan(struct cli *cli)
{
    _cleanup_cli_candidate_ struct cli_candidate c = {0};
    _cleanup_cli_deploy_ struct cli_deploy d = {0};
    const char *dir = cli_option(cli, "write");
    int r = cli_load_candidate(cli, false, &c);
    if (r == 0)
        r = cli_check_models_disk(cli, c.loaded.config);
    if (r == 0)
        r = look(cli, &c, &d);
    if (r == 0 && dir)
        r = cli_write_units(cli, &c.units, dir);
    if (r < 0)
        return r;
    if (cli->json)
        print_json(cli->json, &c.loaded.plan, &d);
    else
        print(cli, &c.loaded.plan, &d);
    bool pending = cli_flag(cli, "exit-code") && !deploy_is_nothing(&d.outlook);
    return pending ? EXIT_CODE_PENDING : EXIT_CODE_OK;
}
