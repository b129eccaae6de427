/* A tree from libyaml's events.
 *
 * libyaml reads YAML 1.1; what separates it from 1.2 is settled here: the meaning of plain scalars,
 * and the characters that 1.1 takes for line ends, which are refused so that lines are counted as
 * editors count them. The text is looked through once before libyaml sees it, so that bad bytes
 * have an exact place.
 *
 * Every node costs at least one byte of text or one of the alias expansion, and both have
 * ceilings; the depth is bounded also where aliases stack up (`height` below), so that those who
 * walk the tree may recurse. */
#include "fmt/yaml.h"

#include "base/map.h"
#include "base/text.h"
#include "fmt/yaml_int.h"

#include <string.h>
#include <yaml.h>

/* Text counts, too, so that whoever goes over all texts of a tree is done soon. */
#define TEXT_OF_NODE 32

struct anchor {
    const struct value *node; /* NULL while it is still being read */
    size_t nodes;
    unsigned height;
};

struct reader {
    yaml_parser_t parser;
    struct arena *arena;
    const char *text;
    size_t len;
    struct yaml_listener *listener;
    struct map anchors; /* struct anchor */
    size_t nodes;
    size_t errors;
    bool aliased; /* an alias has been read */
    bool stopped; /* by an error behind which nothing can be read */
};

static struct value *read_node(struct reader *r, const yaml_event_t *event, unsigned depth,
                               unsigned *ret_height);

static struct value_at
place(yaml_mark_t mark)
{
    return (struct value_at){.line = (uint32_t)mark.line + 1, .column = (uint32_t)mark.column + 1};
}

static void tell(struct reader *r, struct value_at at, const char *fix, const char *fmt, ...)
    printf_like(4, 5);

static void
tell(struct reader *r, struct value_at at, const char *fix, const char *fmt, ...)
{
    struct err err;
    char said[sizeof(err.what)];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(said, sizeof(said), fmt, args);
    va_end(args);
    (void)err_set(&err, ERR_SYNTAX, "%s", said);
    if (fix)
        err_fix(&err, "%s", fix);
    r->errors++;
    r->listener->error(r->listener, at, &err);
}

static void
stop(struct reader *r, struct value_at at, const char *fix, const char *said)
{
    if (!r->stopped)
        tell(r, at, fix, "%s", said);
    r->stopped = true;
}

static bool
count_nodes(struct reader *r, size_t nodes, struct value_at at)
{
    r->nodes += nodes;
    if (r->nodes <= YAML_NODES_MAX)
        return true;
    if (r->aliased)
        stop(r, at, "use fewer aliases (*name), or a smaller file",
             "the document holds more than 100000 values once its aliases are written out");
    else
        stop(r, at, "a smaller file", "the document holds more than 100000 values");
    return false;
}

static bool
is_shallow(struct reader *r, unsigned depth, struct value_at at)
{
    if (depth <= YAML_DEPTH_MAX)
        return true;
    stop(r, at, NULL, "lists and maps are nested more than 64 deep");
    return false;
}

static void *
keep(struct reader *r, void *memory)
{
    if (!memory)
        stop(r, (struct value_at){0}, NULL, "the document needs more memory than it may have");
    return memory;
}

static bool
next_event(struct reader *r, yaml_event_t *ret_event)
{
    struct err err;
    if (r->stopped)
        return false;
    if (yaml_parser_parse(&r->parser, ret_event))
        return true;
    struct value_at at = yaml_translate(&r->parser, r->text, r->len, &err);
    r->stopped = true;
    r->errors++;
    r->listener->error(r->listener, at, &err);
    return false;
}

