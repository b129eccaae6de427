/* The table of options told to editors: JSON Schema, draft 2020-12. What needs two options to be
 * seen together (ports, references) is left to `citadel config check`. */

#include "config/show.h"

#include "base/map.h"
#include "base/quantity.h"
#include "base/text.h"
#include "config/option_int.h"
#include "config/type_int.h"
#include "fmt/yaml.h"

#include <stdio.h>
#include <string.h>

#define NAME_PATTERN "^[a-z0-9][a-z0-9._-]{0,62}$"

static void
write_types(struct json_writer *w, const char *first, const char *second, const char *third)
{
    json_open_list(w, "type");
    json_str(w, NULL, first);
    json_str(w, NULL, second);
    if (third)
        json_str(w, NULL, third);
    json_close_list(w);
}

static void
write_range(struct json_writer *w, const struct option *o, const char *low_name,
            const char *high_name)
{
    struct type_range range;
    double low, high;
    if (!type_range(o, &range) || quantity_parse_real(range.low, &low, NULL) < 0 ||
        quantity_parse_real(range.high, &high, NULL) < 0)
        return;
    json_real(w, low_name, low);
    json_real(w, high_name, high);
}

static void
write_pattern(struct json_writer *w, const char *pattern)
{
    char whole[512];
    int len = snprintf(whole, sizeof(whole), "^(%s)$", pattern);
    assert(len > 0 && (size_t)len < sizeof(whole));
    json_str(w, "type", "string");
    json_str(w, "pattern", whole);
}

static void
write_text(struct json_writer *w, const struct type *type)
{
    if (type->pattern)
        write_pattern(w, type->pattern);
    else
        write_types(w, "string", "number", "boolean");
}

static void
write_map(struct json_writer *w, const struct option *o)
{
    json_str(w, "type", "object");
    write_range(w, o, "minProperties", "maxProperties");
    json_open_map(w, "additionalProperties");
    if (o->type == OPTION_CHAINS) {
        json_str(w, "type", "array");
        json_u64(w, "minItems", 1);
        json_open_map(w, "items");
        json_str(w, "type", "string");
        json_close_map(w);
    } else {
        write_types(w, "string", "number", "boolean");
    }
    json_close_map(w);
}

static void
write_list(struct json_writer *w, const struct option *o, const struct type *item)
{
    json_str(w, "type", "array");
    write_range(w, o, "minItems", "maxItems");
    json_open_map(w, "items");
    /* Indices of GPUs are written as numbers. */
    if (item == &types[OPTION_DEVICE])
        write_types(w, "string", "integer", NULL);
    else
        write_text(w, item);
    json_close_map(w);
}

static void
write_secret(struct json_writer *w)
{
    static const char *const kinds[] = {"file", "env", "credential"};
    json_str(w, "type", "object");
    json_bool(w, "additionalProperties", false);
    json_u64(w, "minProperties", 1);
    json_u64(w, "maxProperties", 1);
    json_open_map(w, "properties");
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        json_open_map(w, kinds[i]);
        json_str(w, "type", "string");
        json_close_map(w);
    }
    json_close_map(w);
}

/* Either of two: a number, or a text with a unit. */
static void
write_either(struct json_writer *w, const struct option *o, const struct type *type)
{
    json_open_list(w, "anyOf");
    json_open_map(w, NULL);
    if (o->type == OPTION_PERCENT) {
        json_str(w, "type", "number");
        write_range(w, o, "minimum", "maximum");
    } else {
        json_u64(w, "const", 0);
    }
    json_close_map(w);
    json_open_map(w, NULL);
    write_pattern(w, type->pattern);
    json_close_map(w);
    json_close_list(w);
}

static void
write_words(struct json_writer *w, const struct words *words)
{
    json_open_list(w, "enum");
    for (size_t i = 0; i < words->count; i++)
        json_str(w, NULL, words->items[i].word);
    json_close_list(w);
}

static void
write_switch(struct json_writer *w)
{
    json_open_list(w, "enum");
    json_bool(w, NULL, true);
    json_bool(w, NULL, false);
    json_str(w, NULL, "auto");
    json_close_list(w);
}

