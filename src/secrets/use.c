#include "secrets/use.h"

#include "base/text.h"
#include "config/config.h"

#include <errno.h>

struct gathering {
    struct arena *arena;
    struct secret_use *uses;
    size_t count, room;
};

static void
add(struct gathering *g, unsigned readers, const char *option, const struct config_secret *secret)
{
    if (secret->kind == CONFIG_SECRET_NONE || !g->uses)
        return;
    assert(g->count < g->room);
    g->uses[g->count++] = (struct secret_use){option, secret, readers};
}

static void
add_named(struct gathering *g, unsigned readers, const char *map, const char *name,
          const char *option, const struct config_secret *secret)
{
    if (secret->kind != CONFIG_SECRET_NONE)
        add(g, readers, arena_printf(g->arena, "%s.%s.%s", map, name, option), secret);
}

static void
add_of_gateway(struct gathering *g, const struct config *c)
{
    for (size_t i = 0; i < c->gateway.peers.count; i++)
        add_named(g, SECRET_FOR_GATEWAY, "gateway.peers", c->gateway.peers.items[i].name, "key",
                  &c->gateway.peers.items[i].key);
    add(g, SECRET_FOR_GATEWAY, "gateway.trace_key", &c->gateway.trace_key);
}

static void
add_of_monitor(struct gathering *g, const struct config *c)
{
    for (size_t i = 0; i < c->alerts.notifiers.count; i++) {
        const struct config_notifier *n = &c->alerts.notifiers.items[i];
        add_named(g, SECRET_FOR_MONITOR, "alerts.notifiers", n->name, "url_secret", &n->url_secret);
        add_named(g, SECRET_FOR_MONITOR, "alerts.notifiers", n->name, "token", &n->token);
    }
    add(g, SECRET_FOR_MONITOR, "devops.prometheus.password", &c->devops.prometheus.password);
    add(g, SECRET_FOR_MONITOR, "devops.grafana.token", &c->devops.grafana.token);
    add(g, SECRET_FOR_MONITOR, "devops.alertmanager.password", &c->devops.alertmanager.password);
    add(g, SECRET_FOR_MONITOR, "devops.logs.password", &c->devops.logs.password);
}

static void
add_of_backup(struct gathering *g, const struct config *c)
{
    add(g, SECRET_FOR_BACKUP, "backup.password", &c->backup.password);
    add(g, SECRET_FOR_BACKUP, "backup.credentials", &c->backup.credentials);
    add(g, SECRET_FOR_BACKUP, "backup.copy.password", &c->backup.copy.password);
    add(g, SECRET_FOR_BACKUP, "backup.copy.credentials", &c->backup.copy.credentials);
}

#define SINGLE 10 /* that stand in no map */

int
secret_uses(const struct config *config, struct arena *arena, struct secret_use **ret_uses,
            size_t *ret_count)
{
    size_t room = SINGLE + config->gateway.peers.count + 2 * config->alerts.notifiers.count;
    struct gathering g = {
        .arena = arena, .uses = arena_alloc(arena, room * sizeof(*g.uses)), .room = room};
    add(&g, config->hub.offline ? 0 : SECRET_FOR_MODELS, "hub.token", &config->hub.token);
    add_of_gateway(&g, config);
    add_of_monitor(&g, config);
    add_of_backup(&g, config);
    if (arena->full)
        return -ENOMEM;
    *ret_uses = g.uses;
    *ret_count = g.count;
    return 0;
}

size_t
secret_uses_of(struct secret_use *uses, size_t count, unsigned readers)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (uses[i].readers & readers)
            uses[kept++] = uses[i];
    return kept;
}
