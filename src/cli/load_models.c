#include "cli/load_models.h"

#include "base/text.h"
#include "cli/load_config.h"

#include <stdlib.h>
#include <string.h>

/* Models whose engine reads files; the others bring what they need. */
static bool
has_files(const struct config_model *m)
{
    return m->enabled &&
           (m->engine == CONFIG_ENGINE_VLLM || m->engine == CONFIG_ENGINE_LLAMA_SERVER);
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
 * reached by the link to them, too; its own name if it lies elsewhere. */
static const char *
catalogue_name(const struct config *config, const struct config_model *m)
{
    const char *name = below(m->path, config->paths.root, "/models/");
    if (!name)
        name = below(m->path, config->paths.models, "/active/");
    return name ? name : m->name;
}

static int
add_configured(struct cli *cli, struct cli_models *models)
{
    for (size_t i = 0; i < models->config->models.count; i++) {
        const struct config_model *m = &models->config->models.items[i];
        const char *name = catalogue_name(models->config, m);
        if (!has_files(m) || model_catalogue_find(&models->catalogue, name))
            continue;
        int r = model_catalogue_add(&models->catalogue, name, m->path, &cli->err);
        if (r < 0)
            return r;
    }
    return 0;
}

int
cli_load_models(struct cli *cli, struct cli_models *ret_models)
{
    _cleanup_cli_models_ struct cli_models models = {0};
    const char *dir = cli_option(cli, "dir");
    int r = dir ? 0 : cli_load_config(cli, &models.config);
    if (r < 0)
        return r;
    models.dir = dir ? mem_strdup(dir) : mem_printf("%s/active", models.config->paths.models);
    r = model_catalogue_read(models.dir, &models.catalogue, &cli->err);
    if (r == 0 && models.config)
        r = add_configured(cli, &models);
    if (r < 0)
        return r;
    *ret_models = models;
    models = (struct cli_models){0};
    return 0;
}

void
cli_models_finish(struct cli_models *models)
{
    free(models->dir);
    model_catalogue_finish(&models->catalogue);
    config_freep(&models->config);
}

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

const struct model *
cli_find_model(struct cli *cli, const struct cli_models *models, const char *name)
{
    const struct config_model *configured =
        models->config ? config_find_model(models->config, name) : NULL;
    const struct model *m = model_catalogue_find(&models->catalogue, name);
    if (!m && configured)
        m = model_catalogue_find(&models->catalogue, catalogue_name(models->config, configured));
    if (m)
        return m;
    if (configured)
        (void)err_set(&cli->err, ERR_NO_MODEL, "the model '%s' is off, or needs no files", name);
    else
        (void)err_set(&cli->err, ERR_NO_MODEL, "there is no model '%s' in %s", name, models->dir);
    const char *nearest = configured ? NULL : text_nearest(name, candidate, models);
    if (nearest)
        err_fix(&cli->err, "citadel models validate %s", nearest);
    return NULL;
}
