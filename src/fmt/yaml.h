#pragma once

/* YAML 1.2 in, as configuration files use it: one document, text keys, the core schema. What makes
 * YAML surprising is refused with a sentence that says what to write instead: duplicate keys, merge
 * keys, tags of one's own, tabs as indentation, keys that are no text. `yes`, `no` and `on` are
 * strings. Every scalar keeps its text as it was written, so that 0.10 can be a version.
 *
 * Aliases share what they name; what they would expand to is counted against the ceilings. */

#include "base/buf.h"
#include "fmt/value.h"

#define YAML_BYTES_MAX ((size_t)1 << 20)
#define YAML_DEPTH_MAX 64
#define YAML_NODES_MAX \
    ((size_t)100000) /* 32 bytes of text count as one more; aliases as written out */

/* Parses text into a tree in the arena; an empty text is nothing (VALUE_NULL). Stops at the first
 * error; *ret_at (may be NULL) is then its place. */
int yaml_parse(struct arena *arena, const char *text, size_t len, struct value **ret_value,
               struct value_at *ret_at, struct err *reterr) must_check;

/* Likewise, but goes on behind an error that leaves the rest readable (a duplicate key, a tag), and
 * tells each, in the order of the text. The tree is then without what was wrong; it is NULL
 * when the rest could not be read. Returns the number of errors. */
struct yaml_listener {
    void (*error)(struct yaml_listener *listener, struct value_at at, const struct err *err);
};
size_t yaml_parse_all(struct arena *arena, const char *text, size_t len,
                      struct yaml_listener *listener, struct value **ret_value) must_check;

/* What a plain scalar with this text is: a string, a number, true or false, or nothing. */
enum value_type yaml_plain_type(const char *text, size_t len);

/* Writes a string so that it is read back as that string: plain where that is safe, else quoted. */
void yaml_add_string(struct buf *out, const char *text, size_t len);
