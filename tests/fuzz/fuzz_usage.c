/* Answers from anybody: the same bytes are passed on, and the same is read, however they arrive. What
 * is passed on is what came, without the chunks that are dropped and without an event that is not
 * whole; and what was read, until the end of the body is told, is what a reader of the whole text finds.
 * The first byte chooses. */

#include "fmt/json.h"
#include "fmt/json_scan.h"
#include "gateway/usage.h"
#include "http/sse.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* step 0: pieces of all sizes. */
static void
pass(struct usage_reader *r, const char *text, size_t len, size_t step, struct buf *out)
{
    uint32_t size = 0;
    for (size_t at = 0, piece_len; at < len; at += piece_len) {
        size = size * 1103515245 + 12345;
        piece_len = MIN(step ? step : 1 + (size >> 16) % 29, len - at);
        char *copy = malloc(piece_len);
        assert(copy);
        memcpy(copy, text + at, piece_len);
        for (size_t from = 0, used; from < piece_len; from += used) {
            struct usage_piece piece;
            usage_read(r, copy + from, piece_len - from, &used, &piece);
            assert(used || piece.len);
            buf_add(out, piece.bytes, piece.len);
        }
        free(copy);
    }
}

static void
check_same(const struct usage_reader *a, const struct usage_reader *b)
{
    assert(memcmp(&a->usage, &b->usage, sizeof(a->usage)) == 0);
    assert(a->complete == b->complete && a->failed == b->failed && a->events == b->events);
    assert(a->pending == b->pending);
}

/* ---- a reader of the whole ---- */

struct whole {
    uint64_t in, out;
    bool complete, unsure; /* another JSON reader takes what the strict one does not */
};

static void
take(struct whole *w, enum dialect dialect, const struct value *usage)
{
    const struct value *billed = value_get(usage, "billed_units");
    uint64_t n, cached = 0, written = 0;
    if (!usage || usage->type != VALUE_MAP)
        return;
    if (billed)
        usage = billed;
    const struct value *details = value_get(usage, "prompt_tokens_details");
    if (!details)
        details = value_get(usage, "input_tokens_details");
    if (!value_u64(value_get(details, "cached_tokens"), &cached))
        (void)value_u64(value_get(usage, "cache_read_input_tokens"), &cached);
    (void)value_u64(value_get(usage, "cache_creation_input_tokens"), &written);
    if (value_u64(value_get(usage, "prompt_tokens"), &n) ||
        value_u64(value_get(usage, "input_tokens"), &n)) {
        w->in = n;
        for (int i = 0; dialect == DIALECT_MESSAGES && i < 2; i++) {
            uint64_t more = i ? written : cached;
            w->in = w->in > UINT64_MAX - more ? UINT64_MAX : w->in + more;
        }
    }
    if (value_u64(value_get(usage, "completion_tokens"), &n) ||
        value_u64(value_get(usage, "output_tokens"), &n))
        w->out = n;
}

static const char *const names[] = {"usage"};

static void
read_event(struct whole *w, enum dialect dialect, const char *data, size_t len)
{
    _cleanup_arena_ struct arena arena;
    struct json_place place;
    struct value *root;
    arena_init(&arena, 64 * MIB);
    if (dialect == DIALECT_OPENAI && len == 6 && memcmp(data, "[DONE]", 6) == 0)
        w->complete = true;
    if (json_parse(&arena, data, len, JSON_STRICT, &root, NULL, NULL) < 0) {
        w->unsure = w->unsure || json_scan(data, len, names, 1, &place, NULL) == 0;
        return;
    }
    if (dialect == DIALECT_MESSAGES)
        take(w, dialect, value_get(value_get(root, "message"), "usage"));
    if (dialect == DIALECT_RESPONSES)
        take(w, dialect, value_get(value_get(root, "response"), "usage"));
    take(w, dialect, value_get(root, "usage"));
    const char *type = value_str(value_get(root, "type"));
    if (dialect == DIALECT_MESSAGES && type && strcmp(type, "message_stop") == 0)
        w->complete = true;
    if (dialect == DIALECT_RESPONSES && type && strcmp(type, "response.completed") == 0)
        w->complete = true;
}

static void
check_whole(const struct usage_reader *r, const char *text, size_t len)
{
    struct whole w = {0};
    struct sse_reader sse;
    struct sse_event event;
    size_t used;
    int got = 0;
    sse_init(&sse, 1 * MIB);
    for (size_t at = 0; at < len && got >= 0; at += used) {
        got = sse_read(&sse, text + at, len - at, &used, &event);
        if (got > 0)
            read_event(&w, r->dialect, event.data, event.len);
    }
    sse_finish(&sse);
    if (got < 0 || w.unsure)
        return;
    assert(r->usage.in == w.in && r->usage.out == w.out);
    assert(r->complete || !w.complete);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct buf outs[3] = {BUF_INIT(1 * MIB), BUF_INIT(1 * MIB), BUF_INIT(1 * MIB)};
    struct usage_reader readers[3];
    if (len < 1 || len > 65536)
        return 0;
    const char *text = (const char *)data + 1;
    const size_t steps[] = {len, 1, 0};
    enum dialect dialect = (enum dialect)(data[0] % DIALECT_COUNT);
    bool events = data[0] & 16, drop = data[0] & 32;
    for (int i = 0; i < 3; i++) {
        usage_init(&readers[i], dialect, events ? USAGE_EVENTS : USAGE_JSON, drop);
        pass(&readers[i], text, len - 1, steps[i], &outs[i]);
        check_same(&readers[0], &readers[i]);
        assert(outs[i].len == outs[0].len && memcmp(outs[i].data, outs[0].data, outs[0].len) == 0);
    }
    if (!events)
        assert(outs[0].len == len - 1 && memcmp(outs[0].data, text, len - 1) == 0);
    if (events && !readers[0].drop_usage) {
        assert(outs[0].len <= len - 1 && memcmp(outs[0].data, text, outs[0].len) == 0);
        assert(readers[0].gave_held || outs[0].len + readers[0].held.len == len - 1);
    }
    if (events && !(len > 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0))
        check_whole(&readers[0], text, len - 1);
    for (int i = 0; i < 3; i++) {
        struct usage_piece piece;
        usage_end(&readers[i], &piece);
        check_same(&readers[0], &readers[i]);
        assert(piece.len == 0 || readers[i].complete);
    }
    for (int i = 0; i < 3; i++) {
        usage_finish(&readers[i]);
        buf_finish(&outs[i]);
    }
    return 0;
}