/* The tags of the core schema, which may be written although they are never needed. */
static bool
find_tag(const char *tag, enum value_type *ret_type)
{
    static const struct {
        const char *name;
        enum value_type type;
    } tags[] = {
        {"!", VALUE_STRING},          {YAML_STR_TAG, VALUE_STRING},
        {YAML_INT_TAG, VALUE_NUMBER}, {YAML_FLOAT_TAG, VALUE_NUMBER},
        {YAML_BOOL_TAG, VALUE_BOOL},  {YAML_NULL_TAG, VALUE_NULL},
        {YAML_SEQ_TAG, VALUE_LIST},   {YAML_MAP_TAG, VALUE_MAP},
    };
    for (size_t i = 0; i < ARRAY_SIZE(tags); i++) {
        if (text_eq(tag, tags[i].name)) {
            *ret_type = tags[i].type;
            return true;
        }
    }
    return false;
}

/* The type that a tag gives to a node that is `type` by its form. */
static enum value_type
apply_tag(struct reader *r, const yaml_char_t *tag, enum value_type type, struct value_at at)
{
    enum value_type wanted;
    if (!tag)
        return type;
    const char *name = (const char *)tag;
    if (!find_tag(name, &wanted))
        tell(r, at, "leave the tag out", "the tag %s means nothing here", name);
    else if (wanted == type || (wanted == VALUE_STRING && type < VALUE_LIST))
        return wanted;
    else if (!text_eq(name, "!"))
        tell(r, at, "leave the tag out", "%s is not what its tag %s says", value_type_name(type),
             name);
    return type;
}

static struct value *
new_node(struct reader *r, enum value_type type, size_t len, struct value_at at)
{
    struct value *v = keep(r, arena_new(r->arena, struct value));
    if (!v || !count_nodes(r, 1 + len / TEXT_OF_NODE, at))
        return NULL;
    v->type = type;
    v->at = at;
    return v;
}

static struct value *
read_scalar(struct reader *r, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    struct value_at at = place(event->start_mark);
    bool tagged = event->data.scalar.tag != NULL;
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    enum value_type type = plain || tagged ? yaml_plain_type(text, len) : VALUE_STRING;
    struct value *v = new_node(r, apply_tag(r, event->data.scalar.tag, type, at), len, at);
    if (!v)
        return NULL;
    v->text = keep(r, arena_strndup(r->arena, text, len));
    v->len = len;
    v->boolean = v->type == VALUE_BOOL && (*text == 't' || *text == 'T');
    return v->text ? v : NULL;
}

static struct anchor *
set_anchor(struct reader *r, const yaml_char_t *name)
{
    if (!name)
        return NULL;
    struct anchor *anchor = map_get(&r->anchors, (const char *)name);
    if (anchor) {
        anchor->node = NULL;
        return anchor;
    }
    char *kept = keep(r, arena_strdup(r->arena, (const char *)name));
    anchor = keep(r, arena_new(r->arena, struct anchor));
    if (kept && anchor)
        (void)map_add(&r->anchors, kept, anchor);
    return kept ? anchor : NULL;
}

/* A copy of the named node that shares what is inside it. */
static struct value *
read_alias(struct reader *r, const yaml_event_t *event, unsigned depth, unsigned *ret_height)
{
    const char *name = (const char *)event->data.alias.anchor;
    struct value_at at = place(event->start_mark);
    const struct anchor *anchor = map_get(&r->anchors, name);
    r->aliased = true;
    if (!anchor || !anchor->node) {
        tell(r, at, NULL,
             anchor ? "the alias *%s stands inside what it names"
                    : "the alias *%s names nothing: no &%s stands before it",
             name, name);
        return new_node(r, VALUE_NULL, 0, at);
    }
    if (!is_shallow(r, depth + anchor->height - 1, at) || !count_nodes(r, anchor->nodes, at))
        return NULL;
    struct value *v = keep(r, arena_new(r->arena, struct value));
    if (!v)
        return NULL;
    *v = *anchor->node;
    v->at = at;
    v->name = NULL;
    v->next = NULL;
    *ret_height = anchor->height;
    return v;
}

static void
append(struct value *container, struct value **last, struct value *v)
{
    if (*last)
        (*last)->next = v;
    else
        container->first = v;
    *last = v;
    container->count++;
}

