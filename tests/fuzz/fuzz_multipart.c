/* Forms from anybody: the same verdict and the same places however the bytes arrive; what was found
 * stands in the body, between a head and a boundary. The input: a value of Content-Type, a line feed, a
 * body. */

#include "gateway/multipart.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* step 0: pieces of all sizes. */
static int
read_form(struct multipart *m, const char *body, size_t len, size_t step)
{
    uint32_t size = 0;
    int r = 0;
    for (size_t at = 0, piece; r == 0 && at < len; at += piece) {
        size = size * 1103515245 + 12345;
        piece = MIN(step ? step : 1 + (size >> 16) % 29, len - at);
        /* Exactly as long, and of its own, so that reading beyond is seen. */
        char *copy = malloc(piece);
        assert(copy);
        memcpy(copy, body + at, piece);
        r = multipart_read(m, copy, piece, NULL);
        free(copy);
    }
    return r == 0 ? multipart_end(m, NULL) : r;
}

static void
check_same(const struct multipart *a, const struct multipart *b)
{
    assert(a->first == b->first && a->parts == b->parts);
    for (size_t i = 0; i < MULTIPART_FIELD_COUNT; i++) {
        const struct multipart_value *x = &a->fields[i], *y = &b->fields[i];
        assert(x->there == y->there && x->at == y->at && x->len == y->len);
        assert(strcmp(x->text, y->text) == 0);
    }
}

static void
check_places(const struct multipart *m, const char *body, size_t len)
{
    for (size_t i = 0; i < MULTIPART_FIELD_COUNT; i++) {
        const struct multipart_value *v = &m->fields[i];
        if (!v->there)
            continue;
        assert(v->at >= 4 && v->at + v->len + m->mark_len <= len);
        assert(memcmp(body + v->at - 2, "\r\n", 2) == 0);
        assert(memcmp(body + v->at, v->text, v->len) == 0);
        assert(memcmp(body + v->at + v->len, m->mark, m->mark_len) == 0);
        assert(!memmem(body + v->at, v->len, m->mark, m->mark_len));
    }
    assert(memcmp(body + m->first, m->mark + 2, m->mark_len - 2) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const char *text = (const char *)data, *feed = len ? memchr(text, '\n', len) : NULL;
    struct multipart begun, whole, single, pieces;
    if (!feed || len > 65536)
        return 0;
    const char *body = feed + 1;
    size_t body_len = len - (size_t)(body - text);
    if (multipart_init(&begun, text, (size_t)(feed - text), NULL) < 0)
        return 0;
    whole = single = pieces = begun;
    int r = read_form(&whole, body, body_len, body_len + 1);
    assert(read_form(&single, body, body_len, 1) == r);
    assert(read_form(&pieces, body, body_len, 0) == r);
    if (r < 0)
        return 0;
    check_same(&whole, &single);
    check_same(&whole, &pieces);
    check_places(&whole, body, body_len);
    return 0;
}
