/* The effective configuration: every option with its value and where that comes from. */

#include "config/show.h"

#include "base/text.h"
#include "config/show_int.h"
#include "config/type_int.h"
#include "fmt/yaml.h"

#include <string.h>

/* One value at a time: 256 texts of 4 KiB, and their nodes. */
#define ARENA_BYTES (4 * MIB)

void
print_flow(struct buf *out, const struct value *v)
{
    bool map = v->type == VALUE_MAP;
    if (v->type == VALUE_STRING) {
        yaml_add_string(out, v->text, v->len);
        return;
    }
    if (v->type < VALUE_LIST) {
        buf_add(out, v->text, v->len);
        return;
    }
    buf_add_char(out, map ? '{' : '[');
    for (const struct value *m = v->first; m; m = m->next) {
        if (m != v->first)
            buf_add_str(out, ", ");
        if (map) {
            yaml_add_string(out, m->name, strlen(m->name));
            buf_add_str(out, ": ");
        }
        print_flow(out, m);
    }
    buf_add_char(out, map ? '}' : ']');
}

enum origin
option_origin(const struct option *o, const void *at, const void *inherit)
{
    const struct section_head *head = at, *defaults = inherit;
    if (value_get(head->given, o->name))
        return ORIGIN_FILE;
    return defaults && value_get(defaults->given, o->name) ? ORIGIN_DEFAULTS : ORIGIN_BUILT_IN;
}

/* Finding. */

static const char *
name_of(size_t i, const void *arg)
{
    const struct section *section = arg;
    return i < section->count ? section->options[i].name : NULL;
}

static int
refuse_path(const char *path, const char *rest, const struct section *section, struct err *reterr)
{
    char name[TEXT_NAME_MAX + 1] = "";
    size_t len = strcspn(rest, ".");
    memcpy(name, rest, MIN(len, sizeof(name) - 1));
    int r = err_set(reterr, ERR_CONFIG_NO_OPTION, "there is no '%s' in %s", name,
                    rest == path ? "the configuration" : path);
    const char *nearest = section ? text_nearest(name, name_of, section) : NULL;
    if (nearest)
        err_fix(reterr, "did you mean %.*s%s?", (int)(rest - path), path, nearest);
    else if (rest == path)
        err_fix(reterr, "citadel config options");
    else
        err_fix(reterr, "citadel config show %.*s", (int)(rest - path) - 1, path);
    return r;
}

/* Whether the path goes on with this name; the rest behind it and its dot. */
static bool
goes_on(const char *path, const char *name, const char **ret_rest)
{
    size_t len = strlen(name);
    if (strncmp(path, name, len) != 0 || (path[len] && path[len] != '.'))
        return false;
    *ret_rest = path[len] ? path + len + 1 : path + len;
    return true;
}

static const struct option *
find_next(const struct section *section, const char *path, const char **ret_rest)
{
    for (size_t i = 0; i < section->count; i++)
        if (goes_on(path, section->options[i].name, ret_rest))
            return &section->options[i];
    return NULL;
}

static bool
find_item(const struct config *config, const struct option *o, const char **rest, struct spot *spot)
{
    const struct section_map *map = option_field(o, spot->at);
    const struct section_head *found = NULL;
    const char *behind = *rest, *after;
    /* Names may hold dots: of qwen2 and qwen2.5, the longer one is meant where both would do. */
    for (size_t i = 0; i < map->count; i++) {
        const struct section_head *head = section_item(o->of, map, i);
        if (goes_on(*rest, head->name, &after) && (!found || after > behind)) {
            found = head;
            behind = after;
        }
    }
    if (!found)
        return false;
    *rest = behind;
    spot->at = found;
    spot->section = o->of;
    spot->inherit = o->of == option_model ? &config->defaults : NULL;
    return true;
}

int
spot_find(const struct config *config, const char *path, struct spot *ret_spot, struct err *reterr)
{
    struct spot spot = {.section = option_root, .at = config};
    const char *rest = path ? path : "";
    while (*rest) {
        const char *here = rest;
        const struct option *o = find_next(spot.section, rest, &rest);
        if (!o)
            return refuse_path(path, here, spot.section, reterr);
        if (o->type == OPTION_GROUP) {
            spot.inherit = spot.inherit ? option_field(o, spot.inherit) : NULL;
            spot.at = option_field(o, spot.at);
            spot.section = o->of;
        } else if (o->type == OPTION_MAP && *rest) {
            if (!find_item(config, o, &rest, &spot))
                return refuse_path(path, rest, NULL, reterr);
        } else if (*rest) {
            return refuse_path(path, rest, NULL, reterr);
        } else {
            spot.section = NULL;
            spot.option = o->type == OPTION_MAP ? NULL : o;
            spot.map = o->type == OPTION_MAP ? o : NULL;
        }
    }
    *ret_spot = spot;
    return 0;
}

/* Visiting. */

static void visit_map(struct visitor *v, const struct option *o, const void *at,
                      const struct trail *trail);

static void
visit_section(struct visitor *v, const struct section *section, const void *at, const void *inherit,
              const struct trail *trail)
{
    for (size_t i = 0; i < section->count; i++) {
        const struct option *o = &section->options[i];
        struct trail inner = {.up = trail, .name = o->name};
        if (o->type == OPTION_GROUP) {
            v->enter(v, o->name, false);
            visit_section(v, o->of, option_field(o, at), inherit ? option_field(o, inherit) : NULL,
                          &inner);
            v->leave(v);
        } else if (o->type == OPTION_MAP) {
            visit_map(v, o, at, &inner);
        } else {
            v->option(v, o, at, inherit, &inner);
        }
    }
}

