#pragma once

/* A growing run of bytes, born with a ceiling.
 *
 * Invariants: data is never NULL and data[len] is always '\0'; len never exceeds the ceiling.
 * What does not fit is not added, not even in part, and `failed` stays set until buf_clear() or
 * buf_truncate(): write everything, then ask buf_error() once. */

#include "base/util.h"

#include <stdarg.h>

struct buf {
    char *data;
    size_t len;
    size_t room; /* allocated, 0 while data is the shared empty string */
    size_t ceiling_bytes;
    bool failed;
};

#define BUF_CEILING_MAX (SIZE_MAX / 4)
#define BUF_INIT(ceiling)                             \
    {                                                 \
        .data = buf_empty, .ceiling_bytes = (ceiling) \
    }
#define _cleanup_buf_ _cleanup_(buf_finish)

extern char buf_empty[1];

void buf_init(struct buf *b, size_t ceiling_bytes);
void buf_finish(struct buf *b);
void buf_clear(struct buf *b); /* keeps the room */

void buf_add(struct buf *b, const void *bytes, size_t len);
void buf_add_str(struct buf *b, const char *text);
void buf_add_char(struct buf *b, char c);
void buf_add_u64(struct buf *b, uint64_t n);
/* As one word of a command line: quoted where a shell would take it for more than its letters. What
 * could drive a terminal is written as $'\033', which bash, zsh and ksh read. */
void buf_add_word(struct buf *b, const char *word);
void buf_printf(struct buf *b, const char *fmt, ...) printf_like(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list args) printf_like(2, 0);

/* Room for len bytes more at data + b->len, to be filled and then counted by buf_commit();
 * NULL, and failed, above the ceiling. */
void *buf_reserve(struct buf *b, size_t len) must_check;
void buf_commit(struct buf *b, size_t len);

/* Drops the first len bytes; or all but these, and with them a failure to add more. */
void buf_consume(struct buf *b, size_t len);
void buf_truncate(struct buf *b, size_t len);

int buf_error(const struct buf *b) must_check; /* 0, or -ENOBUFS */
