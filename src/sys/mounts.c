/* A line is: id, parent, device numbers, root, point, options, any number of optional fields, "-",
 * type, source, options of the file system. What would end a word in it (blank, tab, newline,
 * backslash) is written as three octal digits behind a backslash. */

#include "sys/mounts.h"

#include "base/buf.h"
#include "base/quantity.h"
#include "base/text.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define TEXT_MAX (4 * MIB) /* ten thousand mounts and more, as a host of containers has them */
#define ARENA_MAX (4 * TEXT_MAX)
#define WORDS_MAX 32

static char
from_octal(const char *digits)
{
    unsigned n = 0;
    for (size_t i = 0; i < 3; i++)
        n = 8 * n + (unsigned)(digits[i] - '0');
    return (char)(unsigned char)n;
}

/* In place; what is escaped is longer than what it stands for. */
static void
unescape(char *word)
{
    char *to = word;
    for (const char *from = word; *from; to++) {
        bool octal = from[0] == '\\' && strspn(from + 1, "01234567") >= 3;
        *to = octal ? from_octal(from + 1) : *from;
        from += octal ? 4 : 1;
    }
    *to = '\0';
}

static size_t
split(char *line, char *words[WORDS_MAX])
{
    size_t count = 0;
    for (char *word; count < WORDS_MAX && (word = strsep(&line, " "));)
        if (*word)
            words[count++] = word;
    return count;
}

static bool
read_number(const char *text, unsigned *ret_n)
{
    uint64_t n;
    if (quantity_parse_u64(text, &n, NULL) < 0 || n > UINT32_MAX)
        return false;
    *ret_n = (unsigned)n;
    return true;
}

static bool
read_device(char *text, dev_t *ret_device)
{
    unsigned major, minor;
    char *colon = strchr(text, ':');
    if (!colon)
        return false;
    *colon = '\0';
    if (!read_number(text, &major) || !read_number(colon + 1, &minor))
        return false;
    *ret_device = makedev(major, minor);
    return true;
}

static bool
has_option(const char *options, const char *option)
{
    size_t len = strlen(option);
    for (const char *at = options; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, option, len) == 0 && (at[len] == ',' || !at[len]))
            return true;
    }
    return false;
}

/* The line is the arena's, and the row keeps parts of it. */
static bool
read_row(char *line, struct mount_row *row)
{
    char *words[WORDS_MAX];
    size_t count = split(line, words), tail = 6;
    while (tail < count && !text_eq(words[tail], "-"))
        tail++;
    if (tail + 2 >= count || !read_number(words[0], &row->id) ||
        !read_number(words[1], &row->parent) || !read_device(words[2], &row->device))
        return false;
    char *texts[] = {words[3], words[4], words[tail + 1], words[tail + 2]};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        unescape(texts[i]);
    row->root = texts[0];
    row->point = texts[1];
    row->type = texts[2];
    row->source = texts[3];
    row->read_only = has_option(words[5], "ro");
    return true;
}

static size_t
count_lines(const char *text, size_t len)
{
    size_t lines = 1;
    for (size_t i = 0; i < len; i++)
        lines += text[i] == '\n';
    return lines;
}

/* A line that is none of these is passed over: the kernel may have words that we do not know. */
int
mounts_parse(const char *text, size_t len, struct mounts *ret_mounts, struct err *reterr)
{
    struct mounts m = {0};
    arena_init(&m.arena, ARENA_MAX);
    char *copy = arena_strndup(&m.arena, text, len);
    m.rows = arena_alloc(&m.arena, count_lines(text, len) * sizeof(*m.rows));
    if (m.arena.full) {
        mounts_finish(&m);
        return err_set(reterr, ERR_TOO_LARGE, "the list of mounts, %zu bytes, is too long", len);
    }
    for (char *line; (line = strsep(&copy, "\n"));)
        m.count += read_row(line, &m.rows[m.count]);
    *ret_mounts = m;
    return 0;
}

int
mounts_read(struct mounts *ret_mounts, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_MAX);
    int r = file_read("/proc/self/mountinfo", &text, reterr);
    return r < 0 ? r : mounts_parse(text.data, text.len, ret_mounts, reterr);
}

void
mounts_finish(struct mounts *m)
{
    arena_finish(&m->arena);
    m->rows = NULL;
    m->count = 0;
}

/* ---- finding ---- */

static const struct mount_row *
with_id(const struct mounts *m, unsigned id)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->rows[i].id == id)
            return &m->rows[i];
    return NULL;
}

/* "/" goes with every path; the rest ends where a part of the path does. */
static bool
is_below(const char *path, const char *dir, const char **ret_rest)
{
    size_t len = text_eq(dir, "/") ? 0 : strlen(dir);
    *ret_rest = path + len;
    return strncmp(path, dir, len) == 0 && (path[len] == '/' || !path[len]);
}

/* Whether a mount shows at its point what would be seen there without it. */
static bool
shows_the_same(const struct mount_row *row, const struct mount_row *parent)
{
    const char *rest, *root = text_eq(parent->root, "/") ? "" : parent->root;
    size_t len = strlen(root);
    if (row->device != parent->device || !is_below(row->point, parent->point, &rest))
        return false;
    if (!*rest) /* above its parent, at the same point */
        return text_eq(row->root, parent->root);
    return strncmp(row->root, root, len) == 0 && text_eq(row->root + len, rest);
}

/* The mount that is really at the point of this one; NULL: the point lies within another. */
static const struct mount_row *
see_through(const struct mounts *m, const struct mount_row *row)
{
    for (size_t depth = 0; row && depth <= m->count; depth++) {
        const struct mount_row *parent = with_id(m, row->parent);
        if (!parent || parent == row || !shows_the_same(row, parent))
            return row;
        row = text_eq(parent->point, row->point) ? parent : NULL;
    }
    return NULL;
}

/* Later lines lie above earlier ones. */
const struct mount_row *
mounts_find(const struct mounts *m, const char *point)
{
    for (size_t i = m->count; i > 0; i--)
        if (text_eq(m->rows[i - 1].point, point))
            return see_through(m, &m->rows[i - 1]);
    return NULL;
}

const struct mount_row *
mounts_find_open(const struct mounts *m, int dir)
{
    struct statx st;
    if (statx(dir, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0 || !(st.stx_mask & STATX_MNT_ID) ||
        !(st.stx_attributes & STATX_ATTR_MOUNT_ROOT))
        return NULL;
    return see_through(m, with_id(m, (unsigned)st.stx_mnt_id));
}

const struct mount_row *
mounts_around(const struct mounts *m, const char *path)
{
    const struct mount_row *best = NULL;
    const char *rest;
    for (size_t i = 0; i < m->count; i++)
        if (is_below(path, m->rows[i].point, &rest) &&
            (!best || strlen(m->rows[i].point) >= strlen(best->point)))
            best = &m->rows[i];
    return best;
}