static void
write_value(struct json_writer *w, const struct option *o)
{
    const struct type *type = &types[o->type];
    switch ((int)o->type) {
    case OPTION_BOOL:
        json_str(w, "type", type->json);
        break;
    case OPTION_SWITCH:
        write_switch(w);
        break;
    case OPTION_COUNT:
    case OPTION_PORT:
    case OPTION_REAL:
        json_str(w, "type", type->json);
        write_range(w, o, "minimum", "maximum");
        break;
    case OPTION_PERCENT:
    case OPTION_BYTES:
    case OPTION_DURATION:
        write_either(w, o, type);
        break;
    case OPTION_CHOICE:
        write_words(w, o->words);
        break;
    case OPTION_PAIRS:
    case OPTION_PLACES:
    case OPTION_CHAINS:
        write_map(w, o);
        break;
    case OPTION_SECRET:
        write_secret(w);
        break;
    case OPTION_SCHEDULES:
        write_list(w, o, &types[OPTION_SCHEDULE]);
        break;
    default:
        if (type->item == OPTION_TYPES)
            write_text(w, type);
        else
            write_list(w, o, &types[type->item]);
    }
}

/* The default as JSON; one that depends on another option is left out. */
static void
write_default(struct json_writer *w, const struct option *o)
{
    _cleanup_arena_ struct arena arena;
    const char *rest;
    arena_init(&arena, PRESETS_BYTES);
    if (o->preset && !option_base(o->preset, &rest))
        json_value(w, "default", option_presets(o, &arena));
}

static void
write_option(struct json_writer *w, const struct option *o)
{
    json_open_map(w, o->name);
    json_str(w, "description", o->help);
    write_default(w, o);
    if (o->word) {
        json_open_list(w, "anyOf");
        json_open_map(w, NULL);
        json_str(w, "const", o->word);
        json_close_map(w);
        json_open_map(w, NULL);
        write_value(w, o);
        json_close_map(w);
        json_close_list(w);
    } else {
        write_value(w, o);
    }
    json_close_map(w);
}

static void
write_reference(struct json_writer *w, const struct section *section)
{
    char reference[128];
    (void)snprintf(reference, sizeof(reference), "#/$defs/%s", section->name);
    json_str(w, "$ref", reference);
}

static void
write_inner(struct json_writer *w, const struct option *o)
{
    json_open_map(w, o->name);
    json_str(w, "description", o->help);
    write_default(w, o);
    if (o->type == OPTION_GROUP) {
        write_reference(w, o->of);
    } else {
        write_types(w, "object", "null", NULL);
        json_open_map(w, "propertyNames");
        json_str(w, "pattern", NAME_PATTERN);
        json_close_map(w);
        json_open_map(w, "additionalProperties");
        write_reference(w, o->of);
        json_close_map(w);
    }
    json_close_map(w);
}

/* What has no default must be given, unless the group that embeds the section presets it. */
static bool
is_required(const struct section *section, const struct option *o)
{
    return !o->of && !o->preset && !text_starts(section->name, "alert_");
}

static void
write_required(struct json_writer *w, const struct section *section)
{
    size_t count = 0;
    for (size_t i = 0; i < section->count; i++)
        count += is_required(section, &section->options[i]);
    if (count == 0)
        return;
    json_open_list(w, "required");
    for (size_t i = 0; i < section->count; i++)
        if (is_required(section, &section->options[i]))
            json_str(w, NULL, section->options[i].name);
    json_close_list(w);
}

static void
write_section(struct json_writer *w, const struct section *section)
{
    json_str(w, "description", section->help);
    write_types(w, "object", "null", NULL);
    json_bool(w, "additionalProperties", false);
    write_required(w, section);
    json_open_map(w, "properties");
    for (size_t i = 0; i < section->count; i++) {
        if (section->options[i].of)
            write_inner(w, &section->options[i]);
        else
            write_option(w, &section->options[i]);
    }
    json_close_map(w);
}

/* Each section once, under its name. */
static void
write_definitions(struct json_writer *w, const struct section *section, struct map *written)
{
    for (size_t i = 0; i < section->count; i++) {
        const struct section *of = section->options[i].of;
        if (!of || map_get(written, of->name))
            continue;
        (void)map_add(written, of->name, written); /* the name is all that counts */
        json_open_map(w, of->name);
        write_section(w, of);
        json_close_map(w);
        write_definitions(w, of, written);
    }
}

void
config_print_schema(struct buf *out)
{
    _cleanup_map_ struct map written = {0};
    struct json_writer w;
    json_init(&w, out, true);
    json_open_map(&w, NULL);
    json_str(&w, "$schema", "https://json-schema.org/draft/2020-12/schema");
    json_str(&w, "title", "citadel.yaml");
    write_section(&w, option_root);
    json_open_list(&w, "required");
    json_str(&w, NULL, "models");
    json_close_list(&w);
    json_open_map(&w, "$defs");
    write_definitions(&w, option_root, &written);
    json_close_map(&w);
    json_close_map(&w);
    buf_add_char(out, '\n');
}
