/* HTTP/1.1 messages. The first byte says what is read: a request, or the response to one of several
 * methods. However the bytes arrive, the verdict and all that was found must be the same; and a
 * request that is accepted, written again field by field, is read as the same request. */

#include "http/http1.h"
#include "http/write.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct outcome {
    enum http1_verdict head, body;
    enum http1_reason head_reason, body_reason;
    uint32_t head_len;
    unsigned field_count;
    enum http1_framing framing;
    bool keep_alive;
    uint64_t content_length;
    uint64_t body_used;
    uint64_t content_bytes;
    uint64_t content_sum;
};

static void
init(struct http1_head *head, uint8_t kind)
{
    static const enum http_method asked[] = {HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_CONNECT};
    if (kind % 5 == 0)
        http1_request_init(head, &http1_limits_default);
    else
        http1_response_init(head, &http1_limits_default, asked[kind % 5 - 1]);
}

static void
count(struct outcome *o, const char *piece, size_t len)
{
    o->content_bytes += len;
    for (size_t i = 0; i < len; i++)
        o->content_sum = o->content_sum * 31 + (unsigned char)piece[i];
}

/* Reads what of the body lies in [at, to). After a piece the reader is asked again, also when
 * nothing is left: it may know by now that this was all. */
static void
read_body(struct http1_body *body, const char *text, size_t at, size_t to, struct outcome *o)
{
    do {
        size_t used = 0, piece = 0;
        o->body = http1_body_read(body, text + at, to - at, &used, &piece);
        if (used > to - at || piece > used)
            abort();
        if (o->body == HTTP1_PIECE ? piece == 0 : piece > 0)
            abort();
        at += used;
        o->body_used += used;
        count(o, text + at - piece, piece);
        if (o->body == HTTP1_MORE && at < to)
            abort();
    } while (o->body == HTTP1_PIECE);
}

static struct outcome
deliver(uint8_t kind, const char *text, size_t len, size_t step, struct http1_head *head)
{
    struct outcome o = {.head = HTTP1_MORE, .body = HTTP1_MORE};
    struct http1_body body;
    size_t have = 0;
    init(head, kind);
    while (o.head == HTTP1_MORE && have < len) {
        have = MIN(have + step, len);
        o.head = http1_head_read(head, text, have);
    }
    o.head_reason = head->reason;
    if (o.head != HTTP1_DONE)
        return o;
    o.head_len = head->len;
    o.field_count = head->field_count;
    o.framing = head->framing;
    o.keep_alive = head->keep_alive;
    o.content_length = head->content_length;
    if (head->len > have)
        abort();
    http1_body_init(&body, head, 1 << 20);
    if (body.framing == HTTP1_NO_BODY)
        return o;
    read_body(&body, text, head->len, have, &o);
    for (size_t at = have; at < len && o.body == HTTP1_MORE; at += step)
        read_body(&body, text, at, MIN(at + step, len), &o);
    if (o.body == HTTP1_MORE)
        o.body = http1_body_end(&body);
    o.body_reason = body.reason;
    return o;
}

static void
check_same(const struct outcome *a, const struct outcome *b)
{
    if (a->head != b->head || a->head_reason != b->head_reason || a->head_len != b->head_len ||
        a->field_count != b->field_count || a->framing != b->framing ||
        a->keep_alive != b->keep_alive || a->content_length != b->content_length)
        abort();
    if (a->body != b->body || a->body_reason != b->body_reason || a->body_used != b->body_used ||
        a->content_bytes != b->content_bytes || a->content_sum != b->content_sum)
        abort();
}

static char *
copy(const struct http1_head *head, struct http1_slice slice)
{
    char *text = malloc(slice.len + 1);
    if (!text)
        abort();
    memcpy(text, head->bytes + slice.at, slice.len);
    text[slice.len] = '\0';
    return text;
}

static void
write_again(const struct http1_head *head)
{
    struct buf out;
    struct http_writer w;
    struct http1_head again;
    char *method = copy(head, head->method_name), *target = copy(head, head->target);
    buf_init(&out, 1 << 20);
    http_write_request(&w, &out, method, target);
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct http1_field *field = &head->fields[i];
        char *name = copy(head, field->name);
        if (field->id == HTTP_FIELD_CONTENT_LENGTH)
            http_write_length(&w, head->content_length);
        else if (field->id == HTTP_FIELD_TRANSFER_ENCODING)
            http_write_chunked(&w);
        else
            http_write_field_n(&w, name, head->bytes + head->fields[i].value.at,
                               head->fields[i].value.len);
        free(name);
    }
    if (http_write_end(&w) < 0)
        abort();
    http1_request_init(&again, &http1_limits_default);
    enum http1_verdict verdict = http1_head_read(&again, out.data, out.len);
    /* Written plainly it may be a few bytes longer (a blank behind each colon). */
    bool longer = verdict == HTTP1_REFUSED && out.len > http1_limits_default.head_bytes;
    if (!longer &&
        (verdict != HTTP1_DONE || again.len != out.len || again.method != head->method ||
         again.form != head->form || again.framing != head->framing ||
         again.field_count != head->field_count || again.content_length != head->content_length ||
         again.host.len != head->host.len || again.path.len != head->path.len))
        abort();
    buf_finish(&out);
    free(method);
    free(target);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const size_t steps[] = {1, 3, 17};
    if (len == 0)
        return 0;
    const char *text = (const char *)data + 1;
    struct http1_head head;
    struct outcome whole = deliver(data[0], text, len - 1, len, &head);
    if (whole.head == HTTP1_DONE && data[0] % 5 == 0 && head.minor == 1)
        write_again(&head);
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        struct outcome split = deliver(data[0], text, len - 1, steps[i], &head);
        check_same(&whole, &split);
    }
    return 0;
}