/* Reads the node that begins with the next event, for a member of a list or map. */
static struct value *
read_member(struct reader *r, unsigned depth, unsigned *height)
{
    yaml_event_t event;
    unsigned member_height = 0;
    if (!next_event(r, &event))
        return NULL;
    struct value *v = read_node(r, &event, depth + 1, &member_height);
    yaml_event_delete(&event);
    *height = MAX(*height, member_height + 1);
    return v;
}

static bool
read_list(struct reader *r, struct value *list, unsigned depth, unsigned *height)
{
    struct value *last = NULL;
    for (;;) {
        yaml_event_t event;
        unsigned member_height = 0;
        if (!next_event(r, &event))
            return false;
        bool ended = event.type == YAML_SEQUENCE_END_EVENT;
        struct value *v = ended ? NULL : read_node(r, &event, depth + 1, &member_height);
        yaml_event_delete(&event);
        if (ended || !v)
            return ended;
        *height = MAX(*height, member_height + 1);
        append(list, &last, v);
    }
}

/* The name that a key is; NULL, and told, when it cannot be one. The key has been read whole. */
static const char *
key_name(struct reader *r, const yaml_event_t *event, const struct value *key)
{
    if (event->type == YAML_ALIAS_EVENT)
        tell(r, key->at, "write the key out", "a key cannot be an alias");
    else if (key->type >= VALUE_LIST)
        tell(r, key->at, "a key is a name; is a ':' or a quote missing?", "%s cannot be a key",
             value_type_name(key->type));
    else if (key->len == 0)
        tell(r, key->at, "write a name before the ':'", "a key is empty");
    else if (strlen(key->text) != key->len)
        tell(r, key->at, NULL, "a key holds a NUL character");
    else if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && text_eq(key->text, "<<"))
        tell(r, key->at,
             "write the keys out; what holds for every model stands once under 'defaults:'",
             "the merge key << is not part of YAML 1.2");
    else
        return key->text;
    return NULL;
}

/* Reads key and value; the member goes into the map unless something is wrong with its key. */
static bool
read_pair(struct reader *r, const yaml_event_t *event, struct value *map, struct value **last,
          struct map *names, unsigned depth, unsigned *height)
{
    unsigned key_height = 0;
    struct value *key = read_node(r, event, depth + 1, &key_height);
    const char *name = key ? key_name(r, event, key) : NULL;
    struct value *v = key ? read_member(r, depth, height) : NULL;
    if (!v)
        return false;
    if (!name)
        return true;
    const struct value *earlier = map_add(names, name, v);
    if (earlier != v) {
        tell(r, key->at, "keep one of the two",
             "the key '%s' stands twice in this map, first in line %u", name,
             earlier->name_at.line);
        return true;
    }
    v->name = name;
    v->name_at = key->at;
    append(map, last, v);
    return true;
}

static bool
read_map(struct reader *r, struct value *map, unsigned depth, unsigned *height)
{
    _cleanup_map_ struct map names = {0};
    struct value *last = NULL;
    for (;;) {
        yaml_event_t event;
        if (!next_event(r, &event))
            return false;
        bool ended = event.type == YAML_MAPPING_END_EVENT;
        bool ok = ended || read_pair(r, &event, map, &last, &names, depth, height);
        yaml_event_delete(&event);
        if (ended || !ok)
            return ended;
    }
}

static struct value *
read_container(struct reader *r, const yaml_event_t *event, unsigned depth, unsigned *height)
{
    bool is_map = event->type == YAML_MAPPING_START_EVENT;
    struct value_at at = place(event->start_mark);
    enum value_type type = is_map ? apply_tag(r, event->data.mapping_start.tag, VALUE_MAP, at)
                                  : apply_tag(r, event->data.sequence_start.tag, VALUE_LIST, at);
    struct value *v = is_shallow(r, depth, at) ? new_node(r, type, 0, at) : NULL;
    if (!v)
        return NULL;
    *height = 1;
    bool ok = is_map ? read_map(r, v, depth, height) : read_list(r, v, depth, height);
    return ok ? v : NULL;
}

