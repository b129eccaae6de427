/* What `auto` stands for, where the file alone tells it: names, paths, ports; and defaults that give
 * way to what was given. */

#include "config/read_int.h"

#include "base/text.h"
#include "sys/root.h"

/* The first port that models are given, as the reference deployment has it. */
#define PORT_FIRST 11400

/* Below the link to the active models, unless it is absolute and so under the root already. */
static const char *
place(const struct loading *l, const char *path)
{
    if (*path == '/')
        return path;
    const char *below = root_strip(l->config->paths.root);
    char *full = arena_printf(l->arena, "%s/models/%s", below, path);
    return full ? root_path(l->arena, full) : NULL;
}

static bool
is_given(const struct loading *l, const struct config_model *m, const char *option)
{
    return value_get(m->given, option) || value_get(l->config->defaults.given, option);
}

static void
complete_model(const struct loading *l, struct config_model *m)
{
    /* Who shortens the whole start need not know of its parts. */
    if (!is_given(l, m, "start_stall_limit"))
        m->start_stall_limit_us = MIN(m->start_stall_limit_us, m->start_max_us);
    m->path = place(l, m->path ? m->path : m->name);
    for (size_t i = 0; i < m->lora.adapters.count; i++) {
        struct config_pair *adapter = &m->lora.adapters.items[i];
        adapter->value = place(l, adapter->value);
    }
    if (m->served_names.count == 0) {
        const char **names = arena_new(l->arena, const char *);
        if (names)
            *names = m->name;
        m->served_names = (struct config_list){names, names != NULL};
    }
}

static bool
is_taken(const struct config *config, unsigned port)
{
    bool taken = port == config->gateway.port || port == config->monitor.port;
    for (size_t i = 0; i < config->models.count && !taken; i++)
        taken = port == config->models.items[i].port;
    return taken;
}

void
config_complete(const struct loading *l)
{
    struct config *config = l->config;
    uint16_t port = PORT_FIRST;
    for (size_t i = 0; i < config->models.count; i++)
        complete_model(l, &config->models.items[i]);
    for (size_t i = 0; i < config->models.count; i++) {
        struct config_model *m = &config->models.items[i];
        if (m->port)
            continue;
        while (is_taken(config, port))
            port++;
        m->port = port;
    }
}
