#pragma once

/* Questions about text. */

#include "base/util.h"

bool text_eq(const char *a, const char *b); /* both may be NULL */
bool text_starts(const char *text, const char *start);
bool text_ends(const char *text, const char *end);
bool text_is_utf8(const char *text, size_t len); /* strict: no overlongs, no surrogates */
/* Bytes of the character that text begins with; 0 when that is not UTF-8. left is at least 1. */
size_t text_utf8_step(const char *text, size_t left);
/* The character at *text, which it steps over; what is not UTF-8 is TEXT_NO_CHAR, a byte at a time. */
#define TEXT_NO_CHAR 0xFFFD
uint32_t text_next_char(const char **text, const char *end);
/* Writes a character, 4 bytes at most. Returns the place behind it. */
char *text_put_char(char *to, uint32_t c);
/* Writes 16 digits. Returns the place behind them. */
char *text_put_hex(char *to, uint64_t n);
/* As much as has room, as snprintf("%s") would, whose price shows where every request pays it. */
void text_copy(char *to, size_t room, const char *from);

/* A name of a service or a model: a lower-case letter or digit, then those, '-', '_' or '.', 63 at
 * most. It is safe in file names, unit names, labels and URLs. */
#define TEXT_NAME_MAX 63
bool text_is_name(const char *text);

/* The candidate most like text, or NULL if none is near enough to be what was meant.
 * candidate(i, arg) returns NULL after the last. */
const char *text_nearest(const char *text, const char *(*candidate)(size_t i, const void *arg),
                         const void *arg);

/* Whether a character can drive a terminal, or make text look like other text: controls, ends of
 * lines, what is invisible, and what turns the direction of writing. */
bool text_is_dangerous(uint32_t c);

/* Puts a '?' in the place of each such character, and of bytes that are none. */
void text_disarm(char *text);

/* After vsnprintf() into room bytes, which wanted `wanted`: marks a text that was cut, between
 * characters, and disarms it. */
void text_make_safe(char *text, size_t room, int wanted);
