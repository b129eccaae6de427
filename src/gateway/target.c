#include "gateway/target.h"

#include "base/map.h"
#include "base/text.h"
#include "base/vec.h"
#include "config/config.h"
#include "gateway/key.h"

/* A target while it is made, and after. */
struct entry {
    struct target target; /* the first member: what is given out */
    VEC(struct target_back) backs;
    VEC(const struct target *) fallbacks;
};

struct target_table {
    const struct config *config;
    VEC(struct entry *) entries;
    VEC(const char *) names;
    struct map by_name; /* aliases, too: struct entry */
};

/* ---- back ends ---- */

static struct entry *
entry_of(struct target_table *t, const char *name)
{
    struct entry *e = map_get(&t->by_name, name);
    if (e)
        return e;
    e = mem_new(struct entry);
    e->target.name = name;
    vec_push(&t->entries, e);
    vec_push(&t->names, name);
    (void)map_add(&t->by_name, name, e);
    return e;
}

static void
add_local(struct target_table *t, const struct config_model *m, const char *name, const char *asked)
{
    vec_push(&entry_of(t, name)->backs,
             ((struct target_back){.model = m, .name = asked, .weight = m->weight}));
}

static bool
is_served(const struct config_model *m, const char *name)
{
    for (size_t i = 0; i < m->served_names.count; i++)
        if (text_eq(m->served_names.items[i], name))
            return true;
    return false;
}

/* The name in the configuration leads to the model even where its engine goes by others. */
static void
add_model(struct target_table *t, const struct config_model *m)
{
    if (!is_served(m, m->name))
        add_local(t, m, m->name, m->served_names.count ? m->served_names.items[0] : m->name);
    for (size_t i = 0; i < m->served_names.count; i++)
        add_local(t, m, m->served_names.items[i], m->served_names.items[i]);
    for (size_t i = 0; i < m->lora.adapters.count; i++)
        add_local(t, m, m->lora.adapters.items[i].name, m->lora.adapters.items[i].name);
}

static void
add_peer(struct target_table *t, const struct config_peer *p)
{
    for (size_t i = 0; i < p->models.count; i++)
        vec_push(
            &entry_of(t, p->models.items[i])->backs,
            ((struct target_back){.peer = p, .name = p->models.items[i], .weight = p->weight}));
}

static void
add_aliases(struct target_table *t, const struct config_pairs *aliases)
{
    for (size_t i = 0; i < aliases->count; i++) {
        struct entry *e = map_get(&t->by_name, aliases->items[i].value);
        /* Of a model that is not enabled: it leads nowhere, and is not shown. */
        if (!e || map_get(&t->by_name, aliases->items[i].name))
            continue;
        (void)map_add(&t->by_name, aliases->items[i].name, e);
        vec_push(&t->names, aliases->items[i].name);
    }
}

/* ---- fallbacks ---- */

struct walk {
    const struct target_table *table;
    struct entry *entry; /* whose fallbacks are collected */
    bool *seen;          /* chains */
};

static bool
has_fallback(const struct entry *e, const struct target *t)
{
    for (size_t i = 0; i < e->fallbacks.count; i++)
        if (e->fallbacks.items[i] == t)
            return true;
    return t == &e->target;
}

/* What a name falls back to, and then what these fall back to. */
static void
walk_chain(struct walk *w, const char *name)
{
    const struct config_chains *chains = &w->table->config->gateway.fallbacks;
    size_t i = 0;
    while (i < chains->count && !text_eq(chains->items[i].name, name))
        i++;
    if (i == chains->count || w->seen[i])
        return;
    w->seen[i] = true;
    const struct config_list *to = &chains->items[i].to;
    for (size_t k = 0; k < to->count; k++) {
        const struct entry *e = map_get(&w->table->by_name, to->items[k]);
        if (e && !has_fallback(w->entry, &e->target))
            vec_push(&w->entry->fallbacks, &e->target);
    }
    for (size_t k = 0; k < to->count; k++)
        walk_chain(w, to->items[k]);
}

static void
finish_entry(const struct target_table *t, struct entry *e)
{
    size_t chains = t->config->gateway.fallbacks.count;
    _cleanup_free_ bool *seen = mem_alloc(MAX(chains, (size_t)1) * sizeof(bool));
    struct walk w = {t, e, seen};
    walk_chain(&w, e->target.name);
    e->target.backs = e->backs.items;
    e->target.back_count = e->backs.count;
    e->target.fallbacks = e->fallbacks.items;
    e->target.fallback_count = e->fallbacks.count;
}

