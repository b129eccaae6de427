/* Own code, rather than libsmartcols: that library can cut cells and hide columns that it was told
 * to hide, but not leave out the least important ones until a table fits; it disarms nothing that a
 * file name may hold; and what it measures depends on the locale that the process has set. One
 * dependency fewer is the smaller gain.
 *
 * Widths come from libc's tables under C.UTF-8, which glibc has without any locale installed. If it
 * has not, each byte sequence counts one cell.
 *
 * Fitting: columns are as wide as their widest cell, two cells apart. Too wide for the terminal,
 * the widest that may be cut is cut, cell by cell, down to its min_width; then the most expendable
 * column goes, the cuts are forgotten, and it starts again. What may never go is cut at last, and
 * goes from the right where even that is too wide; of the first column some is left on any
 * terminal. */

#include "fmt/table.h"

#include "base/text.h"

#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#define TABLE_CEILING_BYTES (32 * MIB)
#define CELL_BYTES 4096
#define GAP 2
/* What a column keeps when nothing else helps. */
#define LAST_WIDTH 3

struct table_cell {
    struct table_cell *next;
    enum tone tone;
    size_t width;
    const char *text;
};

/* Cells of the longest start of text that takes no more than limit; *ret_len is its bytes. */
static size_t
fit(const char *text, size_t limit, size_t *ret_len)
{
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    locale_t before = utf8 ? uselocale(utf8) : (locale_t)0;
    const char *at = text, *end = text + strlen(text);
    size_t width = 0;
    *ret_len = 0;
    while (at < end) {
        uint32_t c = text_next_char(&at, end);
        int cells = c < 0x80 || !utf8 ? 1 : wcwidth((wchar_t)c);
        if (width + (size_t)MAX(cells, 0) > limit)
            break;
        width += (size_t)MAX(cells, 0);
        *ret_len = (size_t)(at - text);
    }
    if (utf8) {
        (void)uselocale(before);
        freelocale(utf8);
    }
    return width;
}

size_t
table_text_width(const char *text)
{
    size_t len = 0;
    while (text[len] && !(text[len] & 0x80))
        len++;
    return text[len] ? fit(text, SIZE_MAX, &len) : len;
}

const char *
tone_start(enum tone tone, const struct table_look *look)
{
    static const char *const codes[] = {
        [TONE_PLAIN] = "",       [TONE_GOOD] = "\033[32m", [TONE_WARN] = "\033[33m",
        [TONE_BAD] = "\033[31m", [TONE_DIM] = "\033[2m",   [TONE_TITLE] = "\033[1m",
    };
    return look->color ? codes[tone] : "";
}

const char *
tone_end(enum tone tone, const struct table_look *look)
{
    return look->color && tone != TONE_PLAIN ? "\033[0m" : "";
}

void
table_init(struct table *t, const struct table_column *columns, size_t count)
{
    assert(count >= 1 && count <= TABLE_COLUMNS_MAX);
    *t = (struct table){.columns = columns, .columns_count = count};
    arena_init(&t->arena, TABLE_CEILING_BYTES);
}

void
table_finish(struct table *t)
{
    arena_finish(&t->arena);
    *t = (struct table){0};
}

void
table_add(struct table *t, enum tone tone, const char *text)
{
    struct table_cell *cell = arena_new(&t->arena, struct table_cell);
    char *safe = arena_strndup(&t->arena, text, strnlen(text, CELL_BYTES));
    if (!cell || !safe)
        return;
    text_disarm(safe);
    *cell = (struct table_cell){NULL, tone, table_text_width(safe), safe};
    *(t->last ? &t->last->next : &t->first) = cell;
    t->last = cell;
    t->cells_count++;
}

