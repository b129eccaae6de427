#pragma once

/* Something that happened, as the history keeps it: a line of JSON.
 *
 *   {"at_us": 1, "event": "breaker.open", "level": "error", "service": "phi3", "by": null,
 *    "text": "..."}
 *
 * The level is that of the event's row, for readers that do not know it. */

#include "base/err.h"
#include "base/text.h"

struct buf;
struct json_writer;

enum event_level { EVENT_INFO, EVENT_WARNING, EVENT_ERROR };

enum event_kind {
#define EVENT(name, id, level, help) EVENT_##name,
#include "lifecycle/event.def"
#undef EVENT
    EVENT_COUNT
};

struct event_row {
    const char *id;
    enum event_level level;
    const char *help;
};
const struct event_row *event_row(enum event_kind kind);
const char *event_level_word(enum event_level level);

struct event {
    uint64_t at_us; /* since 1970 */
    enum event_kind kind;
    char service[TEXT_NAME_MAX + 1]; /* "": of none */
    char by[64];                     /* who asked for it; "": nobody */
    char text[512];                  /* a sentence */
};

void event_set_text(struct event *event, const char *fmt, ...) printf_like(2, 3);

#define EVENT_LINE_MAX (8 * KIB) /* printed, whatever is in it */

void event_print(const struct event *event, struct buf *out); /* with the end of the line */
/* The members of a map that the caller opens and closes. */
void event_print_members(const struct event *event, struct json_writer *w);
/* Of a line without its end. What another release has called something else is no error of the line,
 * but not told either: 0. */
int event_parse(const char *line, size_t len, struct event *ret_event, struct err *reterr)
    must_check;
