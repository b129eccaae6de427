#include "cli/storage.h"

#include "base/text.h"
#include "cli/load_config.h"
#include "config/config.h"

#define LINE_MAX_BYTES (16 * KIB)

int
cli_storage_look(struct cli *cli, struct config **ret, struct storage_report *ret_report)
{
    int r = cli_load_config(cli, ret);
    return r < 0 ? r : storage_look(*ret, ret_report, &cli->err);
}

void
cli_storage_json(struct json_writer *w, const struct storage_finding *finding)
{
    json_open_map(w, NULL);
    json_str(w, "path", finding->path);
    json_str(w, "fault", storage_fault_word(finding->fault));
    json_str(w, "found", finding->found);
    json_str(w, "wanted", finding->wanted);
    json_bool(w, "degraded", finding->is_degraded);
    json_close_map(w);
}

void
cli_storage_begin(struct cli *cli, bool dry)
{
    if (!cli->json)
        return;
    json_open_map(cli->json, NULL);
    json_bool(cli->json, "dry_run", dry);
    json_open_list(cli->json, "changes");
}

void
cli_storage_end(struct cli *cli, const struct storage_report *report)
{
    if (!cli->json)
        return;
    json_close_list(cli->json);
    json_open_list(cli->json, "left");
    for (size_t i = 0; i < report->count; i++)
        if (!storage_is_mendable(&report->items[i]))
            cli_storage_json(cli->json, &report->items[i]);
    json_close_list(cli->json);
    json_close_map(cli->json);
}

static void
tell_step(struct cli *cli, const struct storage_finding *finding, bool dry)
{
    _cleanup_buf_ struct buf line = BUF_INIT(LINE_MAX_BYTES);
    if (cli->json) {
        cli_storage_json(cli->json, finding);
        return;
    }
    storage_print_step(finding, !dry, &line);
    text_disarm(line.data);
    cli_print(cli, "%s%s\n", dry ? "would " : "", line.data);
}

/* What models can do without keeps nothing else from being done. */
static void
warn(struct cli *cli)
{
    if (!cli->json)
        cli_note(cli, "warning: %s; try: %s", cli->err.what, cli->err.fix);
    cli->err = (struct err){0};
}

int
cli_storage_mend(struct cli *cli, const struct config *config, const struct storage_report *report,
                 bool dry)
{
    int count = 0;
    bool given_up[STORAGE_AREAS] = {0};
    for (size_t i = 0; i < report->count; i++) {
        const struct storage_finding *f = &report->items[i];
        if (!storage_is_mendable(f) || given_up[f->area])
            continue;
        int r = dry ? 0 : storage_mend(config, f, &cli->err);
        if (r < 0 && !f->is_degraded)
            return r;
        if (r < 0) {
            warn(cli);
            given_up[f->area] = true;
            continue;
        }
        tell_step(cli, f, dry);
        count++;
    }
    return count;
}

int
cli_storage_rest(struct cli *cli, const struct storage_report *report,
                 bool (*will)(const struct storage_finding *))
{
    int first = 0;
    for (size_t i = 0; i < report->count; i++) {
        const struct storage_finding *f = &report->items[i];
        struct err err;
        if (storage_is_mendable(f) || (will && will(f)))
            continue;
        int r = storage_tell(f, &err);
        if (f->is_degraded && cli->json)
            continue; /* programs are told by the result */
        if (f->is_degraded)
            cli_note(cli, "warning: %s", err.what);
        else if (first < 0)
            cli_error(cli, &err);
        else {
            first = r;
            cli->err = err;
        }
    }
    return first;
}
