/* The reader of YAML tells where each node begins; from there a few characters tell how it is written:
 *
 *     enabled: true            the word is replaced
 *     phi3:                    a line is put below it, indented as the first that follows
 *       path: x
 *     phi3: {path: x}          it is put behind the brace
 *     phi3:                    with nothing below it: {enabled: false} is put behind the colon
 *     nothing of the section   it is added at the end of the file
 *
 * None of this is trusted: the new text is read again, and its tree must be the old one but for the
 * switch. So an alias, an anchor, a tag, a key on several lines, or what nobody has thought of, is refused
 * and not broken. */

#include "config/splice.h"

#include "base/text.h"
#include "fmt/yaml.h"

#include <stdio.h>
#include <string.h>

#define TREE_MAX (64 * MIB)
#define STEPS 2 /* of a path, before `enabled` */
#define KEY "enabled"

struct splicing {
    const char *text;
    size_t len;
    const char *steps[STEPS + 1]; /* NULL behind the last */
    char section[2 * TEXT_NAME_MAX];
    const char *word; /* "true" or "false" */
    struct buf *out;
    struct value_at at; /* of what cannot be changed */
};

/* ---- places ---- */

static size_t
break_len(const char *text, size_t len, size_t at)
{
    if (at >= len)
        return 0;
    if (text[at] == '\r')
        return at + 1 < len && text[at + 1] == '\n' ? 2 : 1;
    return text[at] == '\n';
}

/* The byte where a line begins; len, when there are not so many. */
static size_t
find_line(const struct splicing *s, uint32_t line)
{
    static const char mark[] = "\xEF\xBB\xBF"; /* before the first line, and of no column */
    size_t at = s->len >= 3 && memcmp(s->text, mark, 3) == 0 ? 3 : 0;
    for (uint32_t now = 1; now < line && at < s->len;) {
        size_t step = break_len(s->text, s->len, at);
        now += step > 0;
        at += MAX(step, 1u);
    }
    return at;
}

static size_t
find(const struct splicing *s, struct value_at place)
{
    size_t at = find_line(s, place.line);
    for (uint32_t column = 1; column < place.column && at < s->len; column++)
        at += MAX(text_utf8_step(s->text + at, s->len - at), 1u);
    return at;
}

static char
char_at(const struct splicing *s, size_t at)
{
    return at < s->len ? s->text[at] : '\0';
}

/* As the line before ends, the text's first one, or "\n". */
static void
add_break(const struct splicing *s)
{
    for (size_t at = 0; at < s->len; at++) {
        size_t len = break_len(s->text, s->len, at);
        if (len) {
            buf_add(s->out, s->text + at, len);
            return;
        }
    }
    buf_add_char(s->out, '\n');
}

/* The text up to a place, and from one on: what comes in between, the caller adds. */
static void
begin(const struct splicing *s, size_t at)
{
    buf_add(s->out, s->text, at);
}

static void
end(const struct splicing *s, size_t at)
{
    buf_add(s->out, s->text + at, s->len - at);
}

/* ---- the five ways ---- */

static bool
replace_word(const struct splicing *s, const struct value *v)
{
    size_t at = find(s, v->at);
    if (v->type != VALUE_BOOL || at + v->len > s->len || memcmp(s->text + at, v->text, v->len) != 0)
        return false;
    begin(s, at);
    buf_add_str(s->out, s->word);
    end(s, at + v->len);
    return true;
}

/* "{a: 1}" and "{ a: 1 }", as they are. */
static void
put_into_braces(const struct splicing *s, size_t brace, size_t count, const char *member)
{
    bool spaced = char_at(s, brace + 1) == ' ';
    begin(s, brace + 1);
    buf_printf(s->out, "%s%s%s", spaced ? " " : "", member, count ? spaced ? "," : ", " : "");
    end(s, brace + 1);
}

/* Below the line of its name, so that a comment above its first member stays there. */
static bool
put_below(const struct splicing *s, const struct value *section)
{
    const struct value_at first = section->first->name_at;
    size_t next = find_line(s, section->name_at.line + 1), at = find(s, first);
    size_t indent = find_line(s, first.line);
    for (size_t i = indent; i < at; i++)
        if (s->text[i] != ' ')
            return false;
    begin(s, next);
    buf_add(s->out, s->text + indent, at - indent);
    buf_printf(s->out, KEY ": %s", s->word);
    add_break(s);
    end(s, next);
    return true;
}

/* A section of which nothing is said: an empty place behind the colon, or a word for it. */
static bool
put_in_place(const struct splicing *s, const struct value *v)
{
    size_t at = find(s, v->at);
    if (at + v->len > s->len || (v->len && memcmp(s->text + at, v->text, v->len) != 0))
        return false;
    begin(s, at);
    buf_printf(s->out, "%s{" KEY ": %s}", v->len ? "" : " ", s->word);
    end(s, at + v->len);
    return true;
}

/* A whole section, where the file has none of it. */
static bool
put_at_end(const struct splicing *s, const struct value *root)
{
    char member[sizeof(s->section) + 32];
    size_t brace = find(s, root->at);
    (void)snprintf(member, sizeof(member), "%s: {" KEY ": %s}", s->section, s->word);
    if (root->type == VALUE_MAP && char_at(s, brace) == '{') {
        put_into_braces(s, brace, root->count, member);
        return true;
    }
    begin(s, s->len);
    if (s->len && s->text[s->len - 1] != '\n' && s->text[s->len - 1] != '\r')
        add_break(s);
    buf_add_str(s->out, member);
    add_break(s);
    return true;
}

