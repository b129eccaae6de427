/* YAML from anybody: it is refused with a place and a sentence, or gives a tree that says the same
 * when it is written as JSON and read again. */

#include "fmt/json.h"
#include "fmt/yaml.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
require(bool true_thing)
{
    if (!true_thing)
        abort();
}

static void
write_json(struct buf *out, const struct value *v)
{
    struct json_writer w;
    json_init(&w, out, false);
    json_value(&w, NULL, v);
}

/* JSON is YAML, but for the characters that YAML refuses and keys above its 1024 bytes: when it is
 * read, it is the same. */
static void
check_json(const struct value *v)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf json = BUF_INIT(YAML_BYTES_MAX), again = BUF_INIT(YAML_BYTES_MAX);
    struct value *same;
    arena_init(&arena, 64 * MIB);
    write_json(&json, v);
    if (buf_error(&json) < 0 || yaml_parse(&arena, json.data, json.len, &same, NULL, NULL) < 0)
        return;
    write_json(&again, same);
    require(json.len == again.len && memcmp(json.data, again.data, json.len) == 0);
}

/* And a text that is JSON is the same document in both. */
static void
check_as_json(const char *text, size_t len, const struct value *v)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf one = BUF_INIT(YAML_BYTES_MAX), other = BUF_INIT(YAML_BYTES_MAX);
    struct value *same;
    arena_init(&arena, 64 * MIB);
    if (json_parse(&arena, text, len, JSON_STRICT, &same, NULL, NULL) < 0)
        return;
    write_json(&one, v);
    write_json(&other, same);
    require(one.len == other.len && memcmp(one.data, other.data, one.len) == 0);
}

static void
check_string(const struct value *v)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf out = BUF_INIT(YAML_BYTES_MAX);
    struct value *same;
    arena_init(&arena, 16 * MIB);
    yaml_add_string(&out, v->text, v->len);
    require(buf_error(&out) < 0 || yaml_parse(&arena, out.data, out.len, &same, NULL, NULL) == 0);
    require(buf_error(&out) < 0 || (same->type == VALUE_STRING && same->len == v->len &&
                                    !memcmp(same->text, v->text, v->len)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    _cleanup_arena_ struct arena arena;
    struct value *v;
    struct value_at at = {0};
    struct err err = {0};
    arena_init(&arena, 64 * MIB);
    if (yaml_parse(&arena, (const char *)data, len, &v, &at, &err) < 0) {
        require(err.id != ERR_NONE && err.what[0] && at.line > 0 && at.column > 0);
        return 0;
    }
    check_json(v);
    check_as_json((const char *)data, len, v);
    for (const struct value *m = v; m; m = m->first)
        if (m->type == VALUE_STRING)
            check_string(m);
    return 0;
}
