#include "gateway/routing.h"

#include "base/mem.h"
#include "base/text.h"
#include "config/config.h"
#include "gateway/backend.h"
#include "gateway/papers.h"
#include "gateway/params.h"
#include "gateway/target.h"

#include <stdlib.h>
#include <string.h>

/* The one that asks this server already. */
static struct backend *
find_backend(const struct routing *before, const struct backend_place *place)
{
    for (size_t i = 0; before && i < before->count; i++)
        if (before->backends[i] && backend_is_of(before->backends[i], place))
            return before->backends[i];
    return NULL;
}

static int
open_backend(struct routing *routing, size_t i, struct loop *loop, const struct routing *before,
             const struct backend_place *place, struct err *reterr)
{
    struct backend *same = find_backend(before, place);
    if (!same)
        return backend_new(loop, place, &routing->config->gateway.limits, &routing->backends[i],
                           reterr);
    routing->backends[i] = backend_hold(same);
    return 0;
}

static int
open_models(struct routing *routing, struct loop *loop, const struct routing *before,
            struct err *reterr)
{
    const struct config *config = routing->config;
    int r = 0;
    for (size_t i = 0; i < config->models.count && r == 0; i++) {
        const struct backend_place place = {.model = &config->models.items[i]};
        if (place.model->enabled)
            r = open_backend(routing, i, loop, before, &place, reterr);
    }
    return r;
}

static int
open_peers(struct routing *routing, struct loop *loop, const struct routing *before,
           struct papers *papers, struct err *reterr)
{
    const struct config *config = routing->config;
    int r = 0;
    for (size_t i = 0; i < config->gateway.peers.count && r == 0; i++) {
        const struct backend_place place = {.peer = &config->gateway.peers.items[i],
                                            .papers = &papers[i]};
        r = open_backend(routing, config->models.count + i, loop, before, &place, reterr);
    }
    return r;
}

static size_t
add_member(struct routing *routing, const char *name)
{
    size_t i = 0;
    while (i < routing->members.count && !text_eq(routing->members.items[i], name))
        i++;
    if (i == routing->members.count)
        vec_push(&routing->members, name);
    return i;
}

static void
open_params(struct routing *routing)
{
    const struct config *config = routing->config;
    routing->params = mem_alloc(MAX(config->models.count, (size_t)1) * sizeof(struct params));
    for (size_t i = 0; i < ASK_MEMBER_COUNT; i++)
        vec_push(&routing->members, ask_member_names[i]);
    for (size_t i = 0; i < config->models.count; i++) {
        struct params *params = &routing->params[i];
        params_init(params, &config->models.items[i]);
        for (size_t k = 0; k < params->count; k++)
            params->items[k].member = add_member(routing, params->items[k].name);
    }
}

int
routing_new(struct loop *loop, const struct config *config, struct papers *papers,
            const struct routing *before, struct routing **ret_routing, struct err *reterr)
{
    struct routing *routing = mem_new(struct routing);
    const char *keys = config->gateway.keys_file;
    *routing =
        (struct routing){.config = config,
                         .targets = target_table_new(config),
                         .count = config->models.count + config->gateway.peers.count,
                         .spool = mem_strndup(keys, (size_t)MAX(strrchr(keys, '/') - keys, 1)),
                         .holders = 1};
    open_params(routing);
    routing->backends = mem_alloc(MAX(routing->count, (size_t)1) * sizeof(*routing->backends));
    int r = open_models(routing, loop, before, reterr);
    if (r == 0)
        r = open_peers(routing, loop, before, papers, reterr);
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
    for (size_t i = config->models.count; i < routing->count; i++)
        backend_configure(routing->backends[i], NULL, &config->gateway.limits);
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
    for (size_t i = 0; i < routing->count; i++)
        backend_drop(routing->backends[i]);
    for (size_t i = 0; i < routing->config->models.count; i++)
        params_finish(&routing->params[i]);
    free(routing->params);
    vec_finish(&routing->members);
    free(routing->backends);
    free(routing->spool);
    target_table_free(routing->targets);
    config_free(routing->owned);
    free(routing);
}

struct backend *
routing_backend_of(const struct routing *routing, const struct target_back *back)
{
    const struct config *config = routing->config;
    return routing->backends[back->model ? (size_t)(back->model - config->models.items)
                                         : config->models.count +
                                               (size_t)(back->peer - config->gateway.peers.items)];
}

const struct params *
routing_params_of(const struct routing *routing, const struct target_back *back)
{
    return back->model ? &routing->params[back->model - routing->config->models.items] : NULL;
}