static bool
put_into(const struct splicing *s, const struct value *section)
{
    size_t at = find(s, section->at);
    const struct value *there = value_get(section, KEY);
    char member[32];
    if (there)
        return replace_word(s, there);
    if (char_at(s, at) == '*' || section->type == VALUE_STRING)
        return false;
    if (section->type == VALUE_NULL)
        return put_in_place(s, section);
    (void)snprintf(member, sizeof(member), KEY ": %s", s->word);
    if (char_at(s, at) == '{')
        put_into_braces(s, at, section->count, member);
    else if (!section->first || !put_below(s, section))
        return false;
    return true;
}

/* ---- whether it is what was wished ---- */

static bool is_same(const struct value *a, const struct value *b, const char *const *steps,
                    const char *word);

static bool
is_switch(const struct value *v, const char *word)
{
    return v && v->type == VALUE_BOOL && text_eq(v->text, word);
}

/* Of maps: every member of the one is in the other, but that which the steps lead to. */
static bool
are_members_same(const struct value *a, const struct value *b, const char *const *steps,
                 const char *word)
{
    const char *key = steps ? *steps ? *steps : KEY : NULL;
    size_t added = key && !value_get(a, key);
    if (b->type != VALUE_MAP || b->count != (a->type == VALUE_MAP ? a->count : 0) + added)
        return false;
    for (const struct value *v = a->type == VALUE_MAP ? a->first : NULL; v; v = v->next) {
        const struct value *other = value_get(b, v->name);
        bool on_path = text_eq(v->name, key);
        if (on_path && !*steps ? !is_switch(other, word)
                               : !is_same(v, other, on_path ? steps + 1 : NULL, word))
            return false;
    }
    static const struct value nothing;
    if (!added)
        return true;
    return *steps ? is_same(&nothing, value_get(b, key), steps + 1, word)
                  : is_switch(value_get(b, key), word);
}

/* steps: the names that lead on to the switch; NULL: it is not in here. */
static bool
is_same(const struct value *a, const struct value *b, const char *const *steps, const char *word)
{
    if (!b || (steps ? a->type != VALUE_MAP && a->type != VALUE_NULL : a->type != b->type))
        return false;
    if (steps || a->type == VALUE_MAP)
        return are_members_same(a, b, steps, word);
    if (a->type != VALUE_LIST)
        return a->len == b->len && (a->len == 0 || memcmp(a->text, b->text, a->len) == 0);
    const struct value *v = a->first, *w = b->first;
    for (; v && w; v = v->next, w = w->next)
        if (!is_same(v, w, NULL, word))
            return false;
    return !v && !w;
}

static bool
is_as_wished(const struct splicing *s, const struct value *before)
{
    _cleanup_arena_ struct arena arena;
    struct value *after;
    arena_init(&arena, TREE_MAX);
    return buf_error(s->out) == 0 &&
           yaml_parse(&arena, s->out->data, s->out->len, &after, NULL, NULL) == 0 &&
           is_same(before, after, s->steps, s->word);
}

/* ---- one splice ---- */

static int
refuse(const struct splicing *s, struct err *reterr)
{
    int r = err_set(reterr, ERR_CONFIG_SPLICE,
                    "%s." KEY " cannot be put into the file as line %u is written", s->section,
                    s->at.line);
    err_fix(reterr, "write below %s, by hand: " KEY ": %s", s->section, s->word);
    return r;
}

/* Down to the section; NULL: the file has nothing of it. */
static const struct value *
find_section(struct splicing *s, const struct value *root)
{
    const struct value *v = root;
    for (size_t i = 0; v && s->steps[i]; i++) {
        s->at = v->name ? v->name_at : v->at;
        v = value_get(v, s->steps[i]);
    }
    if (v)
        s->at = v->name_at;
    return v;
}

static bool
put(const struct splicing *s, const struct value *root, const struct value *section)
{
    if (section)
        return put_into(s, section);
    return !s->steps[1] && put_at_end(s, root); /* a model has a place of its own */
}

static void
set_steps(struct splicing *s, const char *section)
{
    (void)snprintf(s->section, sizeof(s->section), "%s", section);
    s->steps[0] = section;
    if (text_starts(section, "models.")) {
        s->steps[0] = "models";
        s->steps[1] = section + strlen("models."); /* a name may have dots in it */
    }
}

int
config_splice_enabled(const char *text, size_t len, const char *section, bool enabled,
                      struct buf *out, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct splicing s = {.text = text, .len = len, .word = enabled ? "true" : "false", .out = out};
    struct value *root;
    set_steps(&s, section);
    assert(out->len == 0);
    arena_init(&arena, TREE_MAX);
    int r = yaml_parse(&arena, text, len, &root, NULL, reterr);
    if (r < 0)
        return r;
    const struct value *there = find_section(&s, root), *now = value_get(there, KEY);
    if (now && now->type == VALUE_BOOL && now->boolean == enabled) {
        buf_add(out, text, len);
        return buf_error(out) < 0 ? err_set(reterr, ERR_TOO_LARGE, "the file is too large") : 0;
    }
    if (put(&s, root, there) && is_as_wished(&s, root))
        return 0;
    buf_clear(out);
    return refuse(&s, reterr);
}
