#include "fmt/json.h"

#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
json_init(struct json_writer *w, struct buf *out, bool pretty)
{
    *w = (struct json_writer){.out = out, .pretty = pretty};
}

static void
new_line(struct json_writer *w)
{
    if (!w->pretty)
        return;
    buf_add_char(w->out, '\n');
    for (unsigned i = 0; i < w->depth; i++)
        buf_add(w->out, "  ", 2);
}

static void
add_escaped(struct buf *out, unsigned char c)
{
    static const char *const short_forms[] = {
        ['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n",  ['\f'] = "\\f",
        ['\r'] = "\\r", ['"'] = "\\\"", ['\\'] = "\\\\",
    };
    if (c < ARRAY_SIZE(short_forms) && short_forms[c])
        buf_add(out, short_forms[c], 2);
    else
        buf_printf(out, "\\u%04x", c);
}

static bool
is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7F && c != '"' && c != '\\';
}

/* What nearly all are: copied while it is looked at. */
static bool
add_plain_string(struct buf *out, const char *text, size_t len)
{
    char *to = buf_reserve(out, len + 2);
    if (!to)
        return true;
    for (size_t i = 0; i < len; i++) {
        if (!is_plain((unsigned char)text[i]))
            return false;
        to[i + 1] = text[i];
    }
    to[0] = to[len + 1] = '"';
    buf_commit(out, len + 2);
    return true;
}

static void
add_string(struct buf *out, const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + len;
    if (add_plain_string(out, text, len))
        return;
    buf_add_char(out, '"');
    while (p < end) {
        const unsigned char *plain = p;
        while (p < end && is_plain(*p))
            p++;
        buf_add(out, plain, (size_t)(p - plain));
        if (p == end)
            break;
        if (*p < 0x80) {
            add_escaped(out, *p++);
            continue;
        }
        const char *at = (const char *)p, *next = at;
        uint32_t c = text_next_char(&next, (const char *)end);
        if (c == TEXT_NO_CHAR)
            buf_add(out, "\xEF\xBF\xBD", 3);
        else if (text_is_dangerous(c))
            buf_printf(out, "\\u%04x", c);
        else
            buf_add(out, at, (size_t)(next - at));
        p = (const unsigned char *)next;
    }
    buf_add_char(out, '"');
}

static void
begin(struct json_writer *w, const char *name)
{
    if (w->filled)
        buf_add_char(w->out, ',');
    if (w->depth)
        new_line(w);
    if (name) {
        add_string(w->out, name, strlen(name));
        buf_add(w->out, ": ", w->pretty ? 2 : 1);
    }
    w->filled = true;
}

static void
open(struct json_writer *w, const char *name, char bracket)
{
    begin(w, name);
    buf_add_char(w->out, bracket);
    w->depth++;
    w->filled = false;
}

static void
close(struct json_writer *w, char bracket)
{
    assert(w->depth > 0);
    w->depth--;
    if (w->filled)
        new_line(w);
    buf_add_char(w->out, bracket);
    w->filled = true;
}

void
json_open_map(struct json_writer *w, const char *name)
{
    open(w, name, '{');
}

void
json_close_map(struct json_writer *w)
{
    close(w, '}');
}

void
json_open_list(struct json_writer *w, const char *name)
{
    open(w, name, '[');
}

void
json_close_list(struct json_writer *w)
{
    close(w, ']');
}

void
json_null(struct json_writer *w, const char *name)
{
    begin(w, name);
    buf_add_str(w->out, "null");
}

void
json_bool(struct json_writer *w, const char *name, bool value)
{
    begin(w, name);
    buf_add_str(w->out, value ? "true" : "false");
}

void
json_u64(struct json_writer *w, const char *name, uint64_t value)
{
    begin(w, name);
    buf_add_u64(w->out, value);
}

void
json_i64(struct json_writer *w, const char *name, int64_t value)
{
    begin(w, name);
    if (value < 0)
        buf_add_char(w->out, '-');
    buf_add_u64(w->out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void
json_real(struct json_writer *w, const char *name, double value)
{
    char text[32];
    if (!isfinite(value)) {
        json_null(w, name);
        return;
    }
    /* The shortest of 15 to 17 digits that reads back as the same number. */
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    begin(w, name);
    buf_add_str(w->out, text);
}

void
json_strn(struct json_writer *w, const char *name, const char *text, size_t len)
{
    begin(w, name);
    add_string(w->out, text, len);
}

void
json_str(struct json_writer *w, const char *name, const char *text)
{
    if (text)
        json_strn(w, name, text, strlen(text));
    else
        json_null(w, name);
}

/* As RFC 8259 spells numbers; YAML has other spellings. */
static bool
is_json_number(const char *text)
{
    text += *text == '-';
    if (text[0] == '0' && text[1] >= '0' && text[1] <= '9')
        return false;
    return *text >= '0' && *text <= '9' && text[strspn(text, "0123456789.+-eE")] == '\0' &&
           !strstr(text, ".e") && !strstr(text, ".E") && text[strlen(text) - 1] != '.';
}

static void
write_number(struct json_writer *w, const char *name, const struct value *value)
{
    uint64_t natural;
    double real;
    if (is_json_number(value->text)) {
        begin(w, name);
        buf_add(w->out, value->text, value->len);
    } else if (value_u64(value, &natural)) {
        json_u64(w, name, natural);
    } else {
        /* Infinity and NaN have no place in JSON. */
        json_real(w, name, value_real(value, &real) ? real : NAN);
    }
}

void
json_value(struct json_writer *w, const char *name, const struct value *value)
{
    switch (value->type) {
    case VALUE_NULL:
        json_null(w, name);
        return;
    case VALUE_BOOL:
        json_bool(w, name, value->boolean);
        return;
    case VALUE_NUMBER:
        write_number(w, name, value);
        return;
    case VALUE_STRING:
        json_strn(w, name, value->text, value->len);
        return;
    case VALUE_LIST:
    case VALUE_MAP:
        break;
    }
    open(w, name, value->type == VALUE_MAP ? '{' : '[');
    for (const struct value *v = value->first; v; v = v->next)
        json_value(w, v->name, v);
    close(w, value->type == VALUE_MAP ? '}' : ']');
}
