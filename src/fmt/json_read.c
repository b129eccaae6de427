#include "fmt/json.h"

#include "base/map.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

/* One pass over the text, with one copy of it in the arena.
 *
 * Every scalar of the tree stands in that copy, at the offset it has in the text, with a '\0' over
 * the byte that ends it; a string with escapes is decoded where it stands, which never needs more
 * room than it had. The reader only ever looks at the caller's text, so what it writes into the
 * copy cannot lead it astray. */

/* A name is compared with so many names before it; in larger maps it is looked up, so that
 * finding duplicates stays linear. */
#define FEW_MEMBERS 16

#define EVERY_BYTE UINT64_C(0x0101010101010101)
#define TOP_BITS (EVERY_BYTE << 7)

struct reader {
    const char *text;
    const char *p;
    const char *end;
    char *copy;
    const char *line_start;
    size_t line_continuations; /* bytes since line_start that begin no character */
    uint32_t line;
    unsigned depth;
    enum json_flags flags;
    struct arena *arena;
    struct value_at *ret_at;
    struct err *reterr;
};

static int read_value(struct reader *r, struct value *v);

static struct value_at
place(const struct reader *r, const char *p)
{
    size_t column = (size_t)(p - r->line_start) - r->line_continuations + 1;
    return (struct value_at){r->line, (uint32_t)MIN(column, (size_t)UINT32_MAX)};
}

static int fail(const struct reader *r, enum err_id id, struct value_at at, const char *fmt, ...)
    printf_like(4, 5);

static int
fail(const struct reader *r, enum err_id id, struct value_at at, const char *fmt, ...)
{
    char what[sizeof(r->reterr->what)];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    if (r->ret_at)
        *r->ret_at = at;
    return err_set(r->reterr, id, "%s", what);
}

static int
fail_full(const struct reader *r)
{
    return fail(r, ERR_TOO_LARGE, place(r, r->p),
                "the document needs more than %zu bytes of memory", r->arena->ceiling_bytes);
}

static int
unexpected(const struct reader *r, const char *wanted)
{
    char found[32];
    size_t left = (size_t)(r->end - r->p);
    size_t len = left ? text_utf8_step(r->p, left) : 0;
    if (left == 0)
        (void)snprintf(found, sizeof(found), "the end of the document");
    else if (len == 3 && memcmp(r->p, "\xEF\xBB\xBF", 3) == 0)
        (void)snprintf(found, sizeof(found), "a byte order mark");
    else if (len == 0 || (unsigned char)*r->p < 0x20 || *r->p == 0x7F)
        (void)snprintf(found, sizeof(found), "byte 0x%02X", (unsigned char)*r->p);
    else
        (void)snprintf(found, sizeof(found), "'%.*s'", (int)len, r->p);
    return fail(r, ERR_SYNTAX, place(r, r->p), "expected %s, found %s", wanted, found);
}

static bool
at(const struct reader *r, char c)
{
    return r->p < r->end && *r->p == c;
}

static void
skip_space(struct reader *r)
{
    for (; r->p < r->end; r->p++) {
        if (*r->p == '\n') {
            r->line++;
            r->line_start = r->p + 1;
            r->line_continuations = 0;
        } else if (*r->p != ' ' && *r->p != '\t' && *r->p != '\r') {
            return;
        }
    }
}

/* The scalar from start to the reader's place is v's text. */
static void
set_text(const struct reader *r, struct value *v, enum value_type type, const char *start)
{
    char *text = r->copy + (start - r->text);
    v->type = type;
    v->text = text;
    v->len = (size_t)(r->p - start);
    text[v->len] = '\0';
}

/* True when none of eight bytes is a quote, a backslash, a control or part of a wide character. */
static bool
are_plain(const char *p)
{
    uint64_t eight;
    memcpy(&eight, p, sizeof(eight));
    uint64_t quote = eight ^ EVERY_BYTE * '"';
    uint64_t backslash = eight ^ EVERY_BYTE * '\\';
    uint64_t found = (eight - EVERY_BYTE * 0x20) | (quote - EVERY_BYTE) | (backslash - EVERY_BYTE);
    return ((found | eight) & TOP_BITS) == 0;
}

static void
skip_plain(struct reader *r)
{
    while (r->end - r->p >= 8 && are_plain(r->p))
        r->p += 8;
    while (r->p < r->end && (unsigned char)*r->p >= 0x20 && (unsigned char)*r->p < 0x80 &&
           *r->p != '"' && *r->p != '\\')
        r->p++;
}

static int
read_hex4(struct reader *r, uint32_t *ret_code)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++, r->p++) {
        char c = r->p < r->end ? *r->p : '\0';
        if (c >= '0' && c <= '9')
            code = code << 4 | (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            code = code << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
        else
            return unexpected(r, "four hexadecimal digits after \\u");
    }
    *ret_code = code;
    return 0;
}

