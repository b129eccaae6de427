/* The core schema of YAML 1.2: what a plain scalar means, and which strings must be quoted so that
 * they stay strings. */
#include "fmt/yaml.h"

#include "base/text.h"
#include "fmt/yaml_int.h"

#include <string.h>

#define DIGITS "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

static bool
is_word(const char *text, size_t len, const char *const *words)
{
    for (; *words; words++)
        if (strlen(*words) == len && memcmp(*words, text, len) == 0)
            return true;
    return false;
}

/* Characters of `set` at the beginning of the text. */
static size_t
span(const char *text, size_t len, const char *set)
{
    size_t n = 0;
    while (n < len && text[n] && strchr(set, text[n]))
        n++;
    return n;
}

/* [-+]? ( \.[0-9]+ | [0-9]+ (\.[0-9]*)? ) ([eE][-+]?[0-9]+)? */
static bool
is_decimal(const char *text, size_t len)
{
    size_t at = len > 0 && strchr("-+", text[0]) ? 1 : 0;
    size_t whole = span(text + at, len - at, DIGITS), part = 0;
    at += whole;
    if (at < len && text[at] == '.') {
        part = span(text + at + 1, len - at - 1, DIGITS);
        at += 1 + part;
    }
    if (whole + part == 0)
        return false;
    if (at == len || !strchr("eE", text[at]))
        return at == len;
    at++;
    at += at < len && strchr("-+", text[at]) ? 1 : 0;
    size_t exponent = span(text + at, len - at, DIGITS);
    return exponent > 0 && at + exponent == len;
}

static bool
is_number(const char *text, size_t len)
{
    static const char *const words[] = {".inf",  ".Inf",  ".INF",  "-.inf", "-.Inf",
                                        "-.INF", "+.inf", "+.Inf", "+.INF", ".nan",
                                        ".NaN",  ".NAN",  NULL};
    if (len > 2 && text[0] == '0' && text[1] == 'x')
        return span(text + 2, len - 2, DIGITS "abcdefABCDEF") == len - 2;
    if (len > 2 && text[0] == '0' && text[1] == 'o')
        return span(text + 2, len - 2, "01234567") == len - 2;
    return is_decimal(text, len) || is_word(text, len, words);
}

enum value_type
yaml_plain_type(const char *text, size_t len)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const bools[] = {"true", "True", "TRUE", "false", "False", "FALSE", NULL};
    if (is_word(text, len, nulls))
        return VALUE_NULL;
    if (is_word(text, len, bools))
        return VALUE_BOOL;
    return is_number(text, len) ? VALUE_NUMBER : VALUE_STRING;
}

/* Narrower than YAML allows: words of letters, digits and a few signs. What readers of YAML 1.1
 * take for something else (yes, 1:30, 2024-01-01) is quoted. */
static bool
is_plain(const char *text, size_t len)
{
    static const char *const words[] = {"y",  "Y",  "yes", "Yes", "YES", "n",   "N",   "no", "No",
                                        "NO", "on", "On",  "ON",  "off", "Off", "OFF", NULL};
    static const char first[] = LETTERS DIGITS "/_", inner[] = LETTERS DIGITS "/_+-.@=%";
    if (len == 0 || span(text, 1, first) == 0 || yaml_plain_type(text, len) != VALUE_STRING)
        return false;
    if (is_word(text, len, words) || span(text, len, DIGITS "-_:") == len)
        return false;
    for (size_t i = 1; i < len; i++) {
        bool before_word = i + 1 < len && span(text + i + 1, 1, first) == 1;
        if (!text[i] || !(strchr(inner, text[i]) || (strchr(" :", text[i]) && before_word)))
            return false;
    }
    return true;
}

static void
add_quoted(struct buf *out, const char *text, size_t len)
{
    const char *end = text + len;
    buf_add_char(out, '"');
    while (text < end) {
        const char *from = text;
        uint32_t code = text_next_char(&text, end);
        if (code == '\n')
            buf_add_str(out, "\\n");
        else if (code < 0x20 || yaml_forbidden(code))
            buf_printf(out, "\\u%04x", code);
        else if (code == TEXT_NO_CHAR)
            buf_add_str(out, "\xEF\xBF\xBD");
        else
            buf_printf(out, code == '"' || code == '\\' ? "\\%.*s" : "%.*s", (int)(text - from),
                       from);
    }
    buf_add_char(out, '"');
}

void
yaml_add_string(struct buf *out, const char *text, size_t len)
{
    if (is_plain(text, len))
        buf_add(out, text, len);
    else
        add_quoted(out, text, len);
}
