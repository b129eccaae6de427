#pragma once

/* JSON as RFC 8259 has it, in and out. One way to read a document or none: duplicate names, bad
 * UTF-8, lone surrogates, a byte order mark and anything behind the end are errors. */

#include "base/buf.h"
#include "fmt/value.h"

enum json_flags {
    JSON_STRICT = 0,
    /* NaN, Infinity and -Infinity, which Python's json module writes (model configurations). They
     * become numbers with that text, which no value_* function reads. */
    JSON_PYTHON = 1,
};

#define JSON_DEPTH_MAX 64

/* Parses text into a tree in the arena, which does not need text any longer. Time is linear in len;
 * memory is bounded by the arena's ceiling: len and some 130 bytes a value. Beside it, while a
 * large map is read, an index of its names is held: 128 bytes a member at most, so no more than the
 * arena. On error *ret_at (may be NULL) is the place. */
int json_parse(struct arena *arena, const char *text, size_t len, enum json_flags flags,
               struct value **ret_value, struct value_at *ret_at, struct err *reterr) must_check;

/* Writes JSON piece by piece; commas, names and indentation come by themselves. Inside a map each
 * call names its member, inside a list and at the top the name is NULL. */
struct json_writer {
    struct buf *out;
    unsigned depth;
    bool pretty; /* a member a line, two spaces a level */
    bool filled; /* the open list or map has a member */
};

void json_init(struct json_writer *w, struct buf *out, bool pretty);
void json_open_map(struct json_writer *w, const char *name);
void json_close_map(struct json_writer *w);
void json_open_list(struct json_writer *w, const char *name);
void json_close_list(struct json_writer *w);
void json_null(struct json_writer *w, const char *name);
void json_bool(struct json_writer *w, const char *name, bool value);
void json_u64(struct json_writer *w, const char *name, uint64_t value);
void json_i64(struct json_writer *w, const char *name, int64_t value);
void json_real(struct json_writer *w, const char *name, double value);    /* null unless finite */
void json_str(struct json_writer *w, const char *name, const char *text); /* NULL: null */
/* Bytes from anywhere: what is not UTF-8 becomes U+FFFD. */
void json_strn(struct json_writer *w, const char *name, const char *text, size_t len);
void json_value(struct json_writer *w, const char *name, const struct value *value);
