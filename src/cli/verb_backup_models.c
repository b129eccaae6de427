#include "backup/save.h"
#include "base/quantity.h"
#include "base/text.h"
#include "cli/backup.h"
#include "plan/need.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct verb_help verb_backup_models_help = {
    .text =
        "Backs up the models of the configuration whose option `backup` is true, or those that are "
        "named: each becomes a snapshot of the repository, which is there as a whole or not at "
        "all. "
        "Content that the repository has, of this or any other model, is not stored again; files "
        "that "
        "are as the snapshot before has seen them, by size, times and inode, are not read.\n\n"
        "A backup that is interrupted, by Ctrl-C, a crash or a full disk, leaves what it has "
        "stored; "
        "the next one goes on from there. A file that changes while it is read is told, and read "
        "again "
        "by the next one. Links are kept as links: what they lead to outside of the model's "
        "directory "
        "is no part of its snapshot, and is told.\n\n"
        "How blocks are stored is backup.compression of the configuration; with backup.parity so "
        "much "
        "is added to each pack that lost sectors of it can be mended: citadel backup verify "
        "--repair.",
    .examples = VERB_EXAMPLES({"sudo citadel backup models", "all of them"},
                              {"sudo citadel backup models phi3 --dry-run", "what would be read"},
                              {"sudo citadel backup models --type weekly", "as a timer does"}),
};

struct backing {
    struct cli_backup *b;
    char host[HOST_NAME_MAX + 1];
    const char *type;
    bool dry;
};

static void
look(const void *engine, uint64_t *ret_done, uint64_t *ret_total)
{
    const struct save_told *told = save_told(engine);
    *ret_done = told->bytes;
    *ret_total = told->total_bytes;
}

static void
stop(void *engine)
{
    save_stop(engine);
}

static enum codec_effort
effort_of(const struct config *config)
{
    switch (config->backup.compression) {
    case CONFIG_COMPRESSION_NONE:
        return CODEC_AS_IT_IS;
    case CONFIG_COMPRESSION_FAST:
        return CODEC_FAST;
    case CONFIG_COMPRESSION_AUTO:
    default:
        return CODEC_SMALLEST;
    }
}

/* ---- telling ---- */

static void
warn(struct cli *cli, const char *name, const struct save_told *told)
{
    if (told->changed)
        cli_note(cli,
                 "warning: %s: %llu files changed while they were read, '%s' first: they may never "
                 "have been as they are in the snapshot; run it again",
                 name, (unsigned long long)told->changed, told->first_changed);
    if (told->astray)
        cli_note(cli,
                 "warning: %s: %llu links lead out of its directory, '%s' first: what they lead to "
                 "is not part of the snapshot",
                 name, (unsigned long long)told->astray, told->first_astray);
    if (told->mounts)
        cli_note(cli, "warning: %s: file systems that are mounted inside are left out: %llu", name,
                 (unsigned long long)told->mounts);
    if (told->sockets)
        cli_note(cli, "warning: %s: sockets are left out: %llu", name,
                 (unsigned long long)told->sockets);
}

static void
print(struct cli *cli, const char *name, const struct save_told *told, uint64_t us, bool dry)
{
    quantity_text all, fresh, stored, took;
    cli_print(cli, "%s: %s in %llu files, ", name, quantity_show_bytes(told->total_bytes, all),
              (unsigned long long)told->total_files);
    if (dry)
        cli_print(cli, "%s would be read\n", quantity_show_bytes(told->new_bytes, fresh));
    else if (told->new_blocks == 0)
        cli_print(cli, "nothing new");
    else
        cli_print(cli, "%s new, stored in %s", quantity_show_bytes(told->new_bytes, fresh),
                  quantity_show_bytes(told->stored_bytes, stored));
    if (!dry)
        cli_print(cli, ": snapshot %.*s, in %s\n", CLI_BACKUP_ID, told->snapshot,
                  quantity_print_us((us + 99999) / 100000 * 100000, took));
}

static void
print_json(struct json_writer *w, const char *name, const char *source,
           const struct save_told *told, uint64_t us)
{
    json_open_map(w, NULL);
    json_str(w, "model", name);
    json_str(w, "source", source);
    json_str(w, "snapshot", told->snapshot[0] ? told->snapshot : NULL);
    json_u64(w, "files", told->total_files);
    json_u64(w, "bytes", told->total_bytes);
    json_u64(w, "unchanged_files", told->unchanged_files);
    json_u64(w, "unchanged_bytes", told->unchanged_bytes);
    json_u64(w, "new_bytes", told->new_bytes);
    json_u64(w, "stored_bytes", told->stored_bytes);
    json_u64(w, "changed_files", told->changed);
    json_u64(w, "links_astray", told->astray);
    json_u64(w, "left_out", told->mounts + told->sockets);
    json_u64(w, "took_us", us);
    json_close_map(w);
}

