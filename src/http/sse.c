#include "http/sse.h"

#include <errno.h>
#include <string.h>

#ifdef __SSE2__
#    include <emmintrin.h>
#endif

void
sse_init(struct sse_reader *r, size_t ceiling_bytes)
{
    *r = (struct sse_reader){.line = BUF_INIT(ceiling_bytes), .data = BUF_INIT(ceiling_bytes)};
}

void
sse_finish(struct sse_reader *r)
{
    buf_finish(&r->line);
    buf_finish(&r->data);
}

bool
sse_is_between(const struct sse_reader *r)
{
    return r->line.len == 0 && (r->told || (r->data.len == 0 && !r->type[0]));
}

static void
forget_event(struct sse_reader *r)
{
    buf_clear(&r->data);
    r->type[0] = r->id[0] = '\0';
    r->told = false;
}

static int
set_name(char name[SSE_NAME_MAX + 1], const char *value, size_t len)
{
    if (len > SSE_NAME_MAX)
        return -EMSGSIZE;
    memcpy(name, value, len);
    name[len] = '\0';
    return 0;
}

static bool
is_field(const char *name, const char *line, size_t len)
{
    return strlen(name) == len && memcmp(name, line, len) == 0;
}

/* A line `name: value` or `name`. A value that is no name (id with a NUL) is ignored, as the
 * standard says; so are `retry`, which is for browsers, and unknown fields. */
static int
take_field(struct sse_reader *r, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    size_t name_len = colon ? (size_t)(colon - line) : len;
    size_t at = colon ? name_len + 1 : len;
    if (at < len && line[at] == ' ')
        at++;
    if (is_field("data", line, name_len)) {
        buf_add(&r->data, line + at, len - at);
        buf_add_char(&r->data, '\n');
        return buf_error(&r->data) < 0 ? -EMSGSIZE : 0;
    }
    if (memchr(line + at, '\0', len - at))
        return 0;
    if (is_field("event", line, name_len))
        return set_name(r->type, line + at, len - at);
    if (is_field("id", line, name_len))
        return set_name(r->id, line + at, len - at);
    return 0;
}

/* An empty line ends an event; one without data is none. */
static int
take_end(struct sse_reader *r, struct sse_event *ret)
{
    if (r->data.len == 0) {
        forget_event(r);
        return 0;
    }
    buf_truncate(&r->data, r->data.len - 1); /* the last line's end */
    *ret = (struct sse_event){
        .type = r->type[0] ? r->type : "message",
        .data = r->data.data,
        .len = r->data.len,
        .id = r->id,
    };
    r->told = true;
    return 1;
}

static int
take_line(struct sse_reader *r, struct sse_event *ret)
{
    const char *line = r->line.data;
    size_t len = r->line.len;
    if (!r->began && len >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) {
        line += 3;
        len -= 3;
    }
    r->began = true;
    int got = len == 0 ? take_end(r, ret) : take_field(r, line, len);
    buf_clear(&r->line);
    return got;
}

size_t
sse_line_end(const char *bytes, size_t at, size_t len)
{
#ifdef __SSE2__
    const __m128i lf = _mm_set1_epi8('\n'), cr = _mm_set1_epi8('\r');
    for (; len - at >= 16; at += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(bytes + at));
        __m128i ends = _mm_or_si128(_mm_cmpeq_epi8(x, lf), _mm_cmpeq_epi8(x, cr));
        unsigned mask = (unsigned)_mm_movemask_epi8(ends);
        if (mask)
            return at + (size_t)__builtin_ctz(mask);
    }
#endif
    while (at < len && bytes[at] != '\n' && bytes[at] != '\r')
        at++;
    return at;
}

int
sse_read(struct sse_reader *r, const char *bytes, size_t len, size_t *ret_used,
         struct sse_event *ret_event)
{
    if (r->told)
        forget_event(r);
    for (size_t at = *ret_used = 0; at < len;) {
        if (r->has_cr && bytes[at] == '\n')
            at++;
        r->has_cr = false;
        size_t end = sse_line_end(bytes, at, len);
        buf_add(&r->line, bytes + at, end - at);
        if (buf_error(&r->line) < 0)
            return -EMSGSIZE;
        at = *ret_used = MIN(end + 1, len);
        if (end == len)
            break;
        r->has_cr = bytes[end] == '\r';
        int got = take_line(r, ret_event);
        if (got != 0)
            return got;
    }
    return 0;
}

static void
write_line(struct buf *out, const char *name, const char *value, size_t len)
{
    buf_add_str(out, name);
    buf_add(out, value, len);
    buf_add_char(out, '\n');
}

void
sse_write(struct buf *out, const char *type, const char *data, size_t len)
{
    if (type) {
        assert(!strpbrk(type, "\r\n"));
        write_line(out, "event: ", type, strlen(type));
    }
    for (size_t at = 0; at <= len;) {
        size_t end = sse_line_end(data, at, len);
        write_line(out, "data: ", data + at, end - at);
        bool two = end + 1 < len && data[end] == '\r' && data[end + 1] == '\n';
        at = end + (two ? 2 : 1);
    }
    buf_add_char(out, '\n');
}

void
sse_write_comment(struct buf *out, const char *text)
{
    assert(!strpbrk(text, "\r\n"));
    write_line(out, ": ", text, strlen(text));
    buf_add_char(out, '\n');
}
