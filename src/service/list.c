#include "service/list.h"

#include "config/config.h"
#include "plan/plan.h"
#include "run/run.h"
#include "sys/root.h"

#include <string.h>

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
    return mem_printf("%s/models/%s.log", config->paths.logs, name);
}

static bool
is_named(const struct config_model *model, const char *const *names)
{
    for (; names && *names; names++)
        if (text_eq(*names, model->name))
            return true;
    return false;
}

static struct service
of_model(struct arena *arena, const struct config *config, const struct config_model *model,
         const char *program, const char *config_file, bool wanted)
{
    const char *words[] = {program, "run", model->name, "-c", config_file, NULL, NULL, NULL};
    if (root_is_set()) {
        words[5] = "--root";
        words[6] = root_dir();
    }
    char address[RUN_ADDRESS_MAX];
    _cleanup_free_ char *log_path = service_log_path(config, model->name);
    const struct plan_times times = plan_times_of(model);
    const char **argv = arena_alloc(arena, sizeof(words));
    if (argv)
        memcpy(argv, words, sizeof(words));
    return (struct service){
        .name = model->name,
        .kind = "model",
        .address = arena_strdup(arena, run_address(model->port, address)),
        .argv = argv,
        .log_path = arena_strdup(arena, log_path),
        .wanted = wanted,
        .stop_us = times.stop_us,
        .watchdog_us = times.watchdog_us,
        .budget = times.budget,
    };
}

int
service_list_make(struct arena *arena, const struct config *config, const char *program,
                  const char *config_file, const char *const *names, struct service_list *ret_list,
                  struct err *reterr)
{
    struct service_list list = {.arena = arena};
    bool some = names && *names;
    for (const char *const *name = names; name && *name; name++) {
        int r = service_check_name(config, *name, reterr);
        if (r < 0)
            return r;
    }
    list.items = arena_alloc(arena, (config->models.count + 1) * sizeof(*list.items));
    for (size_t i = 0; list.items && i < config->models.count; i++) {
        const struct config_model *model = &config->models.items[i];
        bool named = is_named(model, names);
        if (named || model->enabled)
            list.items[list.count++] =
                of_model(arena, config, model, program, config_file, named || !some);
    }
    if (arena->full)
        return err_set(reterr, ERR_TOO_LARGE, "there are too many services");
    *ret_list = list;
    return 0;
}
