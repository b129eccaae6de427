#include "base/text.h"
#include "cli/confirm.h"
#include "cli/storage.h"
#include "config/config.h"
#include "sys/command.h"
#include "sys/root.h"

#define MOUNT_LIMIT_US UINT64_C(120000000) /* a journal may be replayed */

const struct verb_help verb_storage_repair_help = {
    .text =
        "Puts right what `citadel storage verify` tells: mounts the disks of models and backups as "
        "/etc/fstab says, makes missing directories, sets owners and modes, and makes the link to "
        "the active models anew. What it will do is shown, then it asks; with -y it does not, "
        "and without a terminal to ask at it does nothing. What is in the way is never removed.\n\n"
        "With --root nothing is mounted. A disk that cannot be mounted because it is damaged: "
        "`citadel storage recover`.",
    .examples = VERB_EXAMPLES({"citadel storage repair", "show, ask, and do it"},
                              {"citadel storage repair --dry-run", "only show"},
                              {"citadel storage repair --force", "in a script"}),
};

static bool
is_to_mount(const struct storage_finding *f)
{
    return f->fault == STORAGE_NOT_MOUNTED && !root_is_set();
}

static void
tell(struct cli *cli, const struct storage_finding *f)
{
    _cleanup_buf_ struct buf step = BUF_INIT(16 * KIB);
    if (cli->json) {
        cli_storage_json(cli->json, f);
        return;
    }
    if (is_to_mount(f))
        buf_printf(&step, "mount %s", f->path);
    else
        storage_print_step(f, false, &step);
    text_disarm(step.data);
    cli_print(cli, "will %s\n", step.data);
}

/* How many things there are to do. */
static size_t
show(struct cli *cli, const struct storage_report *report)
{
    size_t count = 0;
    for (size_t i = 0; i < report->count; i++) {
        const struct storage_finding *f = &report->items[i];
        if (!is_to_mount(f) && !storage_is_mendable(f))
            continue;
        tell(cli, f);
        count++;
    }
    if (count == 0 && report->count == 0 && !cli->json)
        cli_print(cli, "nothing to do\n");
    return count;
}

/* One that cannot be mounted is told; the others may still be. */
static void
mount_all(struct cli *cli, const struct storage_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct storage_finding *f = &report->items[i];
        const char *const argv[] = {"mount", f->path, NULL};
        struct err err;
        if (!is_to_mount(f))
            continue;
        if (command_insist(argv, MOUNT_LIMIT_US, &err) < 0) {
            err_fix(&err, "see /etc/fstab, and `citadel storage recover %s`", f->path);
            cli_error(cli, &err);
        } else if (cli->json) {
            cli_storage_json(cli->json, f);
        } else {
            cli_print(cli, "mounted %s\n", f->path);
        }
    }
}

/* What lies on a disk is looked at when that is mounted; what is left then is told. */
static int
repair(struct cli *cli, const struct config *config, const struct storage_report *before)
{
    _cleanup_storage_report_ struct storage_report report = {0}, after = {0};
    cli_storage_begin(cli, false);
    mount_all(cli, before);
    int r = storage_look(config, &report, &cli->err);
    if (r == 0)
        r = cli_storage_mend(cli, config, &report, false);
    if (r >= 0)
        r = storage_look(config, &after, &cli->err);
    if (r < 0)
        return r;
    cli_storage_end(cli, &after);
    return cli_storage_rest(cli, &after, NULL);
}

int
verb_storage_repair(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_storage_report_ struct storage_report report = {0};
    bool dry = cli_flag(cli, "dry-run"), yes = cli_flag(cli, "yes");
    size_t steps = 0;
    int r = cli_storage_look(cli, &config, &report);
    if (r < 0)
        return r;
    if (dry || !yes || !cli->json) { /* of what is done, programs are told once */
        cli_storage_begin(cli, true);
        steps = show(cli, &report);
        cli_storage_end(cli, &report);
    }
    if (dry)
        return cli_storage_rest(cli, &report, is_to_mount);
    if (steps && (r = cli_confirm(cli, "Do this?")) < 0)
        return r;
    if (cli->json && !yes)
        return cli_storage_rest(cli, &report, NULL);
    r = repair(cli, config, &report);
    return r < 0 ? r : EXIT_CODE_OK;
}
