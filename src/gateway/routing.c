#include "gateway/routing.h"

#include "base/mem.h"
#include "config/config.h"
#include "gateway/backend.h"
#include "gateway/target.h"

#include <stdlib.h>

/* The one that asks this server already. */
static struct backend *
find_backend(const struct routing *before, const struct config_model *model)
{
    for (size_t i = 0; before && i < before->config->models.count; i++)
        if (before->backends[i] && backend_is_of(before->backends[i], model))
            return before->backends[i];
    return NULL;
}

static int
open_backends(struct routing *routing, struct loop *loop, const struct routing *before,
              struct err *reterr)
{
    const struct config *config = routing->config;
    routing->backends =
        mem_alloc(MAX(config->models.count, (size_t)1) * sizeof(*routing->backends));
    for (size_t i = 0; i < config->models.count; i++) {
        const struct config_model *model = &config->models.items[i];
        struct backend *same = model->enabled ? find_backend(before, model) : NULL;
        int r = 0;
        if (same)
            routing->backends[i] = backend_hold(same);
        else if (model->enabled)
            r = backend_new(loop, model, &config->gateway.limits, &routing->backends[i], reterr);
        if (r < 0)
            return r;
    }
    return 0;
}

int
routing_new(struct loop *loop, const struct config *config, const struct routing *before,
            struct routing **ret_routing, struct err *reterr)
{
    struct routing *routing = mem_new(struct routing);
    *routing =
        (struct routing){.config = config, .targets = target_table_new(config), .holders = 1};
    int r = open_backends(routing, loop, before, reterr);
    if (r < 0)
        routing_drop(routing);
    else
        *ret_routing = routing;
    return r;
}

void
routing_enter(struct routing *routing)
{
    const struct config *config = routing->config;
    for (size_t i = 0; i < config->models.count; i++)
        if (routing->backends[i])
            backend_configure(routing->backends[i], &config->models.items[i],
                              &config->gateway.limits);
}

struct routing *
routing_hold(struct routing *routing)
{
    routing->holders++;
    return routing;
}

void
routing_drop(struct routing *routing)
{
    if (!routing || --routing->holders > 0)
        return;
    for (size_t i = 0; i < routing->config->models.count; i++)
        backend_drop(routing->backends[i]);
    free(routing->backends);
    target_table_free(routing->targets);
    config_free(routing->owned);
    free(routing);
}

struct backend *
routing_backend_of(const struct routing *routing, const struct target_back *back)
{
    return back->model ? routing->backends[back->model - routing->config->models.items] : NULL;
}
