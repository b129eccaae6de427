/* Types of several parts: lists, maps, and secrets, which say where they are. */

#include "base/text.h"
#include "config/schedule_int.h"
#include "config/type_row_int.h"
#include "sys/root.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATTERN_NAMES "letters, digits and '_', not beginning with a digit"

bool
type_is_network(const char *text)
{
    char address[INET6_ADDRSTRLEN];
    size_t len = strcspn(text, "/");
    if (len >= sizeof(address))
        return false;
    memcpy(address, text, len);
    address[len] = '\0';
    if (!type_is_address(address) || !text[len])
        return text[len] == '\0' && type_is_address(address);
    const char *bits = text + len + 1;
    size_t digits = strspn(bits, "0123456789");
    return digits >= 1 && digits <= 3 && !bits[digits] &&
           strtoul(bits, NULL, 10) <= (strchr(address, ':') ? 128 : 32);
}

/* "0", or as the driver names it: GPU-8e0f..., MIG-... */
bool
type_is_device(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    if (digits > 0)
        return digits <= 2 && !text[digits] && (digits == 1 || *text != '0');
    return (text_starts(text, "GPU-") || text_starts(text, "MIG-")) && text[4] &&
           strlen(text) < 64 && strchr(text, ' ') == NULL;
}

/* Whether v is a list (or map) with as many members as the row allows. */
static bool
is_sized(const struct reading *r, const struct value *v, enum value_type type)
{
    struct type_range range;
    if (v->type != type)
        return type_refuse(r, v);
    if (type_range(r->option, &range) &&
        (v->count < strtoul(range.low, NULL, 10) || v->count > strtoul(range.high, NULL, 10))) {
        char allowed[64];
        (void)snprintf(allowed, sizeof(allowed), "%s to %s", range.low, range.high);
        return type_refuse_because(r, v->at, allowed, "has %zu entries", v->count);
    }
    return true;
}

/* What a member of a list or map is, as an option of its own. */
static struct option
item_option(const struct option *o, enum option_type type)
{
    return (struct option){.name = o->name, .type = type, .help = o->help};
}

/* Reads the members one after the other, `bytes` apart; all of them, also behind a wrong one. */
static bool
read_members(const struct reading *r, const struct value *v, const struct option *item, void *items,
             size_t bytes)
{
    bool ok = true;
    size_t count = 0;
    for (const struct value *m = v->first; m; m = m->next, count++) {
        struct trail trail = {.up = r->trail, .name = m->name, .index = count};
        struct reading inner = *r;
        inner.option = item;
        inner.trail = &trail;
        ok = type_read(&inner, m, (char *)items + count * bytes) && ok;
    }
    return ok;
}

bool
type_read_list(const struct reading *r, const struct value *v, void *field)
{
    struct config_list *ret = field;
    struct option item = item_option(r->option, types[r->option->type].item);
    if (!is_sized(r, v, VALUE_LIST))
        return false;
    const char **items = arena_alloc(r->arena, (v->count + 1) * sizeof(*items));
    if (!items || !read_members(r, v, &item, items, sizeof(*items)))
        return false;
    *ret = (struct config_list){v->count ? items : NULL, v->count};
    return true;
}

static struct value *
append(struct value *container, struct value **last, struct value *v)
{
    if (!container || !v)
        return NULL;
    if (*last)
        (*last)->next = v;
    else
        container->first = v;
    *last = v;
    container->count++;
    return container;
}

static struct value *
write_items(struct arena *arena, const struct option *o, const struct config_list *list)
{
    struct value *v = type_new(arena, VALUE_LIST, NULL), *last = NULL;
    struct option item = item_option(o, types[o->type].item);
    for (size_t i = 0; v && i < list->count; i++)
        v = append(v, &last, type_write(arena, &item, &list->items[i]));
    return v;
}

struct value *
type_write_list(struct arena *arena, const struct option *o, const void *field)
{
    return write_items(arena, o, field);
}

static struct option
pair_option(const struct option *o)
{
    return item_option(o, o->type == OPTION_PLACES ? OPTION_PLACE : OPTION_TEXT_OR_NONE);
}

bool
type_read_pairs(const struct reading *r, const struct value *v, void *field)
{
    struct config_pairs *ret = field;
    struct option item = pair_option(r->option);
    if (!is_sized(r, v, VALUE_MAP))
        return false;
    struct config_pair *items = arena_alloc(r->arena, (v->count + 1) * sizeof(*items));
    if (!items || !read_members(r, v, &item, &items->value, sizeof(*items)))
        return false;
    size_t count = 0;
    for (const struct value *m = v->first; m; m = m->next)
        items[count++].name = m->name;
    *ret = (struct config_pairs){count ? items : NULL, count};
    return true;
}

struct value *
type_write_pairs(struct arena *arena, const struct option *o, const void *field)
{
    const struct config_pairs *pairs = field;
    struct value *v = type_new(arena, VALUE_MAP, NULL), *last = NULL;
    struct option item = pair_option(o);
    for (size_t i = 0; v && i < pairs->count; i++) {
        struct value *m = type_write(arena, &item, &pairs->items[i].value);
        if (m)
            m->name = pairs->items[i].name;
        v = append(v, &last, m);
    }
    return v;
}

