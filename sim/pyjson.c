#include "sim/pyjson.h"

#include "fmt/json.h"

#include <ctype.h>
#include <string.h>

struct scan {
    const char *text;
    size_t at, len;
    const char *why; /* the complaint */
    size_t wrong;    /* where */
};

static bool
complain(struct scan *s, const char *why, size_t at)
{
    s->why = why;
    s->wrong = at;
    return false;
}

/* '\0' at the end, which no JSON has either. */
static char
here(const struct scan *s)
{
    return s->at < s->len ? s->text[s->at] : '\0';
}

static void
skip_blanks(struct scan *s)
{
    while (here(s) && strchr(" \t\n\r", here(s)))
        s->at++;
}

static bool
scan_escape(struct scan *s, size_t begin)
{
    size_t slash = s->at++;
    if (s->at == s->len)
        return complain(s, "Unterminated string starting at", begin);
    if (here(s) != 'u')
        return (here(s) && strchr("\"\\/bfnrt", here(s))) || complain(s, "Invalid \\escape", slash);
    size_t u = s->at;
    bool hex = u + 5 < s->len;
    for (size_t i = 1; i <= 4 && hex; i++)
        hex = isxdigit((unsigned char)s->text[u + i]);
    s->at += 4;
    return hex || complain(s, "Invalid \\uXXXX escape", u);
}

static bool
scan_string(struct scan *s)
{
    size_t begin = s->at++;
    for (; s->at < s->len; s->at++) {
        if (s->text[s->at] == '"') {
            s->at++;
            return true;
        }
        if ((unsigned char)s->text[s->at] < 0x20)
            return complain(s, "Invalid control character at", s->at);
        if (s->text[s->at] == '\\' && !scan_escape(s, begin))
            return false;
    }
    return complain(s, "Unterminated string starting at", begin);
}

static size_t
count_digits(const struct scan *s, size_t at)
{
    size_t n = 0;
    while (at + n < s->len && isdigit((unsigned char)s->text[at + n]))
        n++;
    return n;
}

/* As much of it as is one: what follows is somebody else's mistake. */
static bool
scan_number(struct scan *s)
{
    size_t at = s->at + (here(s) == '-'), n = count_digits(s, at);
    if (n == 0)
        return complain(s, "Expecting value", s->at);
    at += s->text[at] == '0' ? 1 : n;
    n = at < s->len && s->text[at] == '.' ? count_digits(s, at + 1) : 0;
    at += n ? n + 1 : 0;
    if (at < s->len && (s->text[at] | 0x20) == 'e') {
        size_t sign = at + 1 < s->len && strchr("+-", s->text[at + 1]) ? 1 : 0;
        n = count_digits(s, at + 1 + sign);
        at += n ? 1 + sign + n : 0;
    }
    s->at = at;
    return true;
}

static bool
take_word(struct scan *s, const char *word)
{
    size_t len = strlen(word);
    if (s->len - s->at < len || memcmp(s->text + s->at, word, len) != 0)
        return false;
    s->at += len;
    return true;
}

static bool scan_value(struct scan *s, unsigned depth);

static bool
scan_member(struct scan *s, unsigned depth)
{
    if (here(s) != '"')
        return complain(s, "Expecting property name enclosed in double quotes", s->at);
    if (!scan_string(s))
        return false;
    skip_blanks(s);
    if (here(s) != ':')
        return complain(s, "Expecting ':' delimiter", s->at);
    s->at++;
    skip_blanks(s);
    return scan_value(s, depth);
}

static bool
scan_all(struct scan *s, char close, unsigned depth)
{
    s->at++;
    skip_blanks(s);
    while (here(s) != close) {
        if (!(close == '}' ? scan_member(s, depth + 1) : scan_value(s, depth + 1)))
            return false;
        skip_blanks(s);
        if (here(s) == close)
            break;
        if (here(s) != ',')
            return complain(s, "Expecting ',' delimiter", s->at);
        s->at++;
        skip_blanks(s);
        if (here(s) == close) /* nothing stands between the comma and the end */
            return complain(s,
                            close == '}' ? "Expecting property name enclosed in double quotes"
                                         : "Expecting value",
                            s->at);
    }
    s->at++;
    return true;
}

static bool
scan_value(struct scan *s, unsigned depth)
{
    static const char *const words[] = {"null", "true", "false", "NaN", "Infinity", "-Infinity"};
    if (depth > JSON_DEPTH_MAX)
        return complain(s, NULL, s->at);
    if (here(s) == '"')
        return scan_string(s);
    if (here(s) == '{')
        return scan_all(s, '}', depth);
    if (here(s) == '[')
        return scan_all(s, ']', depth);
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (take_word(s, words[i]))
            return true;
    return scan_number(s);
}

static size_t
count_characters(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += (text[i] & 0xc0) != 0x80;
    return n;
}

const char *
pyjson_complaint(const char *text, size_t len, size_t *ret_at)
{
    struct scan s = {.text = text, .len = len};
    skip_blanks(&s);
    if (scan_value(&s, 0)) {
        skip_blanks(&s);
        if (s.at < len)
            (void)complain(&s, "Extra data", s.at);
    }
    *ret_at = count_characters(text, s.wrong);
    return s.why;
}
