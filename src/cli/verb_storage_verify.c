#include "cli/storage.h"
#include "config/config.h"

const struct verb_help verb_storage_verify_help = {
    .text =
        "Compares mounts, directories, owners, modes and the link to the active models with what "
        "`citadel storage setup` would make, and changes nothing. Whether the models themselves "
        "are whole is told by `citadel models validate`.\n\n"
        "Exits with 0 when all is right, and with 3 when something is not. A missing disk of the "
        "backups is such a thing, too, although no model needs it.",
    .examples = VERB_EXAMPLES({"citadel storage verify", "what differs"},
                              {"citadel storage verify --json", "the same, for programs"}),
};

static void
print(struct cli *cli, const struct storage_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        struct err err;
        (void)storage_tell(&report->items[i], &err);
        cli_print(cli, "%s\n  try: %s\n", err.what, err.fix);
    }
    cli_print(cli, "%zu of %zu directories, mounts and links are as they should be\n",
              report->looked - report->count, report->looked);
}

static void
print_json(struct json_writer *w, const struct storage_report *report)
{
    json_open_map(w, NULL);
    json_u64(w, "looked_at", report->looked);
    json_open_list(w, "findings");
    for (size_t i = 0; i < report->count; i++)
        cli_storage_json(w, &report->items[i]);
    json_close_list(w);
    json_close_map(w);
}

int
verb_storage_verify(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_storage_report_ struct storage_report report = {0};
    int r = cli_storage_look(cli, &config, &report);
    if (r < 0)
        return r;
    if (cli->json)
        print_json(cli->json, &report);
    else
        print(cli, &report);
    return report.count ? EXIT_CODE_UNHEALTHY : EXIT_CODE_OK;
}
