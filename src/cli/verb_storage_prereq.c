#include "cli/load_config.h"
#include "storage/prereq.h"

const struct verb_help verb_storage_prereq_help = {
    .text = "Tells whether this machine has what Citadel needs of its storage: the disks mounted "
            "and writable, room for models, the accounts, the directories, and the programs that "
            "ask disks for their health and check file systems. Nothing is changed.\n\n"
            "Exits with 0 when all that is required is there, else with 3. What is optional and "
            "missing is told, with what is lost without it.",
    .examples = VERB_EXAMPLES({"citadel storage prereq", "what is there, and what is not"},
                              {"citadel storage prereq --json", "for programs"}),
};

static const struct table_column columns[] = {
    {.title = "CHECK"},
    {.title = "IS", .expendable = 1},
    {.title = "RESULT"},
    {.title = "FOUND", .min_width = 20},
};

static void
print(struct cli *cli, const struct storage_checks *checks)
{
    _cleanup_table_ struct table table;
    table_init(&table, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < checks->count; i++) {
        const struct storage_check *c = &checks->items[i];
        enum tone tone = c->ok ? TONE_GOOD : c->required ? TONE_BAD : TONE_WARN;
        table_add(&table, TONE_PLAIN, c->name);
        table_add(&table, TONE_PLAIN, c->required ? "required" : "optional");
        table_add(&table, tone, c->ok ? "ok" : "missing");
        table_add(&table, TONE_PLAIN, c->found);
    }
    cli_table(cli, &table);
    for (size_t i = 0; i < checks->count; i++)
        if (checks->items[i].fix[0])
            cli_print(cli, "%s: %s\n", checks->items[i].name, checks->items[i].fix);
}

static void
print_json(struct json_writer *w, const struct storage_checks *checks)
{
    json_open_list(w, NULL);
    for (size_t i = 0; i < checks->count; i++) {
        const struct storage_check *c = &checks->items[i];
        json_open_map(w, NULL);
        json_str(w, "check", c->name);
        json_bool(w, "required", c->required);
        json_bool(w, "ok", c->ok);
        json_str(w, "found", c->found);
        json_str(w, "fix", c->fix[0] ? c->fix : NULL);
        json_close_map(w);
    }
    json_close_list(w);
}

int
verb_storage_prereq(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    struct storage_checks checks = {0};
    bool all = true;
    int r = cli_load_config(cli, &config);
    if (r == 0)
        r = storage_prereq(config, &checks, &cli->err);
    if (r < 0)
        return r;
    if (cli->json)
        print_json(cli->json, &checks);
    else
        print(cli, &checks);
    for (size_t i = 0; i < checks.count; i++)
        all = all && (checks.items[i].ok || !checks.items[i].required);
    return all ? EXIT_CODE_OK : EXIT_CODE_UNHEALTHY;
}
