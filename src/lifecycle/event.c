#include "lifecycle/event.h"

#include "fmt/json.h"

#include <stdarg.h>
#include <stdio.h>

#define TREE_MAX (64 * KIB)

static const struct event_row rows[] = {
#define EVENT(name, id, level, help) [EVENT_##name] = {id, EVENT_##level, help},
#include "lifecycle/event.def"
#undef EVENT
};

const struct event_row *
event_row(enum event_kind kind)
{
    return &rows[kind];
}

const char *
event_level_word(enum event_level level)
{
    static const char *const words[] = {"info", "warning", "error"};
    return words[level];
}

void
event_set_text(struct event *event, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    text_make_safe(event->text, sizeof(event->text),
                   vsnprintf(event->text, sizeof(event->text), fmt, args));
    va_end(args);
}

void
event_print_members(const struct event *event, struct json_writer *w)
{
    json_u64(w, "at_us", event->at_us);
    json_str(w, "event", rows[event->kind].id);
    json_str(w, "level", event_level_word(rows[event->kind].level));
    json_str(w, "service", event->service[0] ? event->service : NULL);
    json_str(w, "by", event->by[0] ? event->by : NULL);
    json_str(w, "text", event->text);
}

void
event_print(const struct event *event, struct buf *out)
{
    struct json_writer w;
    json_init(&w, out, false);
    json_open_map(&w, NULL);
    event_print_members(event, &w);
    json_close_map(&w);
    buf_add_char(out, '\n');
}

static enum event_kind
find_kind(const char *id)
{
    unsigned kind = 0;
    while (kind < EVENT_COUNT && !text_eq(rows[kind].id, id))
        kind++;
    return (enum event_kind)kind;
}

int
event_parse(const char *line, size_t len, struct event *ret_event, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct event event = {0};
    struct value *root;
    arena_init(&arena, TREE_MAX);
    int r = json_parse(&arena, line, len, JSON_STRICT, &root, NULL, reterr);
    if (r < 0)
        return r;
    const char *id = value_str(value_get(root, "event"));
    if (!id || !value_u64(value_get(root, "at_us"), &event.at_us))
        return err_set(reterr, ERR_SYNTAX, "this is no event: %.*s", (int)MIN(len, (size_t)80),
                       line);
    event.kind = find_kind(id);
    value_copy_str(value_get(root, "service"), event.service, sizeof(event.service));
    value_copy_str(value_get(root, "by"), event.by, sizeof(event.by));
    value_copy_str(value_get(root, "text"), event.text, sizeof(event.text));
    *ret_event = event;
    return event.kind == EVENT_COUNT ? 0 : 1;
}
