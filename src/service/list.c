#include "service/list.h"

#include "base/buf.h"
#include "base/mem.h"
#include "config/config.h"
#include "config/diff.h"
#include "plan/plan.h"
#include "run/run.h"
#include "secrets/use.h"
#include "sys/root.h"

#include <string.h>

const char *const service_keepers[SERVICE_KEEPERS + 1] = {"storage", "gpu", SERVICE_MONITOR,
                                                          "gateway", NULL};

bool
service_is_keeper(const char *name)
{
    for (const char *const *keeper = service_keepers; *keeper; keeper++)
        if (text_eq(*keeper, name))
            return true;
    return false;
}

int
service_check_name(const struct config *config, const char *name, struct err *reterr)
{
    if (config_find_model(config, name))
        return 0;
    int r = err_set(reterr, ERR_SERVICE_NONE, "there is no service '%s' in %s", name, config->name);
    err_fix_nearest(reterr, name, config_model_name, config, "citadel config show models");
    return r;
}

char *
service_log_path(const struct config *config, const char *name)
{
    return mem_printf("%s/%s/%s.log", config->paths.logs,
                      config_find_model(config, name) ? "models" : "services", name);
}

static bool
is_named(const struct config_model *model, const char *const *names)
{
    for (; names && *names; names++)
        if (text_eq(*names, model->name))
            return true;
    return false;
}

static size_t
count_models(const struct config *config, const char *const *names)
{
    size_t count = 0;
    for (size_t i = 0; i < config->models.count; i++)
        count += config->models.items[i].enabled || is_named(&config->models.items[i], names);
    return count;
}

/* `verb` and what it works on, with the configuration that it is to read; `more` with its value, unless that
 * is NULL. */
static const char *const *
make_argv(const struct service_list_input *in, struct arena *arena, const char *verb,
          const char *name, const char *more, const char *value)
{
    const char *words[10] = {in->program, verb};
    size_t count = 2;
    if (name)
        words[count++] = name;
    words[count++] = "-c";
    words[count++] = in->config_file;
    if (value) {
        words[count++] = more;
        words[count++] = value;
    }
    if (root_is_set()) {
        words[count++] = "--root";
        words[count++] = root_dir();
    }
    const char **argv = arena_alloc(arena, sizeof(words));
    if (argv)
        memcpy(argv, words, sizeof(words));
    return argv;
}

static struct service
of_model(const struct service_list_input *in, struct arena *arena, const struct config_model *model,
         bool wanted)
{
    char address[RUN_ADDRESS_MAX];
    _cleanup_free_ char *log_path = service_log_path(in->config, model->name);
    const struct plan_times times = plan_times_of(model);
    _cleanup_buf_ struct buf engine = BUF_INIT(SERVICE_ENGINE_MAX);
    bool has_env = in->vllm && plan_engine_runs(in->vllm, model);
    if (has_env)
        plan_engine_print(in->vllm, &engine);
    return (struct service){
        .name = model->name,
        .kind = "model",
        .address = arena_strdup(arena, run_address(model->port, address)),
        .argv =
            make_argv(in, arena, "run", model->name, "--vllm-env", has_env ? in->vllm->env : NULL),
        .engine = has_env ? arena_strdup(arena, engine.data) : NULL,
        .log_path = arena_strdup(arena, log_path),
        .wanted = wanted,
        .stop_us = times.stop_us,
        .watchdog_us = times.watchdog_us,
        .budget = times.budget,
    };
}

/* What every model is given, and what none is to find in its environment. */
struct secrets {
    struct secret_use *of_models;
    size_t count;
    const char **withheld;
};

static int
read_secrets(struct arena *arena, const struct config *config, struct secrets *ret_secrets)
{
    size_t count, n = 0;
    struct secret_use *uses;
    int r = secret_uses(config, arena, &uses, &count);
    if (r < 0)
        return r;
    const char **withheld = arena_alloc(arena, (count + 1) * sizeof(*withheld));
    for (size_t i = 0; withheld && i < count; i++)
        if (uses[i].secret->kind == CONFIG_SECRET_ENV)
            withheld[n++] = uses[i].secret->where;
    *ret_secrets = (struct secrets){uses, secret_uses_of(uses, count, SECRET_FOR_MODELS), withheld};
    return 0;
}

/* Before the models and stopped after them, so that it sees all of their lives; none depends on it. */
static struct service
of_monitor(const struct service_list_input *in, struct arena *arena)
{
    const struct plan_times times = plan_times_of_keeper();
    _cleanup_free_ char *log_path = service_log_path(in->config, SERVICE_MONITOR);
    return (struct service){
        .name = SERVICE_MONITOR,
        .kind = "service",
        .address = arena_printf(arena, "%s:%u", in->config->monitor.listen.items[0],
                                in->config->monitor.port),
        .argv = make_argv(in, arena, "monitor", NULL, NULL, NULL),
        .log_path = arena_strdup(arena, log_path),
        .wanted = true,
        .dispensable = true,
        .stop_us = times.stop_us,
        .watchdog_us = times.watchdog_us,
        .budget = times.budget,
    };
}

static void
add_numbers(struct arena *arena, const struct config *config, struct service *service)
{
    char digest[CONFIG_PART_HEX];
    config_digest(config, service->name, CONFIG_AT_START, digest);
    service->at_start = arena_strdup(arena, digest);
    config_digest(config, service->name, CONFIG_LIVE, digest);
    service->live = arena_strdup(arena, digest);
}

int
service_list_make(const struct service_list_input *input, struct arena *arena,
                  struct service_list *ret_list, struct err *reterr)
{
    const struct config *config = input->config;
    const char *const *names = input->names;
    struct service_list list = {.arena = arena};
    bool some = names && *names;
    for (const char *const *name = names; name && *name; name++) {
        int r = service_check_name(config, *name, reterr);
        if (r < 0)
            return r;
    }
    struct secrets secrets = {0};
    if (read_secrets(arena, config, &secrets) < 0)
        return err_set(reterr, ERR_TOO_LARGE, "there are too many secrets");
    list.withheld = secrets.withheld;
    list.items = arena_alloc(arena, (config->models.count + 1) * sizeof(*list.items));
    bool watched = config->monitor.enabled && count_models(config, names) > 0;
    if (list.items && watched)
        list.items[list.count++] = of_monitor(input, arena);
    if (list.count)
        add_numbers(arena, config, &list.items[0]);
    for (size_t i = 0; list.items && i < config->models.count; i++) {
        const struct config_model *model = &config->models.items[i];
        bool named = is_named(model, names);
        if (!named && !model->enabled)
            continue;
        struct service *service = &list.items[list.count++];
        *service = of_model(input, arena, model, named || !some);
        add_numbers(arena, config, service);
        service->secrets = secrets.of_models;
        service->secret_count = secrets.count;
        if (watched)
            service->after[service->after_count++] = SERVICE_MONITOR;
    }
    if (arena->full)
        return err_set(reterr, ERR_TOO_LARGE, "there are too many services");
    *ret_list = list;
    return 0;
}
