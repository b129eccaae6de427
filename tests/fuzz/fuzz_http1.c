/* Messages from anybody. The first byte chooses what is read (a request, or a response to what),
 * under which limits (bit 2), and whether the connection ends behind it (bit 3). Read whole, byte by
 * byte and in pieces, the verdict must be the same; and what is accepted must say the same when it
 * is written and read again. */

#include "base/buf.h"
#include "base/mem.h"
#include "http/http1.h"
#include "http/server.h"
#include "http/write.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
require(bool true_thing)
{
    if (!true_thing)
        abort();
}

static const struct http1_limits tiny = {
    .target_bytes = 24,
    .head_bytes = 160,
    .fields = 4,
    .extension_bytes = 10,
    .trailer_bytes = 30,
};

struct reading {
    uint8_t kind;
    const char *text;
    struct http1_head head;
    struct http1_body body;
    enum http1_verdict verdict;
    enum http1_reason reason;
    bool has_head;
    size_t used;
    struct buf content;
};

static void
init_head(struct http1_head *head, uint8_t kind)
{
    static const enum http_method asked[] = {HTTP_GET, HTTP_HEAD, HTTP_CONNECT};
    const struct http1_limits *limits = kind & 4 ? &tiny : &http_server_config_default.head;
    if (kind % 4 == 0)
        http1_request_init(head, limits);
    else
        http1_response_init(head, limits, asked[kind % 4 - 1]);
}

static void
read_body(struct reading *r, const char *bytes, size_t len)
{
    do {
        size_t used, piece;
        r->verdict = http1_body_read(&r->body, bytes + r->used, len - r->used, &used, &piece);
        require(piece <= used && used <= len - r->used);
        require((piece > 0) == (r->verdict == HTTP1_PIECE));
        require(r->verdict != HTTP1_MORE || used == len - r->used);
        r->used += used;
        buf_add(&r->content, bytes + r->used - piece, piece);
    } while (r->verdict == HTTP1_PIECE);
    r->reason = r->body.reason;
}

/* The bytes stand where the sanitizer sees a read past their end. */
static void
read_to(struct reading *r, size_t len)
{
    char *bytes = malloc(len ? len : 1);
    if (len)
        memcpy(bytes, r->text, len);
    if (!r->has_head) {
        r->verdict = http1_head_read(&r->head, bytes, len);
        r->reason = r->head.reason;
        if (r->verdict == HTTP1_DONE) {
            r->has_head = true;
            r->used = r->head.len;
            http1_body_init(&r->body, &r->head, r->kind & 4 ? 20 : 1000000);
        }
    }
    if (r->has_head && r->verdict != HTTP1_REFUSED)
        read_body(r, bytes, len);
    free(bytes);
    r->head.bytes = r->text;
}

/* step 0: in pieces of all sizes. */
static void
read_in_steps(struct reading *r, uint8_t kind, const char *text, size_t len, size_t step)
{
    uint32_t size = 0;
    *r = (struct reading){.kind = kind, .text = text, .content = BUF_INIT(1 << 22)};
    init_head(&r->head, kind);
    for (size_t at = 0; at < len && r->verdict == HTTP1_MORE;) {
        size = size * 1103515245 + 12345;
        at = MIN(at + (step ? step : 1 + (size >> 16) % 29), len);
        read_to(r, at);
    }
    if (kind & 8 && r->has_head && r->verdict == HTTP1_MORE) {
        r->verdict = http1_body_end(&r->body);
        r->reason = r->body.reason;
    }
}

static bool
same_slice(const struct http1_head *a, struct http1_slice x, const struct http1_head *b,
           struct http1_slice y)
{
    return x.len == y.len && memcmp(a->bytes + x.at, b->bytes + y.at, x.len) == 0;
}

