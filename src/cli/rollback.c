#include "cli/rollback.h"

#include "base/text.h"
#include "cli/asker.h"
#include "cli/confirm.h"
#include "cli/deploy.h"
#include "cli/load_config.h"
#include "cli/services.h"
#include "deploy/lock.h"

#include <stdio.h>

#define ARENA_MAX (1 * MIB)

static void
on_tell(const char *line, void *arg)
{
    cli_note(arg, "%s", line);
}

/* Its services, by the names that units of theirs would have. */
static const struct generation_file *
list_units(const struct service_view *view, struct arena *arena)
{
    struct generation_file *files = arena_alloc(arena, (view->items.count + 1) * sizeof(*files));
    for (size_t i = 0; files && i < view->items.count; i++)
        files[i].name =
            arena_printf(arena, "units/citadel-%s.service", view->items.items[i].status.name);
    return arena->full ? NULL : files;
}

/* ---- telling ---- */

static const char *
how_to_start(enum halt_group group)
{
    static const char *const commands[] = {[HALT_ALL] = "citadel start",
                                           [HALT_MODELS] = "citadel start models",
                                           [HALT_INFRASTRUCTURE] = "citadel start",
                                           [HALT_MONITORING] = "citadel start monitor",
                                           [HALT_GATEWAY] = "citadel start gateway"};
    return commands[group];
}

static void
print_json(struct cli *cli, enum halt_group group, const struct deploy_orders *stopped)
{
    json_open_map(cli->json, NULL);
    json_str(cli->json, "group", halt_group_word(group));
    json_open_list(cli->json, "stopped");
    for (size_t i = 0; i < stopped->count; i++)
        if (!stopped->items[i].failed)
            json_str(cli->json, NULL, stopped->items[i].unit);
    json_close_list(cli->json);
    json_str(cli->json, "start", how_to_start(group));
    json_close_map(cli->json);
}

static void
print(struct cli *cli, enum halt_group group, const struct deploy_orders *stopped)
{
    if (cli->json) {
        print_json(cli, group, stopped);
        return;
    }
    for (size_t i = 0; i < stopped->count; i++)
        cli_print(cli, "%s %s\n", stopped->items[i].failed ? "failed " : "stopped",
                  stopped->items[i].unit);
    if (stopped->count == 0)
        cli_print(cli, "Nothing of %s ran.\n", halt_group_word(group));
    cli_print(cli, "It stays down until a person starts it: %s\n", how_to_start(group));
}

static int
ask(struct cli *cli, const struct deploy_orders *running)
{
    if (!cli_flag(cli, "force") && !cli->json)
        for (size_t i = 0; i < running->count; i++)
            cli_print(cli, "stop %s\n", running->items[i].unit);
    return cli_confirm(cli, "force",
                       "Stop these in this order, running answers first, and keep them down?");
}

/* ---- doing ---- */

static int
stop_here(struct cli *cli, const struct halt_wish *wish, const struct deploy_host *host,
          struct arena *arena)
{
    struct deploy_orders stopped = {0};
    _cleanup_deploy_lock_ struct deploy_lock lock = DEPLOY_LOCK_INIT;
    int r = deploy_lock(wish->state_dir, wish->by, wish->why, &lock, &cli->err);
    if (r == 0)
        r = halt(wish, host, arena, &stopped, &cli->err);
    if (r == 0 || stopped.count)
        print(cli, wish->group, &stopped);
    return r < 0 ? r : EXIT_CODE_OK;
}

static int
stop_up(struct cli *cli, const struct config *config, const struct service_view *view,
        struct halt_wish *wish)
{
    _cleanup_arena_ struct arena arena;
    struct deploy_orders running = {0};
    struct deploy_machine machine = {.config = config, .by = wish->by, .tell = on_tell, .arg = cli};
    const struct deploy_host host = deploy_open_up(&machine);
    arena_init(&arena, ARENA_MAX);
    wish->files = list_units(view, &arena);
    wish->count = view->items.count;
    if (!wish->files)
        return err_set(&cli->err, ERR_TOO_LARGE, "%zu services are too many", view->items.count);
    int r = halt_look(wish, &host, &arena, &running, &cli->err);
    if (r == 0)
        r = ask(cli, &running);
    return r < 0 ? r : stop_here(cli, wish, &host, &arena);
}

static int
stop_deployed(struct cli *cli, const struct config *config, const struct halt_wish *wish,
              const char *words)
{
    _cleanup_cli_deploy_ struct cli_deploy d = {0};
    struct deploy_orders running = {0};
    int r = cli_deploy_open(cli, config, wish->why, &d);
    if (r == 0)
        r = cli_deploy_check(&d, &cli->err);
    if (r == 0 && cli_flag(cli, "here"))
        return stop_here(cli, wish, &d.host, &d.arena);
    if (r == 0)
        r = halt_look(wish, &d.host, &d.arena, &running, &cli->err);
    if (r == 0)
        r = ask(cli, &running);
    return r < 0 ? r : cli_deploy_apart(cli, &d, words);
}

int
cli_rollback(struct cli *cli, enum halt_group group, const char *words)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_service_view_ struct service_view view = {0};
    char by[64], why[64];
    (void)snprintf(why, sizeof(why), "citadel %s", words);
    struct halt_wish wish = {.by = cli_asker(by), .why = why, .group = group};
    int r = cli_load_services(cli, NULL, &config, &view);
    if (r < 0)
        return r;
    wish.store = config->paths.generations;
    wish.state_dir = config->paths.state;
    return view.by_systemd ? stop_deployed(cli, config, &wish, words)
                           : stop_up(cli, config, &view, &wish);
}
