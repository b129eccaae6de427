#include "cli/candidate.h"

#include "base/text.h"
#include "cli/frame.h"
#include "cli/load_config.h"
#include "config/problems.h"
#include "deploy/content.h"
#include "plan/need.h"
#include "storage/layout.h"
#include "sys/files.h"
#include "sys/root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a service will be started as: this program. */
static int
find_program(char path[PATH_MAX], struct err *reterr)
{
    ssize_t len = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (len < 0)
        return err_set_errno(reterr, errno, "finding this program");
    path[len] = '\0';
    return 0;
}

/* "backup models --type daily" begins with a verb, or not. */
static bool
has_verb(const char *command)
{
    char words[VERB_WORDS_MAX];
    size_t len = strcspn(command, "-");
    while (len > 0 && command[len - 1] == ' ')
        len--;
    return snprintf(words, sizeof(words), "%.*s", (int)len, command) < VERB_WORDS_MAX &&
           verb_find(verb_rows, words);
}

static int
render(struct cli *cli, bool explain, struct cli_candidate *c)
{
    char program[PATH_MAX];
    const struct config *config = c->loaded.config;
    int r = find_program(program, &cli->err);
    if (r < 0)
        return r;
    const struct unit_input input = {
        .config = config,
        .plan = &c->loaded.plan,
        .program = program,
        .config_file = arena_printf(&c->loaded.arena, "%s/current/config.yaml",
                                    root_strip(config->paths.generations)),
        .has_verb = has_verb,
        .explain = explain,
    };
    return unit_render(&input, &c->loaded.arena, &c->units, &cli->err);
}

int
cli_make_candidate(struct cli *cli, bool explain, struct cli_candidate *c)
{
    int r = cli_make_plan(cli, &c->loaded);
    if (r == 0)
        r = render(cli, explain, c);
    return r < 0 ? r
                 : deploy_content_make(&cli->frame->problems->text, &c->loaded.plan, &c->units,
                                       &c->loaded.arena, &c->files, &c->count, &cli->err);
}

int
cli_load_candidate(struct cli *cli, bool explain, struct cli_candidate *ret)
{
    _cleanup_cli_candidate_ struct cli_candidate c = {0};
    int r = cli_load_config(cli, &c.loaded.config);
    if (r == 0)
        r = cli_make_candidate(cli, explain, &c);
    if (r < 0)
        return r;
    *ret = c;
    c = (struct cli_candidate){0};
    return 0;
}

static bool
is_below(const char *path, const char *dir, const char *more)
{
    const char *rest = text_starts(path, dir) ? path + strlen(dir) : "";
    return text_starts(rest, more);
}

/* By its own path, or by the link to the active models. */
static bool
is_on_models_disk(const struct config *config, const struct config_model *m)
{
    return m->enabled && plan_reads_files(m) &&
           (is_below(m->path, config->paths.models, "/") ||
            is_below(m->path, config->paths.root, "/models/"));
}

int
cli_check_models_disk(struct cli *cli, const struct config *config)
{
    bool needed = false;
    for (size_t i = 0; i < config->models.count; i++)
        needed |= is_on_models_disk(config, &config->models.items[i]);
    return needed && !root_is_set() ? storage_check_mount(config, STORAGE_models, &cli->err) : 0;
}

void
cli_candidate_finish(struct cli_candidate *candidate)
{
    cli_plan_finish(&candidate->loaded);
}

/* Whether it is a unit that this verb has written, and has to take back: an image must not get models that
 * are gone. What a person or a package has put there is not. */
static bool
is_left(const struct unit_set *set, const char *path, const char *name)
{
    _cleanup_buf_ struct buf head = BUF_INIT(sizeof(UNIT_HEAD) - 1);
    if (!unit_is_ours(name) || unit_find(set, name))
        return false;
    return file_read(path, &head, NULL) == -EFBIG && text_eq(head.data, UNIT_HEAD);
}

static int
remove_others(struct cli *cli, const struct unit_set *set, const char *dir)
{
    DIR *d = file_open_dir(AT_FDCWD, dir, 0);
    int r = d ? 0 : err_set_errno(&cli->err, errno, "cannot read '%s'", dir);
    for (struct dirent *e; r == 0 && (e = readdir(d));) {
        _cleanup_free_ char *path = mem_printf("%s/%s", dir, e->d_name);
        if (!is_left(set, path, e->d_name))
            continue;
        r = file_remove_tree(path, &cli->err);
        if (r == 0)
            cli_note(cli, "removed %s, which the configuration has no more", path);
    }
    if (d)
        (void)closedir(d);
    return r;
}

/* With --root nothing is written elsewhere, and what is typed is no path inside. */
static int
refuse_dir(struct cli *cli, const char *dir)
{
    int r = err_set(&cli->err, ERR_USAGE, "--write %s: it is not below --root %s", dir, root_dir());
    err_fix(&cli->err, "--write %s/units", root_dir());
    return r;
}

int
cli_write_units(struct cli *cli, const struct unit_set *set, const char *dir)
{
    int r = root_is_set() && !is_below(dir, root_dir(), "/") ? refuse_dir(cli, dir) : 0;
    if (r == 0)
        r = file_make_dirs(dir, 0755, &cli->err);
    if (r == 0)
        r = remove_others(cli, set, dir);
    for (size_t i = 0; i < set->count && r == 0; i++) {
        _cleanup_free_ char *path = mem_printf("%s/%s", dir, set->files[i].name);
        r = file_write(path, set->files[i].text, strlen(set->files[i].text), 0644, &cli->err);
    }
    if (r == 0)
        cli_note(cli, "%zu files are in %s", set->count, dir);
    return r;
}