static void
require_same_head(const struct http1_head *a, const struct http1_head *b)
{
    require(a->method == b->method && a->form == b->form && a->minor == b->minor);
    require(same_slice(a, a->method_name, b, b->method_name));
    require(same_slice(a, a->target, b, b->target) && same_slice(a, a->path, b, b->path));
    require(same_slice(a, a->query, b, b->query) && same_slice(a, a->host, b, b->host));
    require(a->status == b->status && a->framing == b->framing);
    require(a->content_length == b->content_length && a->keep_alive == b->keep_alive);
    require(a->expect_continue == b->expect_continue && a->field_count == b->field_count);
    for (unsigned i = 0; i < a->field_count; i++) {
        require(a->fields[i].id == b->fields[i].id);
        require(same_slice(a, a->fields[i].name, b, b->fields[i].name));
        require(same_slice(a, a->fields[i].value, b, b->fields[i].value));
    }
}

static void
require_same(const struct reading *a, const struct reading *b)
{
    require(a->verdict == b->verdict && a->reason == b->reason && a->has_head == b->has_head);
    require(a->used == b->used || a->verdict == HTTP1_REFUSED);
    require(a->content.len == b->content.len);
    require(memcmp(a->content.data, b->content.data, a->content.len) == 0);
    if (a->has_head)
        require_same_head(&a->head, &b->head);
}

static char *
copy(const struct http1_head *h, struct http1_slice s)
{
    return mem_strndup(h->bytes + s.at, s.len);
}

static void
write_head(struct buf *out, const struct http1_head *h)
{
    struct http_writer w;
    _cleanup_free_ char *method = copy(h, h->method_name), *target = copy(h, h->target);
    if (h->is_response)
        http_write_response(&w, out, h->status);
    else
        http_write_request(&w, out, method, target);
    for (unsigned i = 0; i < h->field_count; i++) {
        _cleanup_free_ char *name = copy(h, h->fields[i].name);
        const char *value = h->bytes + h->fields[i].value.at;
        size_t len = h->fields[i].value.len;
        if (http_field_is_hop(h->fields[i].id))
            buf_printf(out, "%s: %.*s\r\n", name, (int)len, value);
        else
            http_write_field_n(&w, name, value, len);
    }
    require(http_write_end(&w) == 0);
}

/* What is written says HTTP/1.1, so that of 1.0 cannot be compared. */
static void
check_rewritten(const struct reading *r)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1 << 22);
    struct reading again;
    if (!r->has_head || r->head.minor == 0)
        return;
    write_head(&out, &r->head);
    /* The blank behind each colon makes it longer. */
    if (out.len > http_server_config_default.head.head_bytes)
        return;
    size_t head_len = out.len;
    if (r->head.framing == HTTP1_CHUNKED) {
        http_write_chunk(&out, r->content.data, r->content.len);
        if (r->verdict == HTTP1_DONE)
            http_write_last_chunk(&out);
    } else {
        buf_add(&out, r->content.data, r->content.len);
    }
    read_in_steps(&again, r->kind & (3 | 8), out.data, out.len, out.len);
    require(again.has_head && again.head.len == head_len);
    require_same_head(&r->head, &again.head);
    require(again.content.len == r->content.len);
    if (r->verdict == HTTP1_DONE)
        require(again.verdict == HTTP1_DONE && again.used == out.len);
    buf_finish(&again.content);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct reading whole, pieces, bytes;
    if (len == 0 || len > 65536)
        return 0;
    const char *text = (const char *)data + 1;
    read_in_steps(&whole, data[0], text, len - 1, len);
    read_in_steps(&pieces, data[0], text, len - 1, 0);
    require_same(&whole, &pieces);
    if (len < 1000) {
        read_in_steps(&bytes, data[0], text, len - 1, 1);
        require_same(&whole, &bytes);
        buf_finish(&bytes.content);
    }
    check_rewritten(&whole);
    buf_finish(&whole.content);
    buf_finish(&pieces.content);
    return 0;
}
