/* Any bytes as a body of which a few members are looked for. Whatever the strict reader takes, the
 * scanner takes, and finds the same; what the scanner takes and the reader does not is only what the
 * scanner's head says: characters, members of others that are there twice, depth. */

#include "fmt/json.h"
#include "fmt/json_scan.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char *const names[] = {"model", "stream", "stream_options"};

static enum json_kind
kind_of(const struct value *v)
{
    if (!v)
        return JSON_ABSENT;
    switch (v->type) {
    case VALUE_BOOL:
        return v->boolean ? JSON_TRUE : JSON_FALSE;
    case VALUE_NUMBER:
        return JSON_NUMBER;
    case VALUE_STRING:
        return JSON_STRING;
    case VALUE_LIST:
        return JSON_LIST;
    case VALUE_MAP:
        return JSON_MAP;
    case VALUE_NULL:
        break;
    }
    return JSON_NULL;
}

static uint64_t told;

static void
hear(struct json_scan *s unused_arg, const struct json_lead *lead unused_arg, const char *bytes,
     size_t len, size_t spelt, bool ends)
{
    assert(spelt >= len);
    for (size_t i = 0; i < len; i++)
        told = told * 31 + (uint8_t)bytes[i];
    if (ends)
        told = told * 31 + 256;
}

static void
look(struct json_scan *s unused_arg, const struct json_lead *into unused_arg)
{
    told = told * 31 + 257;
}

static const struct json_strings strings = {
    .leads =
        (const struct json_lead[]){
            {JSON_NAME("messages"), JSON_FROM},
            {JSON_NAME("stream"), JSON_FROM | JSON_TOLD},
            {JSON_NAME("content"), JSON_WAY | JSON_TOLD},
            {JSON_NAME("stream_options"), JSON_WAY},
            {JSON_NAME("text"), JSON_TOLD},
            {JSON_NAME("role"), JSON_TOLD | JSON_INNER},
            {JSON_NAME("name"), JSON_INTO},
            {JSON_NAME("tools"), JSON_WAY | JSON_LISTED},
            {NULL, 0, 0},
        },
    .told = hear,
    .looked = look,
};

/* Split in any way, it is read as the whole: the same places and strings, the same words about what is
 * wrong. */
static uint64_t
check_pieces(const char *text, size_t len, size_t step, int want, const struct err *want_err,
             const struct json_place *want_places)
{
    struct json_place places[ARRAY_SIZE(names)];
    struct json_scan s;
    struct err err = {0};
    uint32_t size = (uint32_t)len;
    int r = 0;
    told = 0;
    json_scan_begin(&s, names, ARRAY_SIZE(names), places);
    s.strings = &strings;
    for (size_t at = 0, piece; at < len && r == 0; at += piece) {
        size = size * 1103515245 + 12345;
        piece = MIN(step ? step : 1 + (size >> 16) % 29, len - at);
        char *copy = malloc(piece);
        assert(copy);
        memcpy(copy, text + at, piece);
        r = json_scan_more(&s, copy, piece, &err);
        free(copy);
    }
    r = r == 0 ? json_scan_end(&s, &err) : r;
    assert(r == want && strcmp(err.what, want_err->what) == 0);
    assert(r < 0 || memcmp(places, want_places, sizeof(places)) == 0);
    return r < 0 ? 0 : told;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    _cleanup_arena_ struct arena arena;
    struct json_place places[ARRAY_SIZE(names)];
    struct value *root = NULL;
    struct err err = {0};
    /* Exactly as long as the input, and of its own: the fuzzer may hand out more. */
    char *text = malloc(len ? len : 1);
    assert(text);
    memcpy(text, data, len);
    arena_init(&arena, 16 * MIB);
    int r = json_scan(text, len, names, ARRAY_SIZE(names), places, &err);
    int strict = json_parse(&arena, text, len, JSON_STRICT, &root, NULL, NULL);
    assert(r == 0 || err.id == ERR_SYNTAX);
    uint64_t whole = check_pieces(text, len, len + 1, r, &err, places);
    for (size_t step = 0; step < 4; step++)
        assert(check_pieces(text, len, step, r, &err, places) == whole);
    if (strict == 0)
        assert((r == 0) == (root->type == VALUE_MAP));
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(names); i++) {
        assert(places[i].at + places[i].len <= len);
        if (strict == 0)
            assert(places[i].kind == kind_of(value_get(root, names[i])));
        char room[64];
        if (places[i].kind == JSON_STRING &&
            json_scan_text(text, &places[i], room, sizeof(room)) == 0 && strict == 0)
            assert(strcmp(room, value_get(root, names[i])->text) == 0);
    }
    free(text);
    return 0;
}
