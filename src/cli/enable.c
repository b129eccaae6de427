#include "cli/enable.h"

#include "base/text.h"
#include "cli/deploy.h"
#include "cli/frame.h"
#include "cli/load_config.h"
#include "config/diff.h"
#include "config/problems.h"
#include "config/splice.h"
#include "service/list.h"
#include "sys/files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (2 * MIB)

struct switching {
    struct cli *cli;
    bool enabled;
    char file[PATH_MAX];
    struct buf before, after; /* its text */
    size_t changes;
};

/* ---- what has a switch ---- */

/* "models.phi3", and whether it is on now. */
static int
find_section(const struct switching *s, const struct config *config, const char *name,
             char section[128], bool *ret_on)
{
    struct err *err = &s->cli->err;
    const struct config_model *model = config_find_model(config, name);
    (void)snprintf(section, 128, "%s%s", model ? "models." : "", name);
    *ret_on = model ? model->enabled : config->gateway.enabled;
    if (model || text_eq(name, "gateway"))
        return 0;
    *ret_on = config->monitor.enabled;
    if (text_eq(name, "monitor"))
        return 0;
    if (!text_eq(name, "storage") && !text_eq(name, "gpu"))
        return service_check_name(config, name, err);
    int r = err_set(err, ERR_USAGE, "%s has no switch: what is enabled needs it", name);
    err_fix(err, "citadel stop %s, until it is started again", name);
    return r;
}

/* ---- the file ---- */

static int
find_file(struct switching *s, const struct config *config)
{
    const char *given = s->cli->frame->problems->file;
    _cleanup_free_ char *store = mem_printf("%s/generations/", config->paths.generations);
    if (!realpath(given, s->file))
        return err_set_errno(&s->cli->err, errno, "%s", given);
    if (!text_starts(s->file, store))
        return 0;
    int r = err_set(&s->cli->err, ERR_CONFIG_SPLICE,
                    "%s is the configuration of a generation, which never changes", given);
    err_fix(&s->cli->err, "the same with -c and a file of yours");
    return r;
}

static int
splice(struct switching *s, const char *section)
{
    _cleanup_buf_ struct buf text = BUF_INIT(FILE_MAX);
    int r = config_splice_enabled(s->after.data, s->after.len, section, s->enabled, &text,
                                  &s->cli->err);
    if (r < 0) {
        err_prefix(&s->cli->err, "%s", s->cli->frame->problems->file);
        return r;
    }
    buf_clear(&s->after);
    buf_add(&s->after, text.data, text.len);
    return 0;
}

static int
splice_all(struct switching *s, const struct config *config)
{
    const char *word = s->enabled ? "enabled" : "disabled";
    int r = 0;
    for (size_t i = 0; r == 0 && i < s->cli->args_count; i++) {
        char section[128];
        bool is_on;
        r = find_section(s, config, s->cli->args[i], section, &is_on);
        if (r == 0 && is_on == s->enabled) {
            cli_note(s->cli, "%s is %s already", s->cli->args[i], word);
            continue;
        }
        if (r == 0)
            r = splice(s, section);
        s->changes += r == 0;
    }
    return r;
}

/* It was read a moment ago; somebody may be in an editor. */
static int
write_file(struct cli *cli, void *arg)
{
    struct switching *s = arg;
    _cleanup_buf_ struct buf now = BUF_INIT(FILE_MAX);
    int r = file_read(s->file, &now, &cli->err);
    if (r < 0)
        return r;
    if (now.len != s->before.len || memcmp(now.data, s->before.data, now.len) != 0)
        return err_set(&cli->err, ERR_CONFIG_SPLICE, "%s was changed meanwhile", s->file);
    r = file_write(s->file, s->after.data, s->after.len, 0644, &cli->err);
    if (r == 0)
        cli_note(cli, "%s is written", s->file);
    return r;
}

/* ---- what it comes to ---- */

