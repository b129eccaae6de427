#include "http/write.h"

#include "http/http1_int.h"

#include <errno.h>
#include <time.h>

static bool
is_token(const char *text, size_t len)
{
    return len > 0 && http1_skip_class(text, 0, (uint32_t)len, HTTP1_TOKEN) == len;
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Whether the parser would find this value in the line. */
static bool
is_value(const char *text, size_t len)
{
    if (len > 0 && (is_blank(text[0]) || is_blank(text[len - 1])))
        return false;
    return len <= UINT32_MAX && http1_skip_text(text, 0, (uint32_t)len) == len;
}

/* Whether it may stand here, after what was written before. */
static bool
is_allowed(struct http_writer *w, enum http_field id)
{
    static_assert(HTTP_FIELD_COUNT <= 64, "a bit of seen for each");
    bool again = w->seen >> id & 1;
    w->seen |= UINT64_C(1) << id;
    return !http_field_is_hop(id) && !(again && http1_field_repeated(id));
}

static void
start(struct http_writer *w, struct buf *out)
{
    *w = (struct http_writer){.out = out, .start = out->len};
}

void
http_write_request(struct http_writer *w, struct buf *out, const char *method, const char *target)
{
    size_t len = strlen(target);
    start(w, out);
    if (!is_token(method, strlen(method)) || len == 0 || len > UINT32_MAX ||
        http1_skip_class(target, 0, (uint32_t)len, HTTP1_TARGET) != len)
        w->failed = true;
    buf_add_str(out, method);
    buf_add_char(out, ' ');
    buf_add(out, target, len);
    buf_add_str(out, " HTTP/1.1\r\n");
}

void
http_write_response(struct http_writer *w, struct buf *out, unsigned status)
{
    assert(status >= 100 && status <= 599);
    start(w, out);
    buf_add_str(out, "HTTP/1.1 ");
    buf_add_u64(out, status);
    buf_add_char(out, ' ');
    buf_add_str(out, http_status_phrase(status));
    buf_add_str(out, "\r\n");
}

void
http_write_field_n(struct http_writer *w, const char *name, const char *value, size_t len)
{
    size_t name_len = strlen(name);
    if (!is_token(name, name_len) || !is_value(value, len) ||
        !is_allowed(w, http_field_of(name, name_len))) {
        w->failed = true;
        return;
    }
    char *to = buf_reserve(w->out, name_len + len + 4);
    if (!to)
        return;
    memcpy(to, name, name_len);
    memcpy(to + name_len, ": ", 2);
    memcpy(to + name_len + 2, value, len);
    memcpy(to + name_len + 2 + len, "\r\n", 2);
    buf_commit(w->out, name_len + len + 4);
}

void
http_write_field(struct http_writer *w, const char *name, const char *value)
{
    http_write_field_n(w, name, value, strlen(value));
}

void
http_write_length(struct http_writer *w, uint64_t bytes)
{
    buf_add_str(w->out, "Content-Length: ");
    buf_add_u64(w->out, bytes);
    buf_add_str(w->out, "\r\n");
}

void
http_write_chunked(struct http_writer *w)
{
    buf_add_str(w->out, "Transfer-Encoding: chunked\r\n");
}

void
http_write_connection(struct http_writer *w, const char *option)
{
    buf_add_str(w->out, "Connection: ");
    buf_add_str(w->out, option);
    buf_add_str(w->out, "\r\n");
}

int
http_write_end(struct http_writer *w)
{
    buf_add_str(w->out, "\r\n");
    if (!w->failed)
        return buf_error(w->out);
    buf_truncate(w->out, w->start);
    return -EINVAL;
}

/* 16 digits, CR LF */
#define CHUNK_HEAD_MAX 18

static size_t
print_chunk_head(char head[CHUNK_HEAD_MAX], size_t len)
{
    size_t digits = 1;
    while (len >> (4 * digits) && digits < 16)
        digits++;
    for (size_t i = 0; i < digits; i++)
        head[i] = "0123456789abcdef"[len >> (4 * (digits - 1 - i)) & 15];
    memcpy(head + digits, "\r\n", 2);
    return digits + 2;
}

void
http_write_chunk(struct buf *out, const void *bytes, size_t len)
{
    char head[CHUNK_HEAD_MAX];
    if (len == 0)
        return;
    size_t head_len = print_chunk_head(head, len);
    char *to = buf_reserve(out, head_len + len + 2);
    if (!to)
        return;
    memcpy(to, head, head_len);
    memcpy(to + head_len, bytes, len);
    memcpy(to + head_len + len, "\r\n", 2);
    buf_commit(out, head_len + len + 2);
}

void
http_write_last_chunk(struct buf *out)
{
    buf_add_str(out, "0\r\n\r\n");
}

const char *
http_status_phrase(unsigned status)
{
    switch (status) {
#define STATUS(code, phrase) \
    case code:               \
        return phrase;
#include "http/status.def"
#undef STATUS
    default:
        return "";
    }
}

/* The names are written over strftime()'s pattern: its own are those of the locale. */
const char *
http_date(struct http_date *date, uint64_t wall_us)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    uint64_t second = wall_us / 1000000;
    if (second == date->second && date->text[0])
        return date->text;
    struct tm tm;
    time_t t = (time_t)second;
    char text[sizeof(date->text)];
    if (!gmtime_r(&t, &tm) || !strftime(text, sizeof(text), "Day, %d Mon %Y %H:%M:%S GMT", &tm))
        return date->text;
    memcpy(text, &days[3 * (size_t)tm.tm_wday], 3);
    memcpy(text + 8, &months[3 * (size_t)tm.tm_mon], 3);
    memcpy(date->text, text, sizeof(text));
    date->second = second;
    return date->text;
}
