#include "cli/rollback.h"

#include "base/text.h"
#include "cli/deploy.h"
#include "cli/running.h"

#include <stdio.h>

struct halting {
    struct halt_wish wish;
    struct halt_outlook outlook;
};

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
print(struct cli *cli, enum halt_group group, const struct deploy_orders *stopped, bool done)
{
    if (cli->json) {
        print_json(cli, group, stopped);
        return;
    }
    for (size_t i = 0; i < stopped->count; i++)
        cli_print(cli, "%s %s\n", stopped->items[i].failed ? "failed " : "stopped",
                  stopped->items[i].unit);
    if (!done)
        return;
    if (stopped->count == 0)
        cli_print(cli, "Nothing of %s ran.\n", halt_group_word(group));
    cli_print(cli, "It stays down until a person starts it: %s\n", how_to_start(group));
}

static void
print_running(struct cli *cli, const struct cli_deploy *d unused_arg, void *arg)
{
    const struct deploy_orders *running = &((struct halting *)arg)->outlook.running;
    for (size_t i = 0; i < running->count && !cli_flag(cli, "yes"); i++)
        cli_print(cli, "stop %s\n", running->items[i].unit);
}

/* ---- doing ---- */

/* That nothing runs is no reason to leave it: what is wanted is kept down, too. */
static int
look(struct cli *cli, struct cli_deploy *d, void *arg)
{
    struct halting *h = arg;
    d->digest = h->outlook.digest;
    return halt_look(&h->wish, &d->host, &d->arena, &h->outlook, &cli->err);
}

static int
stop(struct cli *cli, struct cli_deploy *d, void *arg)
{
    struct halting *h = arg;
    struct deploy_orders stopped = {0};
    h->wish.expect = d->wish.expect;
    int r = halt(&h->wish, &d->host, &d->arena, &stopped, &cli->err);
    if (r == 0 || stopped.count)
        print(cli, h->wish.group, &stopped, r == 0);
    return r < 0 ? r : EXIT_CODE_OK;
}

int
cli_rollback(struct cli *cli, enum halt_group group, const char *words)
{
    _cleanup_cli_running_ struct cli_running running = {0};
    _cleanup_cli_deploy_ struct cli_deploy d = {0};
    char why[64];
    (void)snprintf(why, sizeof(why), "citadel %s", words);
    int r = cli_load_running(cli, &running);
    if (r == 0)
        r = cli_deploy_open(cli, running.config, why, &d);
    if (r < 0)
        return r;
    struct halting h = {.wish = {.store = d.wish.store,
                                 .state_dir = d.wish.state_dir,
                                 .by = d.by,
                                 .why = why,
                                 .group = group}};
    const struct cli_deed deed = {
        .words = words,
        .question = "Stop these in this order, running answers first, and keep them down?",
        .look = look,
        .print = print_running,
        .work = stop,
        .arg = &h};
    if (d.keeper == CLI_KEEPER_UP) {
        h.wish.files = list_units(&running.view, &d.arena);
        h.wish.count = running.view.items.count;
        if (!h.wish.files)
            return err_set(&cli->err, ERR_TOO_LARGE, "%zu services are too many", h.wish.count);
    }
    return cli_deploy_do(cli, &d, &deed);
}
