#pragma once

/* Tables for people: columns of text on a terminal, or in a pipe.
 *
 * On a terminal a table never wraps: what does not fit is cut with an ellipsis, and then the least
 * important columns are left out. In a pipe (width 0) everything is shown whole. */

#include "base/buf.h"
#include "base/mem.h"

enum tone { TONE_PLAIN, TONE_GOOD, TONE_WARN, TONE_BAD, TONE_DIM, TONE_TITLE };

/* How things look where they go to. */
struct table_look {
    unsigned width; /* cells of the terminal; 0: no limit */
    bool color;
    bool utf8; /* the terminal shows more than ASCII */
};

#define TABLE_COLUMNS_MAX 24

struct table_column {
    const char *title;
    bool right;          /* numbers stand to the right */
    unsigned min_width;  /* may be cut down to this; 0: only when nothing else helps */
    unsigned expendable; /* the highest is left out first; 0: never */
};

struct table {
    const struct table_column *columns; /* the caller's */
    size_t columns_count;
    struct arena arena;
    struct table_cell *first, *last;
    size_t cells_count;
};

void table_init(struct table *t, const struct table_column *columns, size_t count);
void table_finish(struct table *t);
#define _cleanup_table_ _cleanup_(table_finish)

/* The next cell, row by row. Text from anywhere: what could drive a terminal is disarmed. */
void table_add(struct table *t, enum tone tone, const char *text);
void table_addf(struct table *t, enum tone tone, const char *fmt, ...) printf_like(3, 4);

/* Prints the titles and all rows. A table that outgrew its memory ends with a row that says so. */
void table_print(const struct table *t, const struct table_look *look, struct buf *out);

/* A line of text below it, which wraps no more than it does. */
void table_print_line(const char *text, const struct table_look *look, struct buf *out);

/* Cells that text without control bytes takes on a terminal. */
size_t table_text_width(const char *text);

/* What switches a tone on; "" when the look has no colours. tone_end() switches it off. */
const char *tone_start(enum tone tone, const struct table_look *look);
const char *tone_end(enum tone tone, const struct table_look *look);
