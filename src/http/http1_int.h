#pragma once

/* What the files of the parser share. */

#include "http/http1.h"

/* Classes of bytes. */
enum {
    HTTP1_TOKEN = 1,    /* RFC 9110 tchar */
    HTTP1_TARGET = 2,   /* what a target may hold at all: see check_path() */
    HTTP1_PATH = 4,     /* RFC 3986 pchar, and '/' */
    HTTP1_HOSTNAME = 8, /* RFC 3986 unreserved */
    HTTP1_HEX = 16,
};
extern const uint8_t http1_classes[256];

static inline bool
http1_in_class(char c, unsigned class)
{
    return http1_classes[(unsigned char)c] & class;
}

static inline bool
http1_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A byte that may stand in a field value: no control but the tab. */
static inline bool
http1_is_text(char c)
{
    unsigned char u = (unsigned char)c;
    return (u >= 0x20 && u != 0x7F) || u == '\t';
}

/* Where the first byte of another class is, from at on; end if there is none. */
uint32_t http1_skip_class(const char *bytes, uint32_t at, uint32_t end, unsigned class);
uint32_t http1_skip_text(const char *bytes, uint32_t at, uint32_t end);

/* Why a field of that id may not stand twice; HTTP1_NONE where it may. */
enum http1_reason http1_field_repeated(enum http_field id);

/* What follows from the fields of a whole head; fills in the rest of it. */
enum http1_reason http1_head_check(struct http1_head *head) must_check;
