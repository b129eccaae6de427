/* Bodies from anybody: after a change, the strict reader finds what was wanted, and every other member
 * as it was; what is not changed is byte for byte the client's. */

#include "ask_rig.h"
#include "fmt/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct ask_param params[] = {{"seed", "[7]", true, RIG_SEED},
                                          {"top_p", "0.5", false, RIG_TOP_P}};
static const struct ask_change change = {
    .model = "served/name", .include_usage = true, .params = params, .param_count = 2};

static const char *const ours[] = {"model", "stream_options", "seed", "top_p"};

static bool
is_ours(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
        if (strcmp(ours[i], name) == 0)
            return true;
    return false;
}

/* All members but ours, as text. */
static void
print_others(const struct value *map, struct buf *out)
{
    struct json_writer w;
    json_init(&w, out, false);
    json_open_map(&w, NULL);
    for (const struct value *v = map->first; v; v = v->next)
        if (!is_ours(v->name))
            json_value(&w, v->name, v);
    json_close_map(&w);
}

static void
check_members(const struct ask *ask, const struct value *before, const struct value *after)
{
    _cleanup_buf_ struct buf a = BUF_INIT(16 * MIB), b = BUF_INIT(16 * MIB);
    const struct value *top_p = value_get(before, "top_p"), *seed = value_get(after, "seed");
    bool usage = false;
    print_others(before, &a);
    print_others(after, &b);
    assert(a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
    assert(strcmp(value_str(value_get(after, "model")), "served/name") == 0);
    assert(seed->type == VALUE_LIST && seed->count == 1);
    assert(value_get(after, "top_p")->type == (top_p ? top_p->type : VALUE_NUMBER));
    (void)value_bool(value_get(value_get(after, "stream_options"), "include_usage"), &usage);
    assert(usage == (ask->stream || ask->include_usage));
}

/* What is kept of the body stands in it where it stood, one piece behind the other. */
static void
check_pieces(const struct patch_list *list, const char *body, size_t len, struct buf *out)
{
    struct patch_piece pieces[PATCH_PIECES_MAX];
    size_t count = patch_pieces(list, len, pieces), kept = 0, cut = 0, last = 0;
    for (size_t i = 0; i < count; i++) {
        const struct patch_piece *piece = &pieces[i];
        if (!piece->put) {
            assert(piece->at >= last);
            last = piece->at + piece->len;
            kept += piece->len;
        }
        buf_add(out, piece->put ? piece->put : body + piece->at, piece->len);
    }
    for (size_t i = 0; i < list->count; i++)
        cut += list->items[i].cut;
    assert(kept + cut == len && out->len == patch_length(list, len));
}

/* However it comes, the same is kept. */
static void
check_same(const struct ask *a, const struct ask *b)
{
    assert(strcmp(a->model, b->model) == 0 && a->stream == b->stream);
    assert(a->max_tokens == b->max_tokens && a->answers == b->answers && a->tier == b->tier);
    for (unsigned i = 0; i < ASK_MEMBER_COUNT; i++) {
        const struct ask_text *x = &a->values[i], *y = &b->values[i];
        assert(x->kind == y->kind && x->len == y->len && x->is_cut == y->is_cut);
        assert(memcmp(ask_text_bytes(a, x), ask_text_bytes(b, y), x->len) == 0);
    }
    assert(memcmp(a->places, b->places, RIG_MEMBERS * sizeof(*a->places)) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    _cleanup_buf_ struct buf out = BUF_INIT(16 * MIB);
    _cleanup_arena_ struct arena arena, tree;
    struct value *before, *after;
    struct patch_list list;
    _cleanup_ask_ struct ask ask = {0}, again = {0}, other = {0};
    char *body = malloc(len ? len : 1);
    assert(body);
    memcpy(body, data, len);
    arena_init(&arena, 1 * MIB);
    arena_init(&tree, 64 * MIB);
    int whole = ask_whole(&ask, body, len, NULL);
    assert(ask_pieces(&other, body, len, 1 + len % 13, NULL) == whole);
    if (whole == 0)
        check_same(&ask, &other);
    if (whole == 0 && ask_change_json(&ask, &change, &arena, &list, NULL) == 0) {
        check_pieces(&list, body, len, &out);
        int r = ask_whole(&again, out.data, out.len, NULL);
        assert(r == 0);
        assert(again.stream == ask.stream && again.max_tokens == ask.max_tokens);
        bool strict = json_parse(&tree, body, len, JSON_STRICT, &before, NULL, NULL) == 0;
        r = json_parse(&tree, out.data, out.len, JSON_STRICT, &after, NULL, NULL);
        assert(!strict || r == 0);
        if (strict)
            check_members(&ask, before, after);
    }
    free(body);
    return 0;
}