/* The new text as a configuration: it is right as a whole, and differs in as many options as were set. */
static int
read_after(struct switching *s, const struct config *before, struct config **ret_config)
{
    struct config_problems *problems = s->cli->frame->problems;
    _cleanup_config_ struct config *after = NULL;
    struct config_diff diff = {0};
    config_problems_finish(problems);
    config_problems_init(problems);
    problems->file = arena_strdup(&problems->arena, s->file);
    buf_add(&problems->text, s->after.data, s->after.len); /* as what a deployment is made of */
    int r = config_parse(s->after.data, s->after.len, s->file, &after, problems, &s->cli->err);
    if (r == 0)
        r = config_diff(before, after, &diff, &s->cli->err);
    if (r < 0)
        return r;
    bool is_right = diff.count == s->changes;
    config_diff_finish(&diff);
    if (!is_right)
        return err_set(&s->cli->err, ERR_CONFIG_SPLICE, "%s would change in other options, too",
                       s->file);
    *ret_config = take_ptr(after);
    return 0;
}

static void
show(const struct switching *s)
{
    _cleanup_buf_ struct buf text = BUF_INIT(4 * FILE_MAX);
    const struct generation_file from = {s->file, s->before.data, s->before.len};
    const struct generation_file to = {s->file, s->after.data, s->after.len};
    const struct deploy_change change = {s->file, &from, &to};
    deploy_print_change(&change, &text);
    if (s->cli->json)
        return;
    cli_print_bytes(s->cli, text.data, text.len);
    cli_print(s->cli, "\n");
}

static int
apply(struct switching *s, struct cli_candidate *c)
{
    const struct cli_deed deed = {
        .words = "apply", .question = "Do it?", .agreed = write_file, .arg = s};
    _cleanup_cli_deploy_ struct cli_deploy d = {0};
    char why[64];
    (void)snprintf(why, sizeof(why), "citadel %s", s->cli->verb->words);
    int r = cli_make_candidate(s->cli, false, c);
    if (r == 0)
        r = cli_check_models_disk(s->cli, c->loaded.config);
    if (r == 0)
        r = cli_deploy_open(s->cli, c->loaded.config, why, &d);
    if (r == 0)
        r = cli_deploy_take(s->cli, &d, c, "force");
    if (r < 0)
        return r;
    d.args_count = 0; /* those are names of services */
    return cli_deploy_do(s->cli, &d, &deed);
}

static int
leave(struct switching *s)
{
    int r = write_file(s->cli, s);
    if (r < 0)
        return r;
    if (s->cli->json) {
        json_open_map(s->cli->json, NULL);
        json_str(s->cli->json, "file", s->file);
        json_bool(s->cli->json, "applied", false);
        json_close_map(s->cli->json);
    } else {
        cli_print(s->cli, "It takes effect with: citadel apply\n");
    }
    return EXIT_CODE_OK;
}

static int
change(struct switching *s, const struct config *before)
{
    _cleanup_cli_candidate_ struct cli_candidate c = {0};
    int r = read_after(s, before, &c.loaded.config);
    if (r < 0)
        return r;
    show(s);
    return cli_flag(s->cli, "no-apply") ? leave(s) : apply(s, &c);
}

int
cli_enable(struct cli *cli, bool enabled)
{
    _cleanup_config_ struct config *config = NULL;
    struct switching s = {
        .cli = cli, .enabled = enabled, .before = BUF_INIT(FILE_MAX), .after = BUF_INIT(FILE_MAX)};
    int r = cli_load_config(cli, &config);
    if (r == 0)
        r = find_file(&s, config);
    if (r == 0) {
        const struct buf *text = &cli->frame->problems->text;
        buf_add(&s.before, text->data, text->len);
        buf_add(&s.after, text->data, text->len);
        r = splice_all(&s, config);
    }
    if (r == 0 && s.changes)
        r = change(&s, config);
    buf_finish(&s.before);
    buf_finish(&s.after);
    return r;
}