/* ---- one, and all ---- */

static int
back_up(const struct backing *k, const char *name, const char *source)
{
    struct cli_backup *b = k->b;
    const struct save_wish wish = {.repository = b->repository,
                                   .source = source,
                                   .host = k->host,
                                   .subject = "models",
                                   .name = name,
                                   .type = k->type,
                                   .effort = effort_of(b->config),
                                   .delta = b->config->backup.delta,
                                   .parity_percent = cli_backup_parity(b),
                                   .threads = MIN(b->threads, (unsigned)SAVE_THREADS_MAX),
                                   .dry = k->dry};
    struct save *s = NULL;
    uint64_t us = 0;
    int r = save_new(b->loop, &wish, cli_backup_ended, b, &s, &b->cli->err);
    if (r < 0)
        return r;
    const struct cli_backup_task task = {.what = name, .engine = s, .look = look, .stop = stop};
    r = cli_backup_wait(b, &task, &us);
    if (r == 0) {
        warn(b->cli, name, save_told(s));
        if (b->cli->json)
            print_json(b->cli->json, name, source, save_told(s), us);
        else
            print(b->cli, name, save_told(s), us, k->dry);
    }
    save_free(s);
    return r;
}

static bool
is_named(const struct cli *cli, const char *name)
{
    const char *option = cli_option(cli, "model");
    bool named = option && text_eq(option, name);
    for (size_t i = 0; i < cli->args_count; i++)
        named = named || text_eq(cli->args[i], name);
    return named;
}

static int
check_name(struct cli *cli, const struct config *config, const char *name)
{
    const struct config_model *m = config_find_model(config, name);
    int r = 0;
    if (!m) {
        r = err_set(&cli->err, ERR_NO_MODEL, "the configuration has no model '%s'", name);
        err_fix_nearest(&cli->err, name, config_model_name, config, "citadel models");
    } else if (!plan_reads_files(m)) {
        r = err_set(&cli->err, ERR_NO_MODEL, "the model '%s' has no files", name);
        err_fix(&cli->err, "citadel config show models.%s", name);
    }
    return r;
}

static int
check_names(struct cli *cli, const struct config *config)
{
    const char *option = cli_option(cli, "model");
    int r = option ? check_name(cli, config, option) : 0;
    for (size_t i = 0; i < cli->args_count && r == 0; i++)
        r = check_name(cli, config, cli->args[i]);
    return r;
}

static int
back_up_all(const struct backing *k)
{
    struct cli *cli = k->b->cli;
    const struct config *config = k->b->config;
    bool named = cli->args_count > 0 || cli_option(cli, "model");
    int first = 0;
    struct err err = {0};
    for (size_t i = 0; i < config->models.count && !k->b->was_stopped; i++) {
        const struct config_model *m = &config->models.items[i];
        bool wanted = named ? is_named(cli, m->name)
                            : cli_backup_takes_model(config, i);
        int r = wanted ? back_up(k, m->name, m->path) : 0;
        if (r < 0 && first == 0) {
            first = r;
            err = cli->err;
        } else if (r < 0) {
            cli_error(cli, &cli->err);
        }
    }
    if (first < 0)
        cli->err = err;
    return first;
}

int
verb_backup_models(struct cli *cli)
{
    _cleanup_cli_backup_ struct cli_backup b = {0};
    const char *type = cli_option(cli, "type");
    struct backing k = {.b = &b, .type = type ? type : "", .dry = cli_flag(cli, "dry-run")};
    int r = cli_backup_open(cli, &b);
    if (r == 0)
        r = check_names(cli, b.config);
    if (r == 0 && gethostname(k.host, sizeof(k.host) - 1) < 0)
        r = err_set_errno(&cli->err, errno, "cannot tell this host's name");
    if (r < 0)
        return r;
    if (cli->json) {
        json_open_map(cli->json, NULL);
        json_str(cli->json, "repository", b.repository->where);
        json_bool(cli->json, "dry_run", k.dry);
        json_open_list(cli->json, "models");
    }
    r = back_up_all(&k);
    if (!k.dry)
        cli_backup_write_metadata(&b);
    if (cli->json) {
        json_close_list(cli->json);
        json_close_map(cli->json);
    }
    return r < 0 ? r : EXIT_CODE_OK;
}
