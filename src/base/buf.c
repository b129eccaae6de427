#include "base/buf.h"

#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char buf_empty[1];

void
buf_init(struct buf *b, size_t ceiling_bytes)
{
    assert(ceiling_bytes <= BUF_CEILING_MAX);
    *b = (struct buf)BUF_INIT(ceiling_bytes);
}

void
buf_finish(struct buf *b)
{
    if (b->room)
        free(b->data);
    buf_init(b, b->ceiling_bytes);
}

void
buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->room)
        b->data[0] = '\0';
}

static void *
grow(struct buf *b, size_t need)
{
    size_t room = MAX(need, MIN(b->room * 2, b->ceiling_bytes + 1));
    room = MAX(room, (size_t)64);
    char *data = realloc(b->room ? b->data : NULL, room);
    if (!data) {
        b->failed = true;
        return NULL;
    }
    data[b->len] = '\0';
    b->data = data;
    b->room = room;
    return data + b->len;
}

/* Nearly everything that is written comes by here, a few bytes at a time. */
static inline void *
reserve(struct buf *b, size_t len)
{
    if (b->failed || len > b->ceiling_bytes - b->len) {
        b->failed = true;
        return NULL;
    }
    size_t need = b->len + len + 1;
    return need <= b->room ? b->data + b->len : grow(b, need);
}

static inline void
commit(struct buf *b, size_t len)
{
    assert(len < b->room - b->len);
    b->len += len;
    b->data[b->len] = '\0';
}

static inline void
add(struct buf *b, const void *bytes, size_t len)
{
    void *to = len ? reserve(b, len) : NULL;
    if (!to)
        return;
    memcpy(to, bytes, len);
    commit(b, len);
}

void *
buf_reserve(struct buf *b, size_t len)
{
    return reserve(b, len);
}

void
buf_commit(struct buf *b, size_t len)
{
    commit(b, len);
}

void
buf_add(struct buf *b, const void *bytes, size_t len)
{
    add(b, bytes, len);
}

void
buf_add_str(struct buf *b, const char *text)
{
    add(b, text, strlen(text));
}

void
buf_add_char(struct buf *b, char c)
{
    char *to = reserve(b, 1);
    if (!to)
        return;
    *to = c;
    commit(b, 1);
}

void
buf_add_u64(struct buf *b, uint64_t n)
{
    char digits[20]; /* 2^64 - 1 has 20 */
    size_t at = sizeof(digits);
    do
        digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    add(b, digits + at, sizeof(digits) - at);
}

static bool
is_armed(const char *word)
{
    const char *end = word + strlen(word);
    while (word < end) {
        uint32_t c = text_next_char(&word, end);
        if (c == TEXT_NO_CHAR || text_is_dangerous(c))
            return true;
    }
    return false;
}

/* Byte by byte and octal, as the character may be none. */
static void
add_octal(struct buf *b, const char *word)
{
    const char *end = word + strlen(word);
    buf_add_str(b, "$'");
    while (word < end) {
        const char *at = word;
        uint32_t c = text_next_char(&word, end);
        bool plain = c != '\'' && c != '\\' && c != TEXT_NO_CHAR && !text_is_dangerous(c);
        for (; at < word; at++)
            buf_printf(b, plain ? "%c" : "\\%03o", (unsigned char)*at);
    }
    buf_add_char(b, '\'');
}

static void
add_quoted(struct buf *b, const char *word)
{
    buf_add_char(b, '\'');
    for (; *word; word++)
        if (*word == '\'')
            buf_add_str(b, "'\\''");
        else
            buf_add_char(b, *word);
    buf_add_char(b, '\'');
}

void
buf_add_word(struct buf *b, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789%+,-./:=@_";
    if (*word && !word[strspn(word, plain)])
        buf_add_str(b, word);
    else if (is_armed(word))
        add_octal(b, word);
    else
        add_quoted(b, word);
}

void
buf_vprintf(struct buf *b, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    assert(len >= 0);
    char *to = buf_reserve(b, (size_t)len);
    if (to) {
        (void)vsnprintf(to, (size_t)len + 1, fmt, again);
        buf_commit(b, (size_t)len);
    }
    va_end(again);
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    buf_vprintf(b, fmt, args);
    va_end(args);
}

void
buf_consume(struct buf *b, size_t len)
{
    assert(len <= b->len);
    if (len == 0)
        return;
    b->len -= len;
    memmove(b->data, b->data + len, b->len);
    b->data[b->len] = '\0';
}

void
buf_truncate(struct buf *b, size_t len)
{
    assert(len <= b->len);
    b->len = len;
    b->failed = false;
    if (b->room)
        b->data[len] = '\0';
}

int
buf_error(const struct buf *b)
{
    return b->failed ? -ENOBUFS : 0;
}
