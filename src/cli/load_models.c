#include "cli/load_models.h"

#include "base/text.h"
#include "cli/load_config.h"
#include "plan/need.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool
has_files(const struct config_model *m)
{
    return m->enabled && plan_reads_files(m);
}

/* The rest of a path below a directory, NULL when it is not there. */
static const char *
below(const char *path, const char *dir, const char *more)
{
    size_t len = strlen(dir), more_len = strlen(more);
    bool inside = strncmp(path, dir, len) == 0 && strncmp(path + len, more, more_len) == 0;
    return inside ? path + len + more_len : NULL;
}

/* What a configured model is called in the catalogue: a path below the active models, which are
 * reached by the link to them, too. One that lies elsewhere has its own name, or its path when a
 * directory of the active models goes by that name. */
static const char *
catalogue_name(const struct cli_models *models, const struct config_model *m)
{
    const char *name = below(m->path, models->config->paths.root, "/models/");
    if (!name)
        name = below(m->path, models->config->paths.models, "/active/");
    if (name)
        return name;
    const struct model *other = model_catalogue_find(&models->catalogue, m->name);
    return other && !text_eq(other->dir, m->path) ? m->path : m->name;
}

static int
add_configured(struct cli *cli, struct cli_models *models)
{
    for (size_t i = 0; i < models->config->models.count; i++) {
        const struct config_model *m = &models->config->models.items[i];
        const char *name = catalogue_name(models, m);
        if (!has_files(m) || model_catalogue_find(&models->catalogue, name))
            continue;
        int r = model_catalogue_add(&models->catalogue, name, m->path, &cli->err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Models that were asked for by name, and are one too many of those in the directory. */
static int
add_named(struct cli *cli, struct cli_models *models)
{
    int r = 0;
    for (size_t i = 0; i < cli->args_count && models->catalogue.more && r == 0; i++) {
        const char *name = cli->args[i];
        if (model_catalogue_find(&models->catalogue, name))
            continue;
        r = model_catalogue_add_below(&models->catalogue, models->dir, name, &cli->err);
        r = r == -ENOENT ? 0 : r;
    }
    if (models->catalogue.more && cli->args_count == 0)
        cli_note(cli, "%s holds more than the %d models that are told", models->dir,
                 MODEL_CATALOGUE_MAX);
    return r;
}

/* A directory that is not there is no error as long as there are models elsewhere. */
static int
load_catalogue(struct cli *cli, struct cli_models *models)
{
    struct err absent;
    int r = model_catalogue_read(models->dir, &models->catalogue, &absent);
    models->dir_is_there = r == 0;
    if (r < 0)
        model_catalogue_init(&models->catalogue);
    int added = models->config ? add_configured(cli, models) : 0;
    if (added < 0)
        return added;
    if (r < 0 && models->catalogue.models.count == 0) {
        cli->err = absent;
        if (models->config)
            err_fix(&cli->err, "set paths.models in the configuration, or give --dir");
        return r;
    }
    if (r < 0)
        cli_note(cli, "%s: told are the models that the configuration names", absent.what);
    return add_named(cli, models);
}

/* --- how they are served --- */

static void
set_kv_dtype(struct model_use *use, enum config_kv_cache_dtype dtype)
{
    use->kv_dtype = plan_kv_dtype(dtype);
    use->kv_dtype_text = config_kv_cache_dtype_word(dtype);
}

bool
cli_kv_dtype_parse(const char *text, struct model_use *use)
{
    for (enum config_kv_cache_dtype d = CONFIG_KV_AUTO; d <= CONFIG_KV_FP8_DS_MLA; d++) {
        if (text_eq(config_kv_cache_dtype_word(d), text)) {
            set_kv_dtype(use, d);
            return true;
        }
    }
    return false;
}

/* The model as it is served, unless that has been told. */
static void
add_item(struct cli_models *models, const struct model *m, const struct config_model *configured,
         const struct model_use *wanted)
{
    struct model_use use = {.service = configured ? configured->name : NULL,
                            .tensor_parallel = configured ? configured->tensor_parallel : 1};
    set_kv_dtype(&use, configured ? configured->kv_cache_dtype : CONFIG_KV_AUTO);
    if (wanted && wanted->tensor_parallel)
        use.tensor_parallel = wanted->tensor_parallel;
    if (wanted && wanted->kv_dtype_text) {
        use.kv_dtype = wanted->kv_dtype;
        use.kv_dtype_text = wanted->kv_dtype_text;
    }
    vec_foreach (&models->items, item)
        if (item->model == m && item->use.tensor_parallel == use.tensor_parallel &&
            text_eq(item->use.kv_dtype_text, use.kv_dtype_text))
            return;
    vec_push(&models->items, ((struct cli_model){m, use}));
}

static void
add_items(struct cli_models *models, const struct model *m, const struct model_use *wanted)
{
    bool served = false;
    for (size_t i = 0; models->config && i < models->config->models.count; i++) {
        const struct config_model *configured = &models->config->models.items[i];
        if (!has_files(configured) || !text_eq(catalogue_name(models, configured), m->name))
            continue;
        add_item(models, m, configured, wanted);
        served = true;
    }
    if (!served)
        add_item(models, m, NULL, wanted);
}

int
cli_load_models(struct cli *cli, const struct model_use *wanted, struct cli_models *ret_models)
{
    _cleanup_cli_models_ struct cli_models models = {0};
    const char *dir = cli_option(cli, "dir");
    int r = dir ? 0 : cli_load_config(cli, &models.config);
    if (r < 0)
        return r;
    models.dir = dir ? mem_strdup(dir) : mem_printf("%s/active", models.config->paths.models);
    r = load_catalogue(cli, &models);
    if (r < 0)
        return r;
    vec_foreach (&models.catalogue.models, m)
        add_items(&models, m, wanted);
    *ret_models = models;
    models = (struct cli_models){0};
    return 0;
}

void
cli_models_finish(struct cli_models *models)
{
    free(models->dir);
    vec_finish(&models->items);
    model_catalogue_finish(&models->catalogue);
    config_freep(&models->config);
}

/* --- by name --- */

/* Names of directories, then of configured models. */
static const char *
candidate(size_t i, const void *arg)
{
    const struct cli_models *models = arg;
    size_t count = models->catalogue.models.count;
    if (i < count)
        return models->catalogue.models.items[i].name;
    i -= count;
    return models->config && i < models->config->models.count ? models->config->models.items[i].name
                                                              : NULL;
}

/* name: NULL: none is near enough, and all are shown. */
static void
suggest(struct cli *cli, const struct cli_models *models, const char *name)
{
    _cleanup_buf_ struct buf line = BUF_INIT(sizeof(cli->err.fix) - 1);
    buf_add_str(&line, name ? "citadel models validate" : "citadel models");
    if (!models->config) {
        buf_add_str(&line, " --dir ");
        buf_add_word(&line, models->dir);
    }
    if (name) {
        buf_add_str(&line, name[0] == '-' ? " -- " : " ");
        buf_add_word(&line, name);
    }
    if (buf_error(&line) == 0) /* half a command could mean anything */
        err_fix(&cli->err, "%s", line.data);
}

static const struct cli_model *
find_item(const struct cli_models *models, const char *name)
{
    vec_foreach (&models->items, item)
        if (text_eq(item->model->name, name))
            return item;
    return NULL;
}

const struct cli_model *
cli_find_model(struct cli *cli, const struct cli_models *models, const char *name)
{
    const struct config_model *configured =
        models->config ? config_find_model(models->config, name) : NULL;
    const struct cli_model *found = find_item(models, name);
    if (!found && configured)
        found = find_item(models, catalogue_name(models, configured));
    if (found)
        return found;
    if (configured) {
        (void)err_set(&cli->err, ERR_NO_MODEL, "the model '%s' is off, or needs no files", name);
        err_fix(&cli->err, "citadel config show models.%s", name);
        return NULL;
    }
    (void)err_set(&cli->err, ERR_NO_MODEL, "there is no model '%s' in %s", name, models->dir);
    suggest(cli, models, text_nearest(name, candidate, models));
    return NULL;
}