/* \uXXXX, the reader standing behind the u; a pair of them for a character above U+FFFF. */
static int
read_unicode(struct reader *r, char **to)
{
    struct value_at start = place(r, r->p - 2);
    uint32_t code = 0, low = 0;
    int err = read_hex4(r, &code);
    if (err < 0)
        return err;
    if (code >= 0xD800 && code <= 0xDBFF && r->end - r->p >= 2 && memcmp(r->p, "\\u", 2) == 0) {
        r->p += 2;
        err = read_hex4(r, &low);
        if (err < 0)
            return err;
        if (low >= 0xDC00 && low <= 0xDFFF)
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (code >= 0xD800 && code <= 0xDFFF)
        return fail(r, ERR_SYNTAX, start, "a string has half a surrogate pair, \\u%04x", code);
    *to = text_put_char(*to, code);
    return 0;
}

static int
read_escape(struct reader *r, char **to)
{
    static const char letters[] = "\"\\/bfnrtu";
    static const char meaning[] = "\"\\/\b\f\n\r\t";
    r->p++;
    const char *letter = r->p < r->end && *r->p ? strchr(letters, *r->p) : NULL;
    if (!letter)
        return unexpected(r, "one of \"\\/bfnrtu after a backslash");
    r->p++;
    if (*letter == 'u')
        return read_unicode(r, to);
    *(*to)++ = meaning[letter - letters];
    return 0;
}

static int
read_wide(struct reader *r, char **to)
{
    if ((unsigned char)*r->p < 0x20)
        return fail(r, ERR_SYNTAX, place(r, r->p),
                    "a string holds the control byte 0x%02X, which is written \\u%04x", *r->p,
                    *r->p);
    size_t len = text_utf8_step(r->p, (size_t)(r->end - r->p));
    if (len == 0)
        return fail(r, ERR_SYNTAX, place(r, r->p), "a string is not UTF-8 at byte 0x%02X",
                    (unsigned char)*r->p);
    memcpy(*to, r->p, len);
    *to += len;
    r->p += len;
    r->line_continuations += len - 1;
    return 0;
}

static int
read_string(struct reader *r, const char **ret_text, size_t *ret_len)
{
    struct value_at start = place(r, r->p);
    const char *run = ++r->p;
    char *text = r->copy + (run - r->text), *to = text;
    skip_plain(r);
    to += r->p - run;
    while (!at(r, '"')) {
        if (r->p == r->end)
            return fail(r, ERR_SYNTAX, start, "a string is not closed");
        int err = *r->p == '\\' ? read_escape(r, &to) : read_wide(r, &to);
        if (err < 0)
            return err;
        run = r->p;
        skip_plain(r);
        memcpy(to, run, (size_t)(r->p - run));
        to += r->p - run;
    }
    r->p++;
    *to = '\0';
    *ret_text = text;
    *ret_len = (size_t)(to - text);
    return 0;
}

static bool
skip_digits(struct reader *r)
{
    const char *start = r->p;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        r->p++;
    return r->p > start;
}

static bool
skip_word(struct reader *r, const char *word)
{
    size_t len = strlen(word);
    bool same = (size_t)(r->end - r->p) >= len && memcmp(r->p, word, len) == 0;
    r->p += same ? len : 0;
    return same;
}

static int
read_number(struct reader *r, struct value *v)
{
    const char *start = r->p;
    r->p += at(r, '-');
    if ((r->flags & JSON_PYTHON) && skip_word(r, "Infinity")) {
        set_text(r, v, VALUE_NUMBER, start);
        return 0;
    }
    if (at(r, '0'))
        r->p++;
    else if (!skip_digits(r))
        return unexpected(r, "a digit");
    if (at(r, '.')) {
        r->p++;
        if (!skip_digits(r))
            return unexpected(r, "a digit after the decimal point");
    }
    if (at(r, 'e') || at(r, 'E')) {
        r->p++;
        r->p += at(r, '+') || at(r, '-');
        if (!skip_digits(r))
            return unexpected(r, "a digit in the exponent");
    }
    set_text(r, v, VALUE_NUMBER, start);
    return 0;
}

static int
read_word(struct reader *r, struct value *v)
{
    static const struct {
        const char *word;
        enum value_type type;
        enum json_flags needs;
    } words[] = {
        {"true", VALUE_BOOL, JSON_STRICT},       {"false", VALUE_BOOL, JSON_STRICT},
        {"null", VALUE_NULL, JSON_STRICT},       {"NaN", VALUE_NUMBER, JSON_PYTHON},
        {"Infinity", VALUE_NUMBER, JSON_PYTHON},
    };
    const char *start = r->p;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if ((words[i].needs & r->flags) == words[i].needs && skip_word(r, words[i].word)) {
            set_text(r, v, words[i].type, start);
            v->boolean = *start == 't';
            return 0;
        }
    }
    return unexpected(r, "a value");
}

