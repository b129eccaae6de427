#include "fmt/prom.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Longer numbers than any printer makes. */
#define NUMBER_MAX 64

void
prom_init(struct prom_reader *reader, const char *text, size_t len)
{
    *reader = (struct prom_reader){.at = text, .end = text + len};
}

static bool
is_name_start(char c)
{
    return isalpha((unsigned char)c) || c == '_' || c == ':';
}

static bool
is_name(char c)
{
    return is_name_start(c) || isdigit((unsigned char)c);
}

static const char *
skip_blanks(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    return p;
}

/* Behind the name at p; p itself when there is none. */
static const char *
skip_name(const char *p, const char *end)
{
    if (p < end && is_name_start(*p))
        while (p < end && is_name(*p))
            p++;
    return p;
}

/* Behind the closing quote of the string that opens at p; NULL when it does not close. */
static const char *
skip_string(const char *p, const char *end)
{
    if (p == end || *p != '"')
        return NULL;
    for (p++; p < end && *p != '"'; p++)
        if (*p == '\\' && ++p == end)
            return NULL;
    return p < end ? p + 1 : NULL;
}

/* Behind `name="value"` and the comma that may follow; NULL when it is not that. */
static const char *
skip_label(const char *p, const char *end)
{
    const char *name = p;
    p = skip_name(p, end);
    if (p == name)
        return NULL;
    p = skip_blanks(p, end);
    if (p == end || *p != '=')
        return NULL;
    p = skip_string(skip_blanks(p + 1, end), end);
    if (!p)
        return NULL;
    p = skip_blanks(p, end);
    if (p < end && *p == ',')
        return skip_blanks(p + 1, end);
    return p == end || *p == '}' ? p : NULL;
}

/* Digits with at most one point are most values by far: 2^53 holds 15 of them exactly, and so does
 * the power of ten below. */
static bool
plain_number(const char *text, size_t len, double *ret_value)
{
    static const double powers[] = {1,   1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    uint64_t digits = 0;
    size_t count = 0, behind = 0;
    bool point = false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '.' && !point) {
            point = true;
        } else if (isdigit((unsigned char)text[i]) && count < 15) {
            digits = digits * 10 + (uint64_t)(text[i] - '0');
            count++;
            behind += point;
        } else {
            return false;
        }
    }
    *ret_value = (double)digits / powers[behind];
    return count > 0;
}

/* Go writes +Inf and NaN, printf() inf, nan and -nan. */
static bool
special_number(const char *text, size_t len, double *ret_value)
{
    bool negative = len > 0 && text[0] == '-', is_signed = negative || (len > 0 && text[0] == '+');
    text += is_signed;
    len -= is_signed;
    if (len == 3 && strncasecmp(text, "inf", 3) == 0)
        *ret_value = negative ? -INFINITY : INFINITY;
    else if (len == 3 && strncasecmp(text, "nan", 3) == 0)
        *ret_value = NAN;
    else
        return false;
    return true;
}

bool
prom_number(const char *text, size_t len, double *ret_value)
{
    char copy[NUMBER_MAX + 1];
    if (plain_number(text, len, ret_value) || special_number(text, len, ret_value))
        return true;
    if (len == 0 || len > NUMBER_MAX)
        return false;
    /* strtod() also reads hexadecimal, "infinity" and leading blanks. */
    for (size_t i = 0; i < len; i++)
        if (!isdigit((unsigned char)text[i]) && !memchr("+-.eE", text[i], 5))
            return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    char *end;
    *ret_value = strtod(copy, &end);
    return *end == '\0';
}

static const char *
read_labels(const char *p, const char *end, struct prom_sample *s)
{
    if (p == end || *p != '{')
        return p;
    p = skip_blanks(p + 1, end);
    s->labels = p;
    while (p && p < end && *p != '}')
        p = skip_label(p, end);
    if (!p || p == end)
        return NULL;
    s->labels_len = (size_t)(p - s->labels);
    return p + 1;
}

static const char *
skip_word(const char *p, const char *end)
{
    while (p < end && *p != ' ' && *p != '\t')
        p++;
    return p;
}

/* A time, an exemplar, both, or nothing. */
static bool
is_tail(const char *p, const char *end)
{
    double time;
    p = skip_blanks(p, end);
    if (p == end || *p == '#')
        return true;
    const char *word_end = skip_word(p, end);
    if (!prom_number(p, (size_t)(word_end - p), &time))
        return false;
    p = skip_blanks(word_end, end);
    return p == end || *p == '#';
}

static bool
read_line(const char *p, const char *end, struct prom_sample *s)
{
    const char *name_end = skip_name(p, end);
    *s = (struct prom_sample){.name = p, .name_len = (size_t)(name_end - p), .labels = name_end};
    if (name_end == p)
        return false;
    p = read_labels(skip_blanks(name_end, end), end, s);
    if (!p)
        return false;
    p = skip_blanks(p, end);
    const char *value_end = skip_word(p, end);
    return prom_number(p, (size_t)(value_end - p), &s->value) && is_tail(value_end, end);
}

int
prom_next(struct prom_reader *reader, struct prom_sample *ret_sample, struct err *reterr)
{
    while (reader->at < reader->end) {
        const char *p = reader->at;
        const char *end = memchr(p, '\n', (size_t)(reader->end - p));
        reader->at = end ? end + 1 : reader->end;
        end = end ? end : reader->end;
        reader->line++;
        if (end > p && end[-1] == '\r')
            end--;
        p = skip_blanks(p, end);
        if (p == end || *p == '#')
            continue;
        if (read_line(p, end, ret_sample))
            return 1;
        return err_set(reterr, ERR_SYNTAX, "line %u is not a metric: %.*s", reader->line,
                       (int)MIN(end - p, 80), p);
    }
    return 0;
}

bool
prom_label(const struct prom_sample *sample, const char *name, const char **ret_value,
           size_t *ret_len)
{
    const char *p = sample->labels, *end = p + sample->labels_len;
    size_t len = strlen(name);
    while (p && p < end) {
        const char *next = skip_label(p, end);
        const char *name_end = skip_name(p, end);
        if ((size_t)(name_end - p) == len && memcmp(p, name, len) == 0) {
            const char *value = (const char *)memchr(name_end, '"', (size_t)(end - name_end)) + 1;
            *ret_value = value;
            *ret_len = (size_t)(skip_string(value - 1, end) - 1 - value);
            return true;
        }
        p = next;
    }
    return false;
}

bool
prom_label_is(const struct prom_sample *sample, const char *name, const char *value)
{
    const char *text;
    size_t len;
    return prom_label(sample, name, &text, &len) && len == strlen(value) &&
           memcmp(text, value, len) == 0;
}
