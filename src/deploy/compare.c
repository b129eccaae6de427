#include "deploy/compare.h"

#include "base/text.h"
#include "base/vec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define UNITS "units/"
#define CONTEXT 3
/* Above it, what differs is shown as all old lines and all new ones. */
#define TABLE_CELLS_MAX (4 * MIB)

/* ---- files ---- */

static bool
is_same(const struct generation_file *a, const struct generation_file *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->bytes, b->bytes, a->len) == 0);
}

int
deploy_compare(const struct generation_file *from, size_t from_count,
               const struct generation_file *to, size_t to_count, struct arena *arena,
               struct deploy_change **ret_items, size_t *ret_count)
{
    struct deploy_change *items = arena_alloc(arena, (from_count + to_count + 1) * sizeof(*items));
    size_t count = 0;
    if (!items)
        return -ENOMEM;
    for (size_t i = 0, n = 0; i < from_count || n < to_count;) {
        int order = i == from_count ? 1 : n == to_count ? -1 : strcmp(from[i].name, to[n].name);
        const char *name = order <= 0 ? from[i].name : to[n].name;
        const struct generation_file *was = order <= 0 ? &from[i++] : NULL;
        const struct generation_file *is = order >= 0 ? &to[n++] : NULL;
        if (!was || !is || !is_same(was, is))
            items[count++] = (struct deploy_change){name, was, is};
    }
    *ret_items = items;
    *ret_count = count;
    return 0;
}

const char *
deploy_unit_of(const char *file)
{
    static const char *const ends[] = {".service", ".socket", ".target", ".timer"};
    if (!text_starts(file, UNITS))
        return NULL;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        if (text_ends(file, ends[i]))
            return file + strlen(UNITS);
    return NULL;
}

/* ---- lines ---- */

struct line {
    const char *text;
    size_t len;
};

struct lines {
    VEC(struct line) list;
};

static void
split(const struct generation_file *file, struct lines *lines)
{
    const char *at = file ? file->bytes : NULL, *end = file ? at + file->len : NULL;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((stop ? stop : end) - at);
        vec_push(&lines->list, ((struct line){at, len}));
        at += len + 1;
    }
}

static bool
is_same_line(const struct line *a, const struct line *b)
{
    return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

/* One step from the old text to the new one. */
struct step {
    char mark; /* ' ', '-' or '+' */
    const struct line *line;
};

struct steps {
    VEC(struct step) list;
};

/* The longest common subsequence of what is between equal beginnings and ends: table[i][n] is its
 * length for the lines from i and from n on. */
static uint16_t *
fill_table(const struct line *old, size_t old_count, const struct line *new, size_t new_count)
{
    size_t row = new_count + 1;
    if (old_count >= UINT16_MAX || new_count >= UINT16_MAX ||
        (old_count + 1) * row > TABLE_CELLS_MAX)
        return NULL;
    uint16_t *table = mem_alloc((old_count + 1) * row * sizeof(*table));
    for (size_t i = old_count; i-- > 0;)
        for (size_t n = new_count; n-- > 0;)
            table[i * row + n] = is_same_line(&old[i], &new[n])
                                     ? (uint16_t)(table[(i + 1) * row + n + 1] + 1)
                                     : MAX(table[(i + 1) * row + n], table[i * row + n + 1]);
    return table;
}

static void
walk(const struct line *old, size_t old_count, const struct line *new, size_t new_count,
     struct steps *steps)
{
    _cleanup_free_ uint16_t *table = fill_table(old, old_count, new, new_count);
    size_t row = new_count + 1, i = 0, n = 0;
    while (i < old_count || n < new_count) {
        bool both = table && i < old_count && n < new_count;
        if (both && is_same_line(&old[i], &new[n])) {
            vec_push(&steps->list, ((struct step){' ', &old[i++]}));
            n++;
        } else if (i < old_count && (!both || table[(i + 1) * row + n] >= table[i * row + n + 1])) {
            vec_push(&steps->list, ((struct step){'-', &old[i++]}));
        } else {
            vec_push(&steps->list, ((struct step){'+', &new[n++]}));
        }
    }
}

static void
find_steps(const struct lines *old, const struct lines *new, struct steps *steps)
{
    size_t begin = 0, end = 0, shorter = MIN(old->list.count, new->list.count);
    while (begin < shorter && is_same_line(&old->list.items[begin], &new->list.items[begin]))
        vec_push(&steps->list, ((struct step){' ', &old->list.items[begin++]}));
    while (end < shorter - begin && is_same_line(&old->list.items[old->list.count - 1 - end],
                                                 &new->list.items[new->list.count - 1 - end]))
        end++;
    if (old->list.count > begin + end || new->list.count > begin + end)
        walk(old->list.items + begin, old->list.count - begin - end, new->list.items + begin,
             new->list.count - begin - end, steps);
    for (size_t i = old->list.count - end; i < old->list.count; i++)
        vec_push(&steps->list, ((struct step){' ', &old->list.items[i]}));
}

/* Whether a change is near. */
static bool
is_shown(const struct steps *steps, size_t at)
{
    size_t first = at > CONTEXT ? at - CONTEXT : 0;
    for (size_t i = first; i <= at + CONTEXT && i < steps->list.count; i++)
        if (steps->list.items[i].mark != ' ')
            return true;
    return false;
}

static void
print_line(struct buf *out, const struct step *step)
{
    _cleanup_free_ char *text = mem_strndup(step->line->text, step->line->len);
    text_disarm(text);
    buf_printf(out, "%c%s\n", step->mark, text);
}

static void
print_steps(const struct steps *steps, struct buf *out)
{
    bool gap = false;
    for (size_t i = 0; i < steps->list.count; i++) {
        if (!is_shown(steps, i)) {
            gap = true;
            continue;
        }
        if (gap)
            buf_add_str(out, "...\n");
        gap = false;
        print_line(out, &steps->list.items[i]);
    }
}

void
deploy_print_change(const struct deploy_change *change, struct buf *out)
{
    struct lines old = {0}, new = {0};
    struct steps steps = {0};
    split(change->from, &old);
    split(change->to, &new);
    find_steps(&old, &new, &steps);
    buf_printf(out, "--- %s\n+++ %s\n", change->from ? change->name : "(nothing)",
               change->to ? change->name : "(nothing)");
    print_steps(&steps, out);
    vec_finish(&old.list);
    vec_finish(&new.list);
    vec_finish(&steps.list);
}
