#include "cli/deploy.h"
#include "cli/frame.h"
#include "cli/load_config.h"
#include "config/problems.h"
#include "deploy/audit.h"
#include "deploy/backup.h"
#include "deploy/lock.h"
#include "storage/layout.h"
#include "sys/root.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

const struct verb_help verb_rollback_backup_help = {
    .text =
        "Keeps what makes this machine what it is in one directory below paths.backup, and says "
        "its "
        "id: the current generation with its configuration, plan and units (where nothing is "
        "deployed, what the configuration comes to), your configuration file, what is in configs "
        "and "
        "bin of paths.root, the scripts of hooks, which services a person has stopped, and what is "
        "remembered of models.\n\n"
        "Every file has its SHA-256 in a manifest; the backup is there as a whole or not at all. "
        "Secrets are in it as systemd-creds has encrypted them to this host; those that are kept "
        "in "
        "clear are left out, and named. Models are not part of it. The newest thirty are kept.",
    .examples = VERB_EXAMPLES({"sudo citadel rollback backup", "keep what is"},
                              {"citadel rollback status", "which there are"},
                              {"sudo citadel rollback restore 3", "bring one back"}),
};

static void
print_json(struct json_writer *w, const char *dir, unsigned id, const struct backup *b,
           unsigned removed)
{
    json_open_map(w, NULL);
    json_u64(w, "backup", id);
    json_str(w, "store", root_strip(dir));
    json_u64(w, "generation", b->generation);
    json_open_list(w, "beside");
    for (size_t i = 0; i < b->beside_count; i++) {
        json_open_map(w, NULL);
        json_str(w, "path", root_strip(b->beside[i].path));
        json_str(w, "kind", backup_kind_word(b->beside[i].kind));
        json_close_map(w);
    }
    json_close_list(w);
    json_open_list(w, "left_out");
    for (size_t i = 0; i < b->left_out_count; i++) {
        json_open_map(w, NULL);
        json_str(w, "path", b->left_out[i].path);
        json_str(w, "why", b->left_out[i].why);
        json_close_map(w);
    }
    json_close_list(w);
    json_u64(w, "removed", removed);
    json_close_map(w);
}

static void
print(struct cli *cli, const char *dir, unsigned id, const struct backup *b)
{
    cli_print(cli, "Backup %u is in %s/generations/%u:\n", id, dir, id);
    if (b->generation)
        cli_print(cli, "  generation %u: %zu files\n", b->generation, b->file_count);
    else
        cli_print(cli, "  what the configuration comes to, as nothing is deployed: %zu files\n",
                  b->file_count);
    for (size_t i = 0; i < b->beside_count; i++)
        cli_print(cli, "  %s: %s\n", b->beside[i].path, backup_kind_word(b->beside[i].kind));
    for (size_t i = 0; i < b->stopped_count; i++)
        cli_print(cli, "  %s: stopped by a person\n", b->stopped[i]);
    for (size_t i = 0; i < b->left_out_count; i++)
        cli_print(cli, "%s%s: %s\n", i ? "  " : "Left out:\n  ", b->left_out[i].path,
                  b->left_out[i].why);
    cli_print(cli, "To bring it back: citadel rollback restore %u\n", id);
}

static int
keep(struct cli *cli, const struct cli_deploy *d, const struct backup_wish *wish)
{
    _cleanup_arena_ struct arena arena;
    struct backup b = {0};
    unsigned id = 0, removed = 0;
    char text[64];
    arena_init(&arena, BACKUP_BYTES);
    const char *dir = backup_dir(&arena, d->config);
    _cleanup_deploy_lock_ struct deploy_lock lock = DEPLOY_LOCK_INIT;
    int r = deploy_lock(d->wish.state_dir, d->by, d->wish.why, &lock, &cli->err);
    if (r == 0)
        r = backup_collect(wish, &arena, &b, &cli->err);
    if (r == 0)
        r = backup_write(dir, d->by, d->wish.why, &b, &id, &cli->err);
    if (r == 0)
        r = generation_prune(dir, BACKUP_KEEP, &removed, &cli->err);
    if (r < 0)
        return r;
    (void)snprintf(text, sizeof(text), "%s: backup %u", d->wish.why, id);
    if (cli->json)
        print_json(cli->json, dir, id, &b, removed);
    else
        print(cli, dir, id, &b);
    if (removed)
        cli_note(cli, "The oldest went, as %d are kept: %u.", BACKUP_KEEP, removed);
    r = deploy_audit(d->wish.state_dir, EVENT_BACKUP_MADE, d->by, text, &cli->err);
    return r < 0 ? r : EXIT_CODE_OK;
}

/* What is deployed; where nothing is, what would be. */
static int
find_files(struct cli *cli, struct cli_candidate *c)
{
    unsigned current = 0;
    const char *store = c->loaded.config->paths.generations;
    int r = generation_of(store, GENERATION_CURRENT, &current, &cli->err);
    return r < 0 || current ? r : cli_make_candidate(cli, false, c);
}

int
verb_rollback_backup(struct cli *cli)
{
    _cleanup_cli_candidate_ struct cli_candidate c = {0};
    _cleanup_cli_deploy_ struct cli_deploy d = {0};
    char file[PATH_MAX];
    int r = cli_load_config(cli, &c.loaded.config);
    const struct config_problems *given = cli->frame->problems;
    if (r == 0)
        r = storage_check_mount(c.loaded.config, STORAGE_backup, &cli->err);
    if (r == 0)
        r = find_files(cli, &c);
    if (r == 0)
        r = cli_deploy_open(cli, c.loaded.config, "citadel rollback backup", &d);
    if (r == 0)
        r = cli_deploy_check(&d, &cli->err);
    if (r == 0 && !realpath(given->file, file))
        r = err_set_errno(&cli->err, errno, "%s", given->file);
    const struct backup_wish wish = {.config = c.loaded.config,
                                     .config_file = file,
                                     .config_text = given->text.data,
                                     .config_len = given->text.len,
                                     .files = c.files,
                                     .count = c.count,
                                     .host = d.keeper != CLI_KEEPER_NONE ? &d.host : NULL};
    return r < 0 ? r : keep(cli, &d, &wish);
}
