/* From the tree of a file to the structs. Options that are absent or wrong get the value they would
 * have without the line, so that the checks that follow see nothing impossible. */

#include "config/read_int.h"

#include "base/text.h"
#include "config/type_int.h"
#include "fmt/yaml.h"

#include <stdio.h>
#include <string.h>

/* Where a section is read from, and what holds where it says nothing. */
struct source {
    const struct trail *trail;
    const struct value *given;  /* in the file; NULL: nothing */
    const struct value *preset; /* of the group; NULL: nothing */
    const void *inherit;        /* a struct of the same section; NULL: the defaults of the rows */
};

static void read_section(const struct loading *l, const struct section *section,
                         const struct source *source, void *ret);

/* Options as other programs call them. */
static const char *
known_elsewhere(const char *name)
{
    static const struct {
        const char *foreign;
        const char *ours;
    } names[] = {
        {"gpu_memory_utilization", "gpu_memory_fraction"},
        {"gpu_memory", "gpu_memory_fraction"},
        {"tensor_parallel_size", "tensor_parallel"},
        {"tp", "tensor_parallel"},
        {"pipeline_parallel_size", "pipeline_parallel"},
        {"pp", "pipeline_parallel"},
        {"max_seq_len", "max_model_len"},
        {"context_length", "max_model_len"},
        {"ctx_size", "max_model_len"},
        {"served_model_name", "served_names"},
        {"enable_prefix_caching", "prefix_caching"},
        {"enable_chunked_prefill", "chunked_prefill"},
        {"model", "path"},
        {"args", "extra_args"},
        {"env", "extra_env"},
        {"environment", "extra_env"},
        {"keep_alive", "idle_after"},
        {"ttl", "idle_after"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcasecmp(name, names[i].foreign) == 0)
            return names[i].ours;
    return NULL;
}

static const char *
option_name(size_t i, const void *arg)
{
    const struct section *section = arg;
    return i < section->count ? section->options[i].name : NULL;
}

/* The only place in the table where an option of that name stands: "gateway.limits.". */
static unsigned
find_places(const struct section *section, const char *name, const char *prefix, char *ret_place,
            size_t room)
{
    unsigned found = 0;
    for (size_t i = 0; i < section->count; i++) {
        const struct option *o = &section->options[i];
        char inner[128];
        if (text_eq(o->name, name)) {
            found++;
            (void)snprintf(ret_place, room, "%s", prefix);
        }
        /* The same options stand under `defaults` and under `models`. */
        if (!o->of || text_eq(o->name, "defaults"))
            continue;
        (void)snprintf(inner, sizeof(inner), "%s%s.%s", prefix, o->name,
                       o->type == OPTION_MAP ? "NAME." : "");
        found += find_places(o->of, name, inner, ret_place, room);
    }
    return found;
}

static void
refuse_unknown(const struct loading *l, const struct section *section, const struct trail *trail,
               const struct value *v)
{
    char path[TRAIL_MAX], place[128], allowed[256] = "";
    /* Looking for the nearest word is worth it only while somebody will read it. */
    if (l->problems->count < CONFIG_PROBLEMS_MAX) {
        const char *foreign = known_elsewhere(v->name);
        const char *nearest = text_nearest(v->name, option_name, section);
        if (foreign && option_find(section, foreign))
            nearest = foreign;
        if (nearest)
            (void)snprintf(allowed, sizeof(allowed), "did you mean %s?", nearest);
        else if (find_places(option_root, v->name, "", place, sizeof(place)) == 1)
            (void)snprintf(allowed, sizeof(allowed), "it belongs elsewhere: %s%s", place, v->name);
        else
            (void)snprintf(allowed, sizeof(allowed), "see `citadel config options%s%s`",
                           trail ? " " : "", trail_print(trail, path));
    }
    struct trail unknown = {.up = trail, .name = v->name};
    problem_add(l->problems, v->name_at, allowed, "%s is no option", trail_print(&unknown, path));
}

/* Maps of texts are added to those of the defaults; one's own entries come first and win, and the
 * word `none` instead of a map takes none. */
static void
merge_pairs(const struct loading *l, const struct config_pairs *inherited, struct config_pairs *own)
{
    size_t count = own->count;
    struct config_pair *items =
        arena_alloc(l->arena, (own->count + inherited->count + 1) * sizeof(*items));
    if (!items)
        return;
    for (size_t i = 0; i < own->count; i++)
        items[i] = own->items[i];
    for (size_t i = 0; i < inherited->count; i++) {
        bool taken = false;
        for (size_t k = 0; k < own->count && !taken; k++)
            taken = text_eq(own->items[k].name, inherited->items[i].name);
        if (!taken)
            items[count++] = inherited->items[i];
    }
    *own = (struct config_pairs){count ? items : NULL, count};
}

static void
read_default(const struct reading *r, const struct source *source, void *field)
{
    char path[TRAIL_MAX];
    struct value_at at = source->given ? source->given->name_at : (struct value_at){0};
    struct reading preset = *r;
    preset.preset = true;
    if (source->inherit) {
        memcpy(field, option_field(r->option, source->inherit), types[r->option->type].bytes);
    } else if (r->option->preset) {
        type_read_preset(&preset, field);
    } else {
        _cleanup_buf_ struct buf allowed = BUF_INIT(512);
        type_tell_allowed(r->option, &allowed);
        problem_add(r->problems, at, allowed.data, "%s is missing", trail_print(r->trail, path));
    }
}

static void
read_option(const struct loading *l, const struct option *o, const struct source *source, void *ret)
{
    const struct value *v = value_get(source->given, o->name);
    struct trail trail = {.up = source->trail, .name = o->name};
    struct reading r = {
        .arena = l->arena,
        .problems = l->problems,
        .trail = &trail,
        .option = o,
        .paths = &l->config->paths,
    };
    void *field = option_slot(o, ret);
    bool given = v != NULL;
    if (!v)
        v = value_get(source->preset, o->name);
    if (!v) {
        read_default(&r, source, field);
        return;
    }
    if (!type_read(&r, v, field)) {
        if (source->inherit || o->preset)
            read_default(&r, source, field);
        return;
    }
    if (given && source->inherit && o->type == OPTION_PAIRS && v->type == VALUE_MAP)
        merge_pairs(l, option_field(o, source->inherit), field);
}

/* Nothing after the ':' is an empty section: all its lines may be comments. */
static bool
is_section(const struct loading *l, const struct trail *trail, const struct value *v,
           const char *allowed)
{
    char path[TRAIL_MAX];
    if (!v || v->type == VALUE_MAP || v->type == VALUE_NULL)
        return true;
    problem_add(l->problems, v->at, allowed, "%s is %s",
                trail ? trail_print(trail, path) : "the file", value_type_name(v->type));
    return false;
}

static void
read_group(const struct loading *l, const struct option *o, const struct source *source, void *ret)
{
    struct trail trail = {.up = source->trail, .name = o->name};
    struct source inner = {
        .trail = &trail,
        .given = value_get(source->given, o->name),
        .preset = option_presets(o, l->arena),
        .inherit = source->inherit ? option_field(o, source->inherit) : NULL,
    };
    if (!is_section(l, &trail, inner.given, "a map of options"))
        inner.given = NULL;
    read_section(l, o->of, &inner, option_slot(o, ret));
}

static bool
is_item_name(const struct loading *l, const struct trail *map, const struct value *v)
{
    char path[TRAIL_MAX];
    if (text_is_name(v->name))
        return true;
    problem_add(l->problems, v->name_at,
                "a name of small letters, digits, '-', '_' and '.', beginning with a letter or "
                "digit, 63 at most",
                "%s has the name '%s'", trail_print(map, path), v->name);
    return false;
}

static void
read_map(const struct loading *l, const struct option *o, const struct source *source, void *ret)
{
    struct trail trail = {.up = source->trail, .name = o->name};
    const struct value *given = value_get(source->given, o->name);
    struct section_map *map = option_slot(o, ret);
    char path[TRAIL_MAX];
    if (!is_section(l, &trail, given, "a map of names, each with its options") || !given)
        return;
    if (given->count > CONFIG_MODELS_MAX) {
        problem_add(l->problems, given->at, "256 at most", "%s has %zu entries",
                    trail_print(&trail, path), given->count);
        return;
    }
    map->items = arena_alloc(l->arena, (given->count + 1) * o->of->bytes);
    for (const struct value *v = given->first; v && map->items; v = v->next) {
        struct trail item = {.up = &trail, .name = v->name};
        struct source inner = {
            .trail = &item,
            .given = v,
            .inherit = o->of == option_model ? &l->config->defaults : NULL,
        };
        if (!is_item_name(l, &trail, v) || !is_section(l, &item, v, "a map of options"))
            continue;
        struct section_head *head = section_item(o->of, map, map->count++);
        read_section(l, o->of, &inner, head);
        head->name = v->name;
    }
}

static void
read_section(const struct loading *l, const struct section *section, const struct source *source,
             void *ret)
{
    struct section_head *head = ret;
    head->name = source->trail ? source->trail->name : l->problems->file;
    head->given = source->given;
    for (size_t i = 0; i < section->count; i++) {
        const struct option *o = &section->options[i];
        if (o->type == OPTION_GROUP)
            read_group(l, o, source, ret);
        else if (o->type == OPTION_MAP)
            read_map(l, o, source, ret);
        else
            read_option(l, o, source, ret);
    }
    if (!source->given || source->given->type != VALUE_MAP)
        return;
    for (const struct value *v = source->given->first; v; v = v->next)
        if (!option_find(section, v->name))
            refuse_unknown(l, section, source->trail, v);
}

void
config_read(const struct loading *l, const struct value *tree)
{
    struct source source = {.given = tree};
    if (!is_section(l, NULL, tree, "a map of options, beginning with models:"))
        source.given = NULL;
    read_section(l, option_root, &source, l->config);
}