void
table_addf(struct table *t, enum tone tone, const char *fmt, ...)
{
    char text[CELL_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    table_add(t, tone, text);
}

struct layout {
    size_t width[TABLE_COLUMNS_MAX]; /* 0: left out */
};

static void
measure(const struct table *t, struct layout *l)
{
    size_t i = 0;
    assert(t->columns_count > 0);
    for (; i < t->columns_count; i++)
        l->width[i] = MAX(table_text_width(t->columns[i].title), (size_t)1);
    i = 0;
    for (const struct table_cell *c = t->first; c; c = c->next) {
        l->width[i] = MAX(l->width[i], c->width);
        i = (i + 1) % t->columns_count;
    }
}

static size_t
total(const struct table *t, const struct layout *l)
{
    size_t sum = 0;
    for (size_t i = 0; i < t->columns_count; i++)
        if (l->width[i])
            sum += l->width[i] + (sum ? GAP : 0);
    return sum;
}

static size_t
least(const struct table_column *column, bool last_resort)
{
    return last_resort ? LAST_WIDTH : column->min_width ? column->min_width : SIZE_MAX;
}

/* Cuts the widest columns that may be cut; true when the table fits then. */
static bool
cut(const struct table *t, struct layout *l, size_t limit, bool last_resort)
{
    while (total(t, l) > limit) {
        size_t widest = t->columns_count;
        for (size_t i = 0; i < t->columns_count; i++)
            if (l->width[i] > least(&t->columns[i], last_resort) &&
                (widest == t->columns_count || l->width[i] > l->width[widest]))
                widest = i;
        if (widest == t->columns_count)
            return false;
        l->width[widest]--;
    }
    return true;
}

/* The column that goes next: the most expendable, the last of those. */
static size_t
most_expendable(const struct table *t, const struct layout *l)
{
    size_t found = t->columns_count;
    unsigned most = 1;
    for (size_t i = 0; i < t->columns_count; i++) {
        if (!l->width[i] || t->columns[i].expendable < most)
            continue;
        most = t->columns[i].expendable;
        found = i;
    }
    return found;
}

/* Without the last column, unless that is the only one. */
static bool
drop_last(const struct table *t, struct layout *whole)
{
    size_t i = t->columns_count - 1;
    while (i > 0 && !whole->width[i])
        i--;
    if (total(t, whole) == whole->width[i])
        return false;
    whole->width[i] = 0;
    return true;
}

static void
squeeze(const struct table *t, struct layout whole, size_t limit, struct layout *ret_layout)
{
    *ret_layout = whole;
    while (!cut(t, ret_layout, limit, true)) {
        if (!drop_last(t, &whole)) {
            for (size_t i = 0; i < t->columns_count; i++)
                ret_layout->width[i] = MIN(ret_layout->width[i], limit);
            return;
        }
        *ret_layout = whole;
    }
}

static void
lay_out(const struct table *t, size_t limit, struct layout *ret_layout)
{
    struct layout whole = {0};
    measure(t, &whole);
    *ret_layout = whole;
    while (limit && !cut(t, ret_layout, limit, false)) {
        size_t gone = most_expendable(t, &whole);
        if (gone == t->columns_count) {
            squeeze(t, whole, limit, ret_layout);
            return;
        }
        whole.width[gone] = 0;
        *ret_layout = whole;
    }
}

/* A row is printed from left to right; spaces wait for what they stand before, so that no line
 * ends with some. */
struct row {
    struct buf *out;
    const struct table_look *look;
    size_t spaces;
    bool begun;
};

static void
print_cell(struct row *row, const struct table_column *column, size_t room, enum tone tone,
           const char *text, size_t width)
{
    const char *mark = row->look->utf8 ? "\xE2\x80\xA6" : "...";
    size_t mark_width = row->look->utf8 ? 1 : 3;
    size_t len = strlen(text);
    bool is_cut = width > room, is_marked = is_cut && room > mark_width;
    if (is_cut)
        width = fit(text, is_marked ? room - mark_width : room, &len);
    if (is_marked)
        width += mark_width;
    for (; is_cut && !is_marked && len && text[len - 1] == ' '; len--)
        width--;
    row->spaces += (row->begun ? GAP : 0) + (column->right ? room - width : 0);
    row->begun = true;
    if (width > 0) {
        buf_printf(row->out, "%*s%s%.*s%s%s", (int)row->spaces, "", tone_start(tone, row->look),
                   (int)len, text, is_marked ? mark : "", tone_end(tone, row->look));
        row->spaces = 0;
    }
    row->spaces += column->right ? 0 : room - width;
}

static void
print_titles(const struct table *t, const struct layout *l, struct row *row)
{
    for (size_t i = 0; i < t->columns_count; i++)
        if (l->width[i])
            print_cell(row, &t->columns[i], l->width[i], TONE_TITLE, t->columns[i].title,
                       table_text_width(t->columns[i].title));
    buf_add_char(row->out, '\n');
}

void
table_print_line(const char *text, const struct table_look *look, struct buf *out)
{
    size_t width = table_text_width(text), room = look->width ? look->width : width;
    print_cell(&(struct row){.out = out, .look = look}, &(struct table_column){0}, room, TONE_PLAIN,
               text, width);
    buf_add_char(out, '\n');
}

void
table_print(const struct table *t, const struct table_look *look, struct buf *out)
{
    struct layout layout;
    const struct table_cell *c = t->first;
    assert(t->arena.full || t->cells_count % t->columns_count == 0);
    lay_out(t, look->width, &layout);
    print_titles(t, &layout, &(struct row){.out = out, .look = look});
    while (c) {
        struct row row = {.out = out, .look = look};
        for (size_t i = 0; i < t->columns_count && c; i++, c = c->next)
            if (layout.width[i])
                print_cell(&row, &t->columns[i], layout.width[i], c->tone, c->text, c->width);
        buf_add_char(out, '\n');
    }
    if (t->arena.full)
        table_print_line("(there is more than can be shown)", look, out);
}
