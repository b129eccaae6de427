/* What differs between two configurations, option by option. */

#include "config/diff.h"

#include "base/text.h"
#include "base/vec.h"
#include "config/show_int.h"
#include "config/type_int.h"

/* Two texts for each option of 256 models at most, and one value at a time. */
#define ARENA_BYTES (64 * MIB)
#define VALUE_BYTES (4 * MIB)
#define TEXT_BYTES (2 * MIB)

struct differ {
    struct arena *arena;
    VEC(struct config_change) changes;
};

static void diff_section(struct differ *d, const struct section *section, const void *from,
                         const void *to, const struct trail *trail, const char *model);

static void
note(struct differ *d, const struct trail *trail, const char *model, const char *from,
     const char *to, enum config_reload reload)
{
    char path[TRAIL_MAX];
    struct config_change *change = vec_add(&d->changes);
    *change = (struct config_change){
        .path = arena_strdup(d->arena, trail_print(trail, path)),
        .model = model,
        .from = from ? arena_strdup(d->arena, from) : NULL,
        .to = to ? arena_strdup(d->arena, to) : NULL,
        .reload = reload,
    };
}

static void
add_text(struct buf *out, const struct option *o, const void *at)
{
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, VALUE_BYTES);
    const struct value *v = type_write(&arena, o, option_field(o, at));
    if (v)
        print_flow(out, v);
}

static void
diff_option(struct differ *d, const struct option *o, const void *from, const void *to,
            const struct trail *trail, const char *model)
{
    _cleanup_buf_ struct buf before = BUF_INIT(TEXT_BYTES), after = BUF_INIT(TEXT_BYTES);
    add_text(&before, o, from);
    add_text(&after, o, to);
    if (!text_eq(before.data, after.data))
        note(d, trail, model, before.data, after.data, o->reload);
}

static const struct section_head *
find_item(const struct option *o, const struct section_map *map, const char *name)
{
    for (size_t i = 0; i < map->count; i++)
        if (text_eq(section_item(o->of, map, i)->name, name))
            return section_item(o->of, map, i);
    return NULL;
}

/* Models come and go by a deployment; peers and notifiers do so at once. */
static void
diff_map(struct differ *d, const struct option *o, const void *from, const void *to,
         const struct trail *trail)
{
    const struct section_map *old = option_field(o, from), *new = option_field(o, to);
    bool models = o->of == option_model;
    enum config_reload reload = models ? CONFIG_RELOAD_DEPLOY : CONFIG_RELOAD_LIVE;
    for (size_t i = 0; i < old->count; i++) {
        const struct section_head *was = section_item(o->of, old, i);
        const struct section_head *is = find_item(o, new, was->name);
        struct trail item = {.up = trail, .name = was->name};
        const char *model = models ? arena_strdup(d->arena, was->name) : NULL;
        if (is)
            diff_section(d, o->of, was, is, &item, model);
        else
            note(d, &item, model, "", NULL, reload);
    }
    for (size_t i = 0; i < new->count; i++) {
        const struct section_head *is = section_item(o->of, new, i);
        struct trail item = {.up = trail, .name = is->name};
        if (!find_item(o, old, is->name))
            note(d, &item, models ? arena_strdup(d->arena, is->name) : NULL, NULL, "", reload);
    }
}

static void
diff_section(struct differ *d, const struct section *section, const void *from, const void *to,
             const struct trail *trail, const char *model)
{
    for (size_t i = 0; i < section->count; i++) {
        const struct option *o = &section->options[i];
        struct trail inner = {.up = trail, .name = o->name};
        /* What the defaults say shows in each model that it changes. */
        if (section == option_root && text_eq(o->name, "defaults"))
            continue;
        if (o->type == OPTION_GROUP)
            diff_section(d, o->of, option_field(o, from), option_field(o, to), &inner, model);
        else if (o->type == OPTION_MAP)
            diff_map(d, o, from, to, &inner);
        else
            diff_option(d, o, from, to, &inner, model);
    }
}

int
config_diff(const struct config *from, const struct config *to, struct config_diff *ret_diff,
            struct err *reterr)
{
    struct differ d = {.arena = &ret_diff->arena};
    arena_init(&ret_diff->arena, ARENA_BYTES);
    diff_section(&d, option_root, from, to, NULL, NULL);
    ret_diff->items = d.changes.items;
    ret_diff->count = d.changes.count;
    if (!ret_diff->arena.full)
        return 0;
    config_diff_finish(ret_diff);
    return err_set(reterr, ERR_TOO_LARGE, "the two configurations differ in too much to be told");
}

void
config_diff_finish(struct config_diff *diff)
{
    arena_finish(&diff->arena);
    free(diff->items);
    diff->items = NULL;
    diff->count = 0;
}