bool
type_read_chains(const struct reading *r, const struct value *v, void *field)
{
    struct config_chains *ret = field;
    struct option item = item_option(r->option, OPTION_TEXTS);
    item.range = "1..16";
    if (!is_sized(r, v, VALUE_MAP))
        return false;
    struct config_chain *items = arena_alloc(r->arena, (v->count + 1) * sizeof(*items));
    if (!items || !read_members(r, v, &item, &items->to, sizeof(*items)))
        return false;
    size_t count = 0;
    for (const struct value *m = v->first; m; m = m->next)
        items[count++].name = m->name;
    *ret = (struct config_chains){count ? items : NULL, count};
    return true;
}

struct value *
type_write_chains(struct arena *arena, const struct option *o, const void *field)
{
    const struct config_chains *chains = field;
    struct value *v = type_new(arena, VALUE_MAP, NULL), *last = NULL;
    struct option list = item_option(o, OPTION_TEXTS);
    for (size_t i = 0; v && i < chains->count; i++) {
        struct value *m = write_items(arena, &list, &chains->items[i].to);
        if (m)
            m->name = chains->items[i].name;
        v = append(v, &last, m);
    }
    return v;
}

bool
type_read_schedules(const struct reading *r, const struct value *v, void *field)
{
    struct config_schedules *ret = field;
    struct option item = item_option(r->option, OPTION_SCHEDULE);
    if (!is_sized(r, v, VALUE_LIST))
        return false;
    struct config_schedule *items = arena_alloc(r->arena, (v->count + 1) * sizeof(*items));
    if (!items || !read_members(r, v, &item, items, sizeof(*items)))
        return false;
    *ret = (struct config_schedules){v->count ? items : NULL, v->count};
    return true;
}

struct value *
type_write_schedules(struct arena *arena, const struct option *o, const void *field)
{
    const struct config_schedules *list = field;
    struct value *v = type_new(arena, VALUE_LIST, NULL), *last = NULL;
    struct option item = item_option(o, OPTION_SCHEDULE);
    for (size_t i = 0; v && i < list->count; i++)
        v = append(v, &last, type_write(arena, &item, &list->items[i]));
    return v;
}

/* Secrets. */

static const char *const secret_kinds[] = {
    [CONFIG_SECRET_FILE] = "file",
    [CONFIG_SECRET_ENV] = "env",
    [CONFIG_SECRET_CREDENTIAL] = "credential",
};

static bool
is_variable(const char *text)
{
    size_t len = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    return len > 0 && len < 128 && !text[len] && !(*text >= '0' && *text <= '9');
}

static bool
is_reference(enum config_secret_kind kind, const char *text)
{
    if (kind == CONFIG_SECRET_FILE)
        return root_takes_absolute(text);
    return kind == CONFIG_SECRET_ENV ? is_variable(text) : text_is_name(text);
}

/* The value itself must not be repeated: the message ends in logs. */
static bool
refuse_secret(const struct reading *r, const struct value *v)
{
    char allowed[256];
    (void)snprintf(allowed, sizeof(allowed),
                   "keep it with `citadel secrets set NAME`, and write %s: {credential: NAME}; or "
                   "{file: /PATH} of a file that only root reads, or {env: NAME}",
                   r->option->name);
    if (v->type == VALUE_NULL || v->type == VALUE_LIST)
        return type_refuse(r, v);
    return type_refuse_because(r, v->at, allowed,
                               v->type == VALUE_MAP ? "does not say where the secret is"
                                                    : "holds the secret itself");
}

bool
type_read_secret(const struct reading *r, const struct value *v, void *field)
{
    struct config_secret *ret = field;
    const struct value *m = v->first;
    if (v->type != VALUE_MAP || v->count != 1)
        return refuse_secret(r, v);
    for (enum config_secret_kind kind = CONFIG_SECRET_FILE; kind <= CONFIG_SECRET_CREDENTIAL;
         kind++) {
        const char *text = type_text(m);
        if (!text_eq(m->name, secret_kinds[kind]))
            continue;
        if (!text || !is_reference(kind, text))
            return type_refuse_because(r, m->at,
                                       kind == CONFIG_SECRET_FILE ? "an absolute path without '..'"
                                       : kind == CONFIG_SECRET_ENV
                                           ? "the name of a variable: " PATTERN_NAMES
                                           : "the name of a credential: "
                                             "small letters, digits, '-', '_', '.'",
                                       "does not say where the secret is");
        ret->kind = kind;
        ret->where =
            kind == CONFIG_SECRET_FILE ? root_path(r->arena, text) : arena_strdup(r->arena, text);
        return true;
    }
    return refuse_secret(r, v);
}

struct value *
type_write_secret(struct arena *arena, const struct option *o unused_arg, const void *field)
{
    const struct config_secret *secret = field;
    struct value *v = type_new(arena, VALUE_MAP, NULL), *last = NULL;
    bool file = secret->kind == CONFIG_SECRET_FILE;
    if (secret->kind == CONFIG_SECRET_NONE)
        return v;
    struct value *m =
        type_new(arena, VALUE_STRING, file ? root_strip(secret->where) : secret->where);
    if (m)
        m->name = secret_kinds[secret->kind];
    return append(v, &last, m);
}
