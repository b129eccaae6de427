#include "base/text.h"
#include "cli/backup_save.h"
#include "plan/need.h"

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

static void
name_model(struct json_writer *w, void *name)
{
    json_str(w, "model", name);
}

static int
back_up(struct cli_save *k, const struct config_model *m)
{
    const struct cli_save_wish wish = {
        .name = m->name, .source = m->path, .more = name_model, .arg = (void *)(uintptr_t)m->name};
    return cli_save_run(k, &wish);
}

static int
back_up_all(struct cli_save *k)
{
    struct cli *cli = k->b.cli;
    const struct config *config = k->b.config;
    bool named = cli->args_count > 0 || cli_option(cli, "model");
    int first = 0;
    struct err err = {0};
    for (size_t i = 0; i < config->models.count && !k->b.was_stopped; i++) {
        const struct config_model *m = &config->models.items[i];
        bool wanted = named ? is_named(cli, m->name) : cli_backup_takes_model(config, i);
        int r = wanted ? back_up(k, m) : 0;
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
    const char *type = cli_option(cli, "type");
    struct cli_save k;
    int r = cli_save_begin(cli, "models", &k);
    k.type = type ? type : "";
    if (r == 0)
        r = check_names(cli, k.b.config);
    if (r == 0)
        r = cli_save_open(&k);
    if (r == 0)
        r = back_up_all(&k);
    return cli_save_end(&k, r);
}