static int
enter(struct reader *r, struct value *v, enum value_type type)
{
    if (r->depth == JSON_DEPTH_MAX)
        return fail(r, ERR_SYNTAX, v->at, "nested deeper than %d levels", JSON_DEPTH_MAX);
    r->depth++;
    r->p++;
    v->type = type;
    skip_space(r);
    return 0;
}

static void
leave(struct reader *r)
{
    r->p++;
    r->depth--;
}

static int
read_list(struct reader *r, struct value *list)
{
    struct value **tail = &list->first;
    int err = enter(r, list, VALUE_LIST);
    if (err < 0)
        return err;
    while (list->count > 0 || !at(r, ']')) {
        struct value *item = arena_new(r->arena, struct value);
        if (!item)
            return fail_full(r);
        *tail = item;
        tail = &item->next;
        list->count++;
        err = read_value(r, item);
        if (err < 0)
            return err;
        if (at(r, ']'))
            break;
        if (!at(r, ','))
            return unexpected(r, "',' or ']'");
        r->p++;
        skip_space(r);
    }
    leave(r);
    return 0;
}

/* Whether no member before this one has its name; the index fills when they become many. */
static bool
is_new_name(const struct value *map, struct value *member, struct map *index)
{
    if (map->count >= FEW_MEMBERS) {
        for (struct value *v = index->count ? NULL : map->first; v; v = v->next)
            (void)map_add(index, v->name, v);
        return map_add(index, member->name, member) == member;
    }
    for (const struct value *v = map->first; v; v = v->next)
        if (strcmp(v->name, member->name) == 0)
            return false;
    return true;
}

static int
read_name(struct reader *r, const struct value *map, struct value *member, struct map *index)
{
    size_t len = 0;
    if (!at(r, '"'))
        return unexpected(r, map->count ? "a name in quotes" : "a name in quotes, or '}'");
    member->name_at = place(r, r->p);
    int err = read_string(r, &member->name, &len);
    if (err < 0)
        return err;
    if (strlen(member->name) != len)
        return fail(r, ERR_SYNTAX, member->name_at, "a name holds \\u0000");
    if (!is_new_name(map, member, index))
        return fail(r, ERR_SYNTAX, member->name_at, "the name '%s' stands twice in a map",
                    member->name);
    skip_space(r);
    if (!at(r, ':'))
        return unexpected(r, "':' after a name");
    r->p++;
    skip_space(r);
    return 0;
}

static int
read_map(struct reader *r, struct value *map)
{
    _cleanup_map_ struct map index = {0};
    struct value **tail = &map->first;
    int err = enter(r, map, VALUE_MAP);
    if (err < 0)
        return err;
    while (map->count > 0 || !at(r, '}')) {
        struct value *member = arena_new(r->arena, struct value);
        if (!member)
            return fail_full(r);
        err = read_name(r, map, member, &index);
        if (err < 0)
            return err;
        *tail = member;
        tail = &member->next;
        map->count++;
        err = read_value(r, member);
        if (err < 0)
            return err;
        if (at(r, '}'))
            break;
        if (!at(r, ','))
            return unexpected(r, "',' or '}'");
        r->p++;
        skip_space(r);
    }
    leave(r);
    return 0;
}

static int
read_scalar(struct reader *r, struct value *v)
{
    if (at(r, '"')) {
        v->type = VALUE_STRING;
        return read_string(r, &v->text, &v->len);
    }
    if (r->p < r->end && (*r->p == '-' || (*r->p >= '0' && *r->p <= '9')))
        return read_number(r, v);
    return read_word(r, v);
}

/* A value and the space behind it. */
static int
read_value(struct reader *r, struct value *v)
{
    v->at = place(r, r->p);
    int err = at(r, '{') ? read_map(r, v) : at(r, '[') ? read_list(r, v) : read_scalar(r, v);
    if (err < 0)
        return err;
    skip_space(r);
    return 0;
}

int
json_parse(struct arena *arena, const char *text, size_t len, enum json_flags flags,
           struct value **ret_value, struct value_at *ret_at, struct err *reterr)
{
    struct reader r = {
        .text = text,
        .p = text,
        .end = text + len,
        .line_start = text,
        .line = 1,
        .flags = flags,
        .arena = arena,
        .ret_at = ret_at,
        .reterr = reterr,
    };
    struct value *root = arena_new(arena, struct value);
    r.copy = len < SIZE_MAX ? arena_alloc(arena, len + 1) : NULL;
    if (!root || !r.copy)
        return fail_full(&r);
    memcpy(r.copy, text, len);
    skip_space(&r);
    int err = read_value(&r, root);
    if (err < 0)
        return err;
    if (r.p < r.end)
        return unexpected(&r, "the end of the document");
    *ret_value = root;
    return 0;
}
