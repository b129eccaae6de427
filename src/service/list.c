#include "service/list.h"

#include "config/config.h"
#include "plan/plan.h"
#include "sys/root.h"

#include <string.h>

static const char *
candidate(size_t i, const void *arg)
{
    const struct config *config = arg;
    return i < config->models.count ? config->models.items[i].name : NULL;
}

static int
check_names(const struct config *config, const char *const *names, struct err *reterr)
{
    for (; names && *names; names++) {
        if (config_find_model(config, *names))
            continue;
        int r = err_set(reterr, ERR_SERVICE_NONE, "there is no service '%s' in %s", *names,
                        config->name);
        const char *nearest = text_nearest(*names, candidate, config);
        if (nearest)
            err_fix(reterr, "did you mean %s?", nearest);
        return r;
    }
    return 0;
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
    const struct plan_times times = plan_times_of(model);
    const char **argv = arena_alloc(arena, sizeof(words));
    if (argv)
        memcpy(argv, words, sizeof(words));
    return (struct service){
        .name = model->name,
        .kind = "model",
        .address = arena_printf(arena, "127.0.0.1:%u", model->port),
        .argv = argv,
        .log_path = arena_printf(arena, "%s/models/%s.log", config->paths.logs, model->name),
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
    int r = check_names(config, names, reterr);
    if (r < 0)
        return r;
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