static void
visit_map(struct visitor *v, const struct option *o, const void *at, const struct trail *trail)
{
    const struct section_map *map = option_field(o, at);
    v->enter(v, o->name, map->count == 0);
    for (size_t i = 0; i < map->count; i++) {
        const struct section_head *head = section_item(o->of, map, i);
        struct trail inner = {.up = trail, .name = head->name};
        v->enter(v, head->name, false);
        visit_section(v, o->of, head, o->of == option_model ? &v->config->defaults : NULL, &inner);
        v->leave(v);
    }
    v->leave(v);
}

void
spot_visit(struct visitor *v, const struct spot *spot, const char *path)
{
    struct trail trail = {.name = path};
    assert(spot->section || spot->map || spot->option);
    if (spot->section)
        visit_section(v, spot->section, spot->at, spot->inherit, path && *path ? &trail : NULL);
    else if (spot->map)
        visit_map(v, spot->map, spot->at, &trail);
    else if (spot->option)
        v->option(v, spot->option, spot->at, spot->inherit, &trail);
}

/* YAML. */

struct yaml_printer {
    struct visitor visitor;
    struct buf *out;
    struct arena arena; /* of the value that is being printed */
    unsigned depth;
};

static void
print_name(struct yaml_printer *p, const char *name)
{
    buf_printf(p->out, "%*s", (int)(2 * p->depth), "");
    yaml_add_string(p->out, name, strlen(name));
    buf_add_char(p->out, ':');
}

static void
yaml_enter(struct visitor *v, const char *name, bool empty)
{
    struct yaml_printer *p = (struct yaml_printer *)v;
    print_name(p, name);
    buf_add_str(p->out, empty ? " {}\n" : "\n");
    p->depth++;
}

static void
yaml_leave(struct visitor *v)
{
    ((struct yaml_printer *)v)->depth--;
}

static void
yaml_option(struct visitor *v, const struct option *o, const void *at, const void *inherit,
            const struct trail *trail unused_arg)
{
    static const char *const origins[] = {
        [ORIGIN_FILE] = "",
        [ORIGIN_DEFAULTS] = "  # from defaults",
        [ORIGIN_BUILT_IN] = "  # default",
    };
    struct yaml_printer *p = (struct yaml_printer *)v;
    const struct value *value = type_write(&p->arena, o, option_field(o, at));
    print_name(p, o->name);
    buf_add_char(p->out, ' ');
    if (value)
        print_flow(p->out, value);
    buf_printf(p->out, "%s\n", origins[option_origin(o, at, inherit)]);
    arena_finish(&p->arena);
}

/* The value of one option is for a script: a text as it is, without quotes. */
static void
print_alone(struct arena *arena, const struct spot *spot, struct buf *out)
{
    const struct value *v = type_write(arena, spot->option, option_field(spot->option, spot->at));
    if (v && v->type == VALUE_STRING)
        buf_add(out, v->text, v->len);
    else if (v)
        print_flow(out, v);
    buf_add_char(out, '\n');
    arena_finish(arena);
}

int
config_print(const struct config *config, const char *path, struct buf *out, struct err *reterr)
{
    struct yaml_printer p = {.visitor = {yaml_enter, yaml_leave, yaml_option, config}, .out = out};
    struct spot spot = {0};
    int r = spot_find(config, path, &spot, reterr);
    if (r < 0)
        return r;
    arena_init(&p.arena, ARENA_BYTES);
    if (spot.option)
        print_alone(&p.arena, &spot, out);
    else
        spot_visit(&p.visitor, &spot, path);
    return 0;
}

/* JSON. */

struct json_printer {
    struct visitor visitor;
    struct json_writer *w;
    struct arena arena;
    const char *name; /* instead of the option's own; NULL: that */
};

static void
json_enter(struct visitor *v, const char *name, bool empty unused_arg)
{
    json_open_map(((struct json_printer *)v)->w, name);
}

static void
json_leave(struct visitor *v)
{
    json_close_map(((struct json_printer *)v)->w);
}

static void
json_option(struct visitor *v, const struct option *o, const void *at,
            const void *inherit unused_arg, const struct trail *trail unused_arg)
{
    struct json_printer *p = (struct json_printer *)v;
    const struct value *value = type_write(&p->arena, o, option_field(o, at));
    if (value)
        json_value(p->w, p->name ? p->name : o->name, value);
    arena_finish(&p->arena);
}

static void
skip(struct visitor *v unused_arg, const char *name unused_arg, bool empty unused_arg)
{
}

static void
skip_back(struct visitor *v unused_arg)
{
}

static void
json_defaulted(struct visitor *v, const struct option *o, const void *at, const void *inherit,
               const struct trail *trail)
{
    char path[TRAIL_MAX];
    if (option_origin(o, at, inherit) == ORIGIN_BUILT_IN)
        json_str(((struct json_printer *)v)->w, NULL, trail_print(trail, path));
}

int
config_print_json(const struct config *config, const char *path, struct json_writer *w,
                  struct err *reterr)
{
    struct json_printer p = {.visitor = {json_enter, json_leave, json_option, config}, .w = w};
    struct json_printer defaults = {.visitor = {skip, skip_back, json_defaulted, config}, .w = w};
    struct spot spot = {0};
    int r = spot_find(config, path, &spot, reterr);
    if (r < 0)
        return r;
    arena_init(&p.arena, ARENA_BYTES);
    json_open_map(w, NULL);
    json_str(w, "file", config->name);
    json_str(w, "path", path ? path : "");
    if (spot.option) {
        p.name = "config";
        spot_visit(&p.visitor, &spot, path);
    } else {
        json_open_map(w, "config");
        spot_visit(&p.visitor, &spot, path);
        json_close_map(w);
    }
    json_open_list(w, "defaulted");
    spot_visit(&defaults.visitor, &spot, path);
    json_close_list(w);
    json_close_map(w);
    return 0;
}
