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
                                                          SERVICE_GATEWAY, NULL};

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

/* What no service is to find in its environment. */
static const char *const *
list_withheld(struct arena *arena, const struct secret_use *uses, size_t count)
{
    const char **withheld = arena_alloc(arena, (count + 1) * sizeof(*withheld));
    for (size_t i = 0, n = 0; withheld && i < count; i++)
        if (uses[i].secret->kind == CONFIG_SECRET_ENV)
            withheld[n++] = uses[i].secret->where;
    return withheld;
}

/* What its readers are given. */
static void
give_secrets(struct service *service, struct arena *arena, const struct config *config,
             unsigned readers)
{
    struct secret_use *uses;
    size_t count;
    if (secret_uses(config, arena, &uses, &count) < 0)
        return; /* the arena is full, which is told at the end */
    service->secrets = uses;
    service->secret_count = secret_uses_of(uses, count, readers);
}

/* Before the models, and stopped after them: none depends on it. */
static struct service
keeper(const struct service_list_input *in, struct arena *arena, const char *name,
       const struct plan_times *times)
{
    _cleanup_free_ char *log_path = service_log_path(in->config, name);
    return (struct service){
        .name = name,
        .kind = "service",
        .argv = make_argv(in, arena, name, NULL, NULL, NULL),
        .log_path = arena_strdup(arena, log_path),
        .wanted = true,
        .dispensable = true,
        .stop_us = times->stop_us,
        .watchdog_us = times->watchdog_us,
        .budget = times->budget,
    };
}

/* The first, so that it sees all of the others' lives. */
static struct service
of_monitor(const struct service_list_input *in, struct arena *arena)
{
    const struct config_monitor *m = &in->config->monitor;
    const struct plan_times times = plan_times_of_keeper();
    struct service s = keeper(in, arena, SERVICE_MONITOR, &times);
    s.address = arena_printf(arena, "%s:%u", m->listen.items[0], m->port);
    return s;
}

/* The last answers of models go through it. */
static struct service
of_gateway(const struct service_list_input *in, struct arena *arena)
{
    const struct config_gateway *g = &in->config->gateway;
    const struct plan_times times = plan_times_of_gateway(in->config);
    struct service s = keeper(in, arena, SERVICE_GATEWAY, &times);
    const char *first = g->listen.items[0];
    s.address = *first == '/' ? first : arena_printf(arena, "%s:%u", first, g->port);
    give_secrets(&s, arena, in->config, SECRET_FOR_GATEWAY);
    return s;
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

/* Each after those before it. */
static void
add(struct service_list *list, const struct config *config, const struct service *service)
{
    struct service *added = &list->items[list->count];
    *added = *service;
    add_numbers(list->arena, config, added);
    for (size_t i = 0; i < list->count && list->items[i].dispensable; i++)
        added->after[added->after_count++] = list->items[i].name;
    list->count++;
}

static void
add_keepers(struct service_list *list, const struct service_list_input *in)
{
    const struct config *config = in->config;
    if (config->monitor.enabled) {
        const struct service monitor = of_monitor(in, list->arena);
        add(list, config, &monitor);
    }
    if (config->gateway.enabled) {
        const struct service gateway = of_gateway(in, list->arena);
        add(list, config, &gateway);
    }
}

static void
add_models(struct service_list *list, const struct service_list_input *in)
{
    const struct config *config = in->config;
    bool some = in->names && *in->names;
    for (size_t i = 0; i < config->models.count; i++) {
        const struct config_model *model = &config->models.items[i];
        bool named = is_named(model, in->names);
        if (!named && !model->enabled)
            continue;
        struct service service = of_model(in, list->arena, model, named || !some);
        give_secrets(&service, list->arena, config, SECRET_FOR_MODELS);
        add(list, config, &service);
    }
}

static int
check_names(const struct service_list_input *in, struct err *reterr)
{
    for (const char *const *name = in->names; name && *name; name++) {
        int r = service_check_name(in->config, *name, reterr);
        if (r < 0)
            return r;
    }
    return 0;
}

int
service_list_make(const struct service_list_input *input, struct arena *arena,
                  struct service_list *ret_list, struct err *reterr)
{
    const struct config *config = input->config;
    struct service_list list = {.arena = arena};
    struct secret_use *uses;
    size_t count;
    int r = check_names(input, reterr);
    if (r < 0)
        return r;
    if (secret_uses(config, arena, &uses, &count) < 0)
        return err_set(reterr, ERR_TOO_LARGE, "there are too many secrets");
    list.withheld = list_withheld(arena, uses, count);
    list.items = arena_alloc(arena, (config->models.count + 2) * sizeof(*list.items));
    if (list.items && count_models(config, input->names) > 0)
        add_keepers(&list, input);
    if (list.items)
        add_models(&list, input);
    if (arena->full)
        return err_set(reterr, ERR_TOO_LARGE, "there are too many services");
    *ret_list = list;
    return 0;
}
