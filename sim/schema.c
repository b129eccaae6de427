#include "sim/schema.h"

#include "base/text.h"

#include <string.h>

#define DEPTH_MAX 16
#define VALUES_MAX 10000

struct writing {
    struct json_writer *w;
    const struct value *root;
    const char *text;
    unsigned values; /* so far: schemas that refer to themselves grow with each level */
};

/* "#/$defs/Name", from the root; "#" is the root. */
static const struct value *
follow(const struct value *root, const char *ref)
{
    const struct value *at = root;
    if (!text_starts(ref, "#/"))
        return text_eq(ref, "#") ? root : NULL;
    for (ref += 2; at && *ref;) {
        char name[128];
        size_t len = strcspn(ref, "/");
        if (len >= sizeof(name))
            return NULL;
        memcpy(name, ref, len);
        name[len] = '\0';
        at = value_get(at, name);
        ref += len;
        ref += *ref == '/';
    }
    return at;
}

static const char *
type_of(const struct value *schema)
{
    const struct value *type = value_get(schema, "type");
    if (type && type->type == VALUE_LIST)
        type = type->first;
    if (value_str(type))
        return value_str(type);
    return value_get(schema, "properties") ? "object"
           : value_get(schema, "items")    ? "array"
                                           : "string";
}

static const struct value *
one_of(const struct value *schema)
{
    static const char *const names[] = {"anyOf", "oneOf", "allOf"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const struct value *list = value_get(schema, names[i]);
        if (list && list->type == VALUE_LIST && list->first)
            return list->first;
    }
    return NULL;
}

static void write_value(struct writing *x, const char *name, const struct value *schema,
                        unsigned depth);

static void
write_object(struct writing *x, const char *name, const struct value *schema, unsigned depth)
{
    const struct value *properties = value_get(schema, "properties");
    json_open_map(x->w, name);
    for (const struct value *p = properties && properties->type == VALUE_MAP ? properties->first
                                                                             : NULL;
         p && x->values < VALUES_MAX; p = p->next)
        write_value(x, p->name, p, depth + 1);
    json_close_map(x->w);
}

static void
write_number(struct writing *x, const char *name, const struct value *schema)
{
    int64_t least = 0;
    if (value_i64(value_get(schema, "exclusiveMinimum"), &least))
        least++;
    else
        (void)value_i64(value_get(schema, "minimum"), &least);
    json_i64(x->w, name, least);
}

static void
write_typed(struct writing *x, const char *name, const struct value *schema, unsigned depth)
{
    const char *type = type_of(schema);
    const struct value *items = value_get(schema, "items");
    if (text_eq(type, "object")) {
        write_object(x, name, schema, depth);
    } else if (text_eq(type, "array")) {
        json_open_list(x->w, name);
        if (items)
            write_value(x, NULL, items, depth + 1);
        json_close_list(x->w);
    } else if (text_eq(type, "integer") || text_eq(type, "number")) {
        write_number(x, name, schema);
    } else if (text_eq(type, "boolean")) {
        json_bool(x->w, name, true);
    } else if (text_eq(type, "null")) {
        json_null(x->w, name);
    } else {
        json_str(x->w, name, x->text);
    }
}

static void
write_value(struct writing *x, const char *name, const struct value *schema, unsigned depth)
{
    const struct value *constant = value_get(schema, "const"), *list = value_get(schema, "enum");
    const char *ref = value_str(value_get(schema, "$ref"));
    if (depth == DEPTH_MAX || ++x->values > VALUES_MAX)
        json_null(x->w, name);
    else if (constant)
        json_value(x->w, name, constant);
    else if (list && list->type == VALUE_LIST && list->first)
        json_value(x->w, name, list->first);
    else if (ref)
        write_value(x, name, follow(x->root, ref), depth + 1);
    else if (one_of(schema))
        write_value(x, name, one_of(schema), depth + 1);
    else
        write_typed(x, name, schema, depth);
}

void
schema_write(struct json_writer *w, const char *name, const struct value *schema, const char *text)
{
    struct writing x = {w, schema, text, 0};
    write_value(&x, name, schema, 0);
}