static const yaml_char_t *
anchor_name(const yaml_event_t *event)
{
    if (event->type == YAML_SCALAR_EVENT)
        return event->data.scalar.anchor;
    return event->type == YAML_MAPPING_START_EVENT ? event->data.mapping_start.anchor
                                                   : event->data.sequence_start.anchor;
}

/* Reads the node that begins with the event, to its end. NULL when reading has stopped. */
static struct value *
read_node(struct reader *r, const yaml_event_t *event, unsigned depth, unsigned *ret_height)
{
    if (event->type == YAML_ALIAS_EVENT)
        return read_alias(r, event, depth, ret_height);
    size_t before = r->nodes;
    struct anchor *anchor = set_anchor(r, anchor_name(event));
    struct value *v = event->type == YAML_SCALAR_EVENT
                          ? read_scalar(r, event)
                          : read_container(r, event, depth, ret_height);
    if (anchor && v)
        *anchor = (struct anchor){v, r->nodes - before, *ret_height};
    return v;
}

/* After the document: nothing may follow but its end. */
static bool
read_end(struct reader *r)
{
    for (;;) {
        yaml_event_t event;
        if (!next_event(r, &event))
            return false;
        yaml_event_type_t type = event.type;
        struct value_at at = place(event.start_mark);
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT)
            return true;
        if (type != YAML_DOCUMENT_END_EVENT) {
            stop(r, at, "take out the '---', or make two files",
                 "a second document begins here; one is allowed");
            return false;
        }
    }
}

static struct value *
read_document(struct reader *r)
{
    for (;;) {
        yaml_event_t event;
        unsigned height = 0;
        if (!next_event(r, &event))
            return NULL;
        yaml_event_type_t type = event.type;
        struct value *v = NULL;
        if (type == YAML_STREAM_END_EVENT)
            v = new_node(r, VALUE_NULL, 0, (struct value_at){1, 1});
        else if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT)
            v = read_node(r, &event, 1, &height);
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT)
            return v;
        if (v || r->stopped)
            return v && read_end(r) ? v : NULL;
    }
}

size_t
yaml_parse_all(struct arena *arena, const char *text, size_t len, struct yaml_listener *listener,
               struct value **ret_value)
{
    struct reader r = {.arena = arena, .text = text, .len = len, .listener = listener};
    struct err err;
    struct value_at at;
    *ret_value = NULL;
    if (yaml_check_text(&r.text, &r.len, &at, &err) < 0) {
        listener->error(listener, at, &err);
        return 1;
    }
    if (!yaml_parser_initialize(&r.parser)) {
        (void)keep(&r, NULL);
        return r.errors;
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)r.text, r.len);
    struct value *v = read_document(&r);
    yaml_parser_delete(&r.parser);
    map_finish(&r.anchors);
    *ret_value = r.stopped ? NULL : v;
    return r.errors;
}

struct first_error {
    struct yaml_listener listener;
    struct value_at at;
    struct err err;
};

static void
keep_first(struct yaml_listener *listener, struct value_at at, const struct err *err)
{
    struct first_error *first = (struct first_error *)listener;
    if (first->err.id == ERR_NONE) {
        first->at = at;
        first->err = *err;
    }
}

int
yaml_parse(struct arena *arena, const char *text, size_t len, struct value **ret_value,
           struct value_at *ret_at, struct err *reterr)
{
    struct first_error first = {.listener = {keep_first}};
    struct value *v;
    if (yaml_parse_all(arena, text, len, &first.listener, &v) == 0) {
        *ret_value = v;
        return 0;
    }
    if (ret_at)
        *ret_at = first.at;
    if (reterr)
        *reterr = first.err;
    return -err_row(first.err.id)->err;
}
