#include "cli/load_plan.h"

#include "cli/load_config.h"
#include "engine/engine.h"
#include "engine/env.h"
#include "model/model.h"
#include "plan/need.h"
#include "run/look.h"
#include "run/wish.h"
#include "sys/root.h"

#define PLAN_MAX (16 * MIB)

struct loading {
    struct cli *cli;
    struct cli_plan *loaded;
    struct model_catalogue catalogue;
    struct loop *loop;
    struct look look;
    struct plan_engine vllm;
    int error;
};

static bool
uses_vllm(const struct config *config)
{
    for (size_t i = 0; i < config->models.count; i++)
        if (config->models.items[i].enabled && config->models.items[i].engine == CONFIG_ENGINE_VLLM)
            return true;
    return false;
}

int
cli_find_vllm(const struct config *config, struct arena *arena, struct plan_engine *ret_vllm,
              struct err *reterr)
{
    struct engine_env env;
    struct err trouble = {0};
    engine_version_text version = "";
    const char *package = engines[CONFIG_ENGINE_VLLM].python_package;
    if (engine_env_find(config->paths.vllm_env, package, &env, &trouble) == 0)
        (void)engine_version_print(&env.version, version);
    *ret_vllm = (struct plan_engine){
        .env = env.path[0] ? arena_strdup(arena, root_strip(env.path)) : "",
        .version = arena_strdup(arena, version),
        .trouble = arena_strdup(arena, trouble.what),
    };
    return arena->full
               ? err_set(reterr, ERR_TOO_LARGE, "the path of the environment of vLLM is too long")
               : 0;
}

/* What is said of a configured model: that it is not there, too. */
static int
read_models(struct loading *l)
{
    const struct config *config = l->loaded->config;
    int r = 0;
    for (size_t i = 0; i < config->models.count && r == 0; i++) {
        const struct config_model *m = &config->models.items[i];
        if (m->enabled && plan_reads_files(m))
            r = model_catalogue_add(&l->catalogue, m->name, m->path, &l->cli->err);
    }
    return r;
}

/* A machine without a driver has no GPUs; of one whose driver fails nobody knows. */
static bool
is_without_gpus(const struct err *err)
{
    return err->id == ERR_GPU_NO_LIBRARY || err->id == ERR_GPU_NO_DRIVER;
}

static void
on_looked(struct look *look, const struct gpu_inventory *inventory, const struct err *err)
{
    struct loading *l = container_of(look, struct loading, look);
    const struct plan_input input = {.config = l->loaded->config,
                                     .catalogue = &l->catalogue,
                                     .inventory = inventory,
                                     .no_inventory = inventory ? NULL : err->what,
                                     .fake_driver = run_driver_is_fake(),
                                     .vllm = uses_vllm(l->loaded->config) ? &l->vllm : NULL};
    loop_stop(l->loop);
    if (!inventory && !is_without_gpus(err)) {
        l->cli->err = *err;
        l->error = -err_row(err->id)->err;
        return;
    }
    l->error = plan_make(&input, &l->loaded->arena, &l->loaded->plan, &l->cli->err);
}

static int
look_and_plan(struct loading *l)
{
    int r = loop_new(&l->loop, &l->cli->err);
    if (r < 0)
        return r;
    l->look.done = on_looked;
    r = look_start(l->loop, &l->look, &l->cli->err);
    if (r == 0) {
        loop_run(l->loop);
        r = l->error;
    }
    loop_free(l->loop);
    return r;
}

int
cli_make_plan(struct cli *cli, struct cli_plan *plan)
{
    struct loading l = {.cli = cli, .loaded = plan};
    arena_init(&plan->arena, PLAN_MAX);
    model_catalogue_init(&l.catalogue);
    int r = read_models(&l);
    if (r == 0)
        r = cli_find_vllm(plan->config, &plan->arena, &l.vllm, &cli->err);
    if (r == 0)
        r = look_and_plan(&l);
    model_catalogue_finish(&l.catalogue);
    return r;
}

int
cli_load_plan(struct cli *cli, struct cli_plan *ret_plan)
{
    _cleanup_cli_plan_ struct cli_plan loaded = {0};
    int r = cli_load_config(cli, &loaded.config);
    if (r == 0)
        r = cli_make_plan(cli, &loaded);
    if (r < 0)
        return r;
    *ret_plan = loaded;
    loaded = (struct cli_plan){0};
    return 0;
}

void
cli_plan_finish(struct cli_plan *plan)
{
    arena_finish(&plan->arena);
    config_freep(&plan->config);
}
