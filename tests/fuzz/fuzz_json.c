/* Any bytes as JSON. What is accepted must read back, once written, as the same document. */

#include "fmt/json.h"

#include <stdlib.h>
#include <string.h>

#define CEILING (16 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
write_out(const struct value *root, bool pretty, struct buf *out)
{
    struct json_writer w;
    json_init(&w, out, pretty);
    json_value(&w, NULL, root);
    assert(buf_error(out) == 0);
}

static bool
same(const struct value *a, const struct value *b)
{
    if (a->type != b->type || a->count != b->count || a->len != b->len)
        return false;
    if (a->text && memcmp(a->text, b->text, a->len + 1) != 0)
        return false;
    if (a->name && strcmp(a->name, b->name) != 0)
        return false;
    const struct value *x = a->first, *y = b->first;
    for (; x && y; x = x->next, y = y->next)
        if (!same(x, y))
            return false;
    return !x && !y;
}

static void
check(const struct value *root)
{
    for (int pretty = 0; pretty < 2; pretty++) {
        _cleanup_buf_ struct buf once = BUF_INIT(CEILING), twice = BUF_INIT(CEILING);
        _cleanup_arena_ struct arena arena;
        struct value *again;
        arena_init(&arena, CEILING);
        write_out(root, pretty, &once);
        int r = json_parse(&arena, once.data, once.len, JSON_STRICT, &again, NULL, NULL);
        assert(r == 0 && same(root, again));
        write_out(again, pretty, &twice);
        assert(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    _cleanup_arena_ struct arena arena;
    struct value *root = NULL;
    struct value_at at;
    struct err err;
    /* Exactly as long as the input, and of its own: the fuzzer may hand out more. */
    char *text = malloc(len ? len : 1);
    assert(text);
    memcpy(text, data, len);
    arena_init(&arena, CEILING / 8);
    int r = json_parse(&arena, text, len, JSON_STRICT, &root, &at, &err);
    assert((r == 0) == (root != NULL));
    if (r == 0)
        check(root);
    else
        assert(at.line >= 1 && at.column >= 1 && err.id != ERR_NONE);
    arena_finish(&arena);
    arena_init(&arena, CEILING / 8);
    int python = json_parse(&arena, text, len, JSON_PYTHON, &root, NULL, NULL);
    assert(r < 0 || python == 0);
    free(text);
    return 0;
}