struct target_table *
target_table_new(const struct config *config)
{
    struct target_table *t = mem_new(struct target_table);
    const struct config_gateway *g = &config->gateway;
    t->config = config;
    for (size_t i = 0; i < config->models.count; i++)
        if (config->models.items[i].enabled)
            add_model(t, &config->models.items[i]);
    for (size_t i = 0; i < g->peers.count; i++)
        add_peer(t, &g->peers.items[i]);
    add_aliases(t, &g->aliases);
    vec_foreach (&t->entries, e)
        finish_entry(t, *e);
    return t;
}

void
target_table_free(struct target_table *t)
{
    if (!t)
        return;
    vec_foreach (&t->entries, e) {
        vec_finish(&(*e)->backs);
        vec_finish(&(*e)->fallbacks);
        free(*e);
    }
    vec_finish(&t->entries);
    vec_finish(&t->names);
    map_finish(&t->by_name);
    free(t);
}

/* ---- questions ---- */

const char *
target_name(const struct target_table *table, size_t i)
{
    return i < table->names.count ? table->names.items[i] : NULL;
}

static bool
is_shown(const struct key *key, const char *name, const struct entry *e)
{
    return !key || key_allows(key, name) || key_allows(key, e->target.name);
}

/* What a key is told of. */
struct view {
    const struct target_table *table;
    const struct key *key;
};

/* "": one that it is not told of. */
static const char *
name_at(size_t i, const void *arg)
{
    const struct view *view = arg;
    const char *name = target_name(view->table, i);
    return !name || is_shown(view->key, name, map_get(&view->table->by_name, name)) ? name : "";
}

int
target_find(const struct target_table *table, const struct key *key, const char *name,
            const struct target **ret_target, struct err *reterr)
{
    const struct view view = {table, key};
    const char *wanted = name[0] ? name : table->config->gateway.default_model;
    const struct entry *e = wanted ? map_get(&table->by_name, wanted) : NULL;
    if (e && is_shown(key, wanted, e)) {
        *ret_target = &e->target;
        return 0;
    }
    if (!wanted) {
        int r = err_set(reterr, ERR_NO_MODEL, "the request names no model");
        err_fix(reterr, "name one of those that GET /v1/models lists, in \"model\"");
        return r;
    }
    int r = err_set(reterr, ERR_NO_MODEL, "there is no model '%s' here", wanted);
    err_fix_nearest(reterr, wanted, name_at, &view, "GET /v1/models lists those there are");
    return r;
}

/* Whether a has less to do for its weight than b: (a + 1) / weight(a) < (b + 1) / weight(b). */
static bool
is_freer(const struct target_back *a, const struct target_load *a_load, const struct target_back *b,
         const struct target_load *b_load)
{
    if (!a->weight != !b->weight)
        return a->weight != 0;
    uint64_t a_weight = MAX(a->weight, 1U), b_weight = MAX(b->weight, 1U);
    return (a_load->in_flight + UINT64_C(1)) * b_weight <
           (b_load->in_flight + UINT64_C(1)) * a_weight;
}

static size_t
find_freest(const struct target *target, const struct target_load *loads, uint64_t turn)
{
    size_t best = SIZE_MAX, count = target->back_count;
    for (size_t k = 0; k < count; k++) {
        size_t i = (size_t)((turn + k) % count);
        if (loads[i].usable && (best == SIZE_MAX || is_freer(&target->backs[i], &loads[i],
                                                             &target->backs[best], &loads[best])))
            best = i;
    }
    return best;
}

/* What all that may be chosen have to do, with this request. */
struct total {
    uint64_t in_flight, weight;
};

static struct total
sum_up(const struct target *target, const struct target_load *loads)
{
    struct total all = {.in_flight = 1};
    for (size_t i = 0; i < target->back_count; i++)
        if (loads[i].usable && target->backs[i].weight) {
            all.in_flight += loads[i].in_flight;
            all.weight += target->backs[i].weight;
        }
    return all;
}

/* in_flight <= 1 + 5/4 of its share, so that no talk that all take part
 * in makes one of them hot. */
static bool
has_room(const struct total *all, const struct target_back *back, const struct target_load *load)
{
    uint64_t above = load->in_flight > 1 ? load->in_flight - UINT64_C(1) : 0;
    return above * 4 * all->weight <= 5 * all->in_flight * back->weight;
}

static size_t
find_seen(const struct target *target, const struct target_load *loads, size_t freest)
{
    const struct total all = sum_up(target, loads);
    size_t best = freest;
    for (size_t i = 0; i < target->back_count; i++)
        if (loads[i].usable && target->backs[i].weight && loads[i].seen > loads[best].seen &&
            has_room(&all, &target->backs[i], &loads[i]))
            best = i;
    return best;
}

const struct target_back *
target_choose(const struct target *target, const struct target_load *loads, uint64_t turn)
{
    size_t freest = find_freest(target, loads, turn);
    return freest == SIZE_MAX ? NULL : &target->backs[find_seen(target, loads, freest)];
}
