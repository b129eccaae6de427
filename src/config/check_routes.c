/* References to models: aliases, fallbacks, the default model, the model that is tried first. */

#include "base/map.h"
#include "base/text.h"
#include "config/check_int.h"

#include <stdio.h>

bool
check_is_served(const struct loading *l, const char *name)
{
    return map_get(l->served, name) != NULL;
}

const char *
check_suggest_model(const struct loading *l, const char *name)
{
    /* Worth its time only while somebody will read it. */
    const char *nearest = l->problems->count < CONFIG_PROBLEMS_MAX
                              ? text_nearest(name, config_model_name, l->config)
                              : NULL;
    const char *said = nearest ? arena_printf(l->arena, "did you mean %s?", nearest) : NULL;
    return said ? said : "the name of a model";
}

static void
refuse_name(const struct loading *l, struct value_at at, const char *path, const char *name)
{
    problem_add(l->problems, at, check_suggest_model(l, name), "%s is '%s', which is no model",
                path, name);
}

/* The place of the value of a map's member, or of an item of it when that is a list. */
static struct value_at
member_at(const struct loading *l, const char *option, const char *name, size_t item)
{
    const struct value *map = value_get(l->config->gateway.given, option);
    const struct value *v = value_get(map, name);
    if (v && v->type == VALUE_LIST)
        for (v = v->first; v && item > 0; item--)
            v = v->next;
    return v ? v->at : check_at(l, &l->config->gateway, option);
}

static void
check_aliases(const struct loading *l)
{
    const struct config_pairs *aliases = &l->config->gateway.aliases;
    for (size_t i = 0; i < aliases->count; i++) {
        const struct config_pair *a = &aliases->items[i];
        struct value_at at = member_at(l, "aliases", a->name, 0);
        char path[TRAIL_MAX];
        (void)snprintf(path, sizeof(path), "gateway.aliases.%s", a->name);
        if (!check_is_served(l, a->value))
            refuse_name(l, at, path, a->value);
        if (check_is_served(l, a->name))
            problem_add(l->problems, at, "a name that is not taken",
                        "%s hides the model that is served under this name", path);
    }
}

static const struct config_chain *
find_chain(const struct config_chains *chains, const char *name)
{
    for (size_t i = 0; i < chains->count; i++)
        if (text_eq(chains->items[i].name, name))
            return &chains->items[i];
    return NULL;
}

/* Goes along the fallbacks; `on_way` are the chains between the first and this one. Each chain is
 * left behind once: at most 256 deep and as many steps as there are entries. */
struct walk {
    const struct loading *l;
    bool on_way[CONFIG_MODELS_MAX];
    bool done[CONFIG_MODELS_MAX];
};

static void
walk_chain(struct walk *w, const struct config_chain *chain)
{
    const struct config_chains *all = &w->l->config->gateway.fallbacks;
    size_t index = (size_t)(chain - all->items);
    w->on_way[index] = true;
    for (size_t i = 0; i < chain->to.count; i++) {
        const struct config_chain *next = find_chain(all, chain->to.items[i]);
        if (next && w->on_way[next - all->items])
            problem_add(
                w->l->problems, member_at(w->l, "fallbacks", chain->name, i), "an order that ends",
                "gateway.fallbacks go in a circle: %s falls back to %s, which leads back to it",
                chain->name, next->name);
        else if (next && !w->done[next - all->items])
            walk_chain(w, next);
    }
    w->on_way[index] = false;
    w->done[index] = true;
}

static void
check_fallbacks(const struct loading *l)
{
    const struct config_chains *chains = &l->config->gateway.fallbacks;
    struct walk walk = {.l = l};
    for (size_t i = 0; i < chains->count; i++) {
        const struct config_chain *c = &chains->items[i];
        char path[TRAIL_MAX];
        (void)snprintf(path, sizeof(path), "gateway.fallbacks.%s", c->name);
        const struct value *v =
            value_get(value_get(l->config->gateway.given, "fallbacks"), c->name);
        if (!check_is_served(l, c->name))
            refuse_name(l, v ? v->name_at : (struct value_at){0}, "a key of gateway.fallbacks",
                        c->name);
        for (size_t k = 0; k < c->to.count; k++)
            if (!check_is_served(l, c->to.items[k]))
                refuse_name(l, member_at(l, "fallbacks", c->name, k), path, c->to.items[k]);
        if (!walk.done[i])
            walk_chain(&walk, c);
    }
}

void
check_routes(const struct loading *l)
{
    const struct config_gateway *g = &l->config->gateway;
    const char *test = l->config->deploy.test_model;
    check_aliases(l);
    check_fallbacks(l);
    if (g->default_model && !check_is_served(l, g->default_model))
        refuse_name(l, check_at(l, g, "default_model"), "gateway.default_model", g->default_model);
    if (!test)
        return;
    const struct config_model *m = config_find_model(l->config, test);
    struct value_at at = check_at(l, &l->config->deploy, "test_model");
    if (!m)
        refuse_name(l, at, "deploy.test_model", test);
    else if (!m->enabled)
        problem_add(l->problems, at, "a model that is enabled, or auto",
                    "deploy.test_model is %s, which is not enabled", test);
}
