#include "cli/deploy.h"
#include "cli/load_config.h"
#include "deploy/restore.h"
#include "sys/root.h"

#include <stdio.h>

const struct verb_help verb_rollback_restore_help = {
    .text =
        "Brings this machine back to what a backup of `citadel rollback backup` has: its "
        "generation "
        "is deployed as a new one, as `citadel apply` deploys; the files beside that differ are "
        "put "
        "back, all or none; and what a person had stopped then, and nothing else, is stopped.\n\n"
        "The whole backup is checked before anything is touched. It shows what it will do, and "
        "asks. "
        "If the deployment fails, all of it is put back. Interrupted, it leaves the old or the new "
        "generation; the next command says so, and the same restore makes it good.\n\n"
        "On a machine that has no configuration any more: -c with the config.yaml in the backup.",
    .examples = VERB_EXAMPLES(
        {"citadel rollback status", "which backups there are"},
        {"sudo citadel rollback restore 3", "bring one back"},
        {"sudo citadel-rollback restore --backup-id 3 --force", "without a question"}),
};

static int
read_id(struct cli *cli, unsigned *ret_id)
{
    const char *option = cli_option(cli, "backup-id");
    const char *text = cli->args_count ? cli->args[0] : option;
    int r = 0;
    if (text && !(option && cli->args_count) && cli_read_generation(cli, text, ret_id) == 0)
        return 0;
    if (!text)
        r = err_set(&cli->err, ERR_USAGE, "which backup is to come back was not said");
    else if (option && cli->args_count)
        r = err_set(&cli->err, ERR_USAGE, "'%s' and --backup-id %s: the id is to be given once",
                    text, option);
    else
        r = err_set(&cli->err, ERR_USAGE, "'%s' is not the id of a backup", text);
    err_fix(&cli->err, "citadel rollback status; it lists them");
    return r;
}

struct restoring {
    struct restore_wish wish;
    struct restore_outlook outlook;
};

static int
look(struct cli *cli, struct cli_deploy *d, void *arg)
{
    struct restoring *x = arg;
    int r = cli_deploy_look(cli, d, NULL);
    if (r >= 0)
        r = restore_look(&x->wish, &d->arena, &x->outlook, &cli->err);
    d->digest = x->outlook.digest;
    return r;
}

static void
print(struct cli *cli, const struct cli_deploy *d, void *arg)
{
    const struct restore_outlook *o = &((struct restoring *)arg)->outlook;
    for (size_t i = 0; i < o->count; i++)
        cli_print(cli, "put back %s (%s)\n", root_strip(o->changes[i].file->path),
                  backup_kind_word(o->changes[i].file->kind));
    cli_deploy_print(cli, d, NULL);
}

static int
work(struct cli *cli, struct cli_deploy *d, void *arg)
{
    struct restoring *x = arg;
    struct deploy_end end = {0};
    x->wish.deploy.expect = d->wish.expect;
    int r = restore(&x->wish, &d->host, &d->arena, &end, &cli->err);
    if (r < 0)
        return r;
    if (!cli->json)
        cli_print(cli, "Backup %u is back.\n", x->wish.id);
    return cli_deploy_print_end(cli, d, &end);
}

static int
bring_back(struct cli *cli, const struct config *config, unsigned id)
{
    _cleanup_cli_deploy_ struct cli_deploy d = {0};
    _cleanup_arena_ struct arena arena;
    struct backup b;
    char why[64], question[64];
    (void)snprintf(why, sizeof(why), "citadel rollback restore %u", id);
    (void)snprintf(question, sizeof(question), "Bring backup %u back?", id);
    arena_init(&arena, 2 * BACKUP_BYTES);
    int r = backup_read(backup_dir(&arena, config), id, &arena, &b, &cli->err);
    if (r == 0)
        r = cli_deploy_open(cli, config, why, &d);
    if (r < 0)
        return r;
    d.wish.files = b.files;
    d.wish.count = b.file_count;
    struct restoring x = {.wish = {.deploy = d.wish, .backup = &b, .id = id}};
    const struct cli_deed deed = {.words = "rollback restore",
                                  .question = question,
                                  .look = look,
                                  .print = print,
                                  .work = work,
                                  .arg = &x};
    return cli_deploy_do(cli, &d, &deed);
}

int
verb_rollback_restore(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    unsigned id = 0;
    int r = read_id(cli, &id);
    if (r == 0)
        r = cli_load_deployed(cli, &config);
    return r < 0 ? r : bring_back(cli, config, id);
}
