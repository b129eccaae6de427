#include "cli/resting.h"

#include "base/text.h"
#include "deploy/halt.h"
#include "service/jobs.h"
#include "service/systemd.h"
#include "unit/rest.h"

#include <errno.h>

#define ARENA_MAX (1 * MIB)

static int
explain(struct cli *cli, int r)
{
    if (r == -EACCES || r == -EPERM)
        err_fix(&cli->err, "the same with sudo");
    return r;
}

int
cli_rest_begin(struct cli *cli, const struct config *config, const char *service)
{
    _cleanup_free_ char *unit = mem_printf("citadel-%s.service", service);
    return explain(cli, unit_rest_begin(config->paths.generations, unit, &cli->err));
}

/* The group that a name of services stands for. */
static bool
is_of(const char *arg, const char *unit)
{
    static const struct {
        const char *arg;
        enum halt_group group;
    } rows[] = {
        {"all", HALT_ALL},
        {"models", HALT_MODELS},
        {"monitor", HALT_MONITORING},
        {"gateway", HALT_GATEWAY},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (text_eq(rows[i].arg, arg) && halt_is_meant(rows[i].group, unit, false))
            return true;
    _cleanup_free_ char *own = mem_printf("citadel-%s.service", arg);
    return text_eq(unit, own);
}

static bool
is_meant(const struct cli *cli, const char *unit)
{
    for (size_t i = 0; i < cli->args_count; i++)
        if (is_of(cli->args[i], unit))
            return true;
    return cli->args_count == 0;
}

/* Services are started by name, or by what starts them. */
static int
start_others(struct cli *cli, struct systemd_job *jobs, size_t count)
{
    struct systemd_jobs all = {.items = jobs, .count = count, .wait = !cli_flag(cli, "no-wait")};
    int r = systemd_reload(&cli->err); /* the links that they had */
    return r < 0 || count == 0 ? r : systemd_jobs_run(&all, &cli->err);
}

int
cli_rest_end(struct cli *cli, const struct config *config)
{
    _cleanup_arena_ struct arena arena;
    const char **units, *store = config->paths.generations;
    size_t count = 0, jobs = 0, ended = 0;
    arena_init(&arena, ARENA_MAX);
    int r = unit_rest_list(store, &arena, &units, &count, &cli->err);
    _cleanup_free_ struct systemd_job *items = mem_alloc((count + 1) * sizeof(*items));
    for (size_t i = 0; r == 0 && i < count; i++) {
        if (!is_meant(cli, units[i]))
            continue;
        r = explain(cli, unit_rest_end(store, units[i], &cli->err));
        ended++;
        if (text_ends(units[i], ".service"))
            continue;
        items[jobs++] = (struct systemd_job){
            .unit = units[i],
            .method = "StartUnit",
            .mode = text_ends(units[i], ".target") ? "ignore-dependencies" : NULL};
    }
    if (r == 0 && ended)
        r = start_others(cli, items, jobs);
    return r < 0 ? r : ended > 0;
}
