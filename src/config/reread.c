#include "config/reread.h"

#include "base/text.h"
#include "config/problems.h"
#include "fmt/json.h"
#include "sys/log.h"

#include <string.h>

#define LINES_BYTES (1 * MIB)

void
config_set_log_level(const struct config *config)
{
    enum log_level level = LOG_LEVEL_INFO;
    bool known = log_level_parse(config_log_level_word(config->log_level), &level);
    assert(known);
    log_set_level(level);
}

int
config_refuse(const struct config_problems *problems, const char *file, struct err *reterr)
{
    _cleanup_buf_ struct buf lines = BUF_INIT(LINES_BYTES);
    config_problems_print(problems, &lines);
    int r = err_set(reterr, ERR_CONFIG_INVALID, "what was read before holds: %.*s",
                    (int)strcspn(lines.data, "\n"), lines.data);
    err_fix(reterr, "citadel config check %s", file);
    return r;
}

static bool
is_model(const struct config_reread *r)
{
    return config_find_model(r->config, r->name) != NULL;
}

/* Whoever watches over models has to do with all of it. */
static bool
concerns(const struct config_reread *r, const struct config_change *c)
{
    return !is_model(r) || text_eq(c->model, r->name) || text_starts(c->path, "hub.") ||
           text_starts(c->path, "paths.") || text_eq(c->path, "log_level");
}

static bool
is_own(const struct config_reread *r, const struct config_change *c)
{
    size_t len = strlen(r->name);
    return is_model(r) || text_starts(c->path, "paths.") ||
           (text_starts(c->path, r->name) && c->path[len] == '.');
}

static bool
needs_restart(const struct config_reread *r, const struct config_change *c)
{
    return concerns(r, c) && is_own(r, c) && c->reload != CONFIG_RELOAD_LIVE;
}

static bool
is_live(const struct config_reread *r, const struct config_change *c)
{
    return concerns(r, c) && !needs_restart(r, c);
}

int
config_reread(const struct config *before, const char *name, struct config_reread *ret,
              struct err *reterr)
{
    _cleanup_config_problems_ struct config_problems problems;
    _cleanup_config_reread_ struct config_reread reread = {.name = name};
    config_problems_init(&problems);
    int r = config_load(before->name, &reread.config, &problems, reterr);
    if (r < 0)
        return problems.errors ? config_refuse(&problems, before->name, reterr) : r;
    r = config_diff(before, reread.config, &reread.diff, reterr);
    if (r < 0)
        return r;
    for (size_t i = 0; i < reread.diff.count; i++)
        reread.restart |= needs_restart(&reread, &reread.diff.items[i]);
    *ret = reread;
    reread = (struct config_reread){0};
    return 0;
}

void
config_reread_finish(struct config_reread *reread)
{
    config_free(reread->config);
    config_diff_finish(&reread->diff);
}

static void
print_list(const struct config_reread *r, struct json_writer *w, const char *name,
           bool (*takes)(const struct config_reread *r, const struct config_change *c))
{
    json_open_list(w, name);
    for (size_t i = 0; i < r->diff.count; i++) {
        const struct config_change *c = &r->diff.items[i];
        if (!takes(r, c))
            continue;
        json_open_map(w, NULL);
        json_str(w, "path", c->path);
        json_str(w, "from", c->from);
        json_str(w, "to", c->to);
        json_close_map(w);
    }
    json_close_list(w);
}

void
config_reread_print(const struct config_reread *reread, struct json_writer *w)
{
    json_open_map(w, NULL);
    print_list(reread, w, "live", is_live);
    print_list(reread, w, "restart", needs_restart);
    json_close_map(w);
}
