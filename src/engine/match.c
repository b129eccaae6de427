#include "match_int.h"

#include "base/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* More digits than any figure has; it bounds the time spent on a line of digits. */
#define NUMBER_MAX 24

static const char what_name[] = "{what}";

static bool
is_comma(const char *p)
{
    return p[0] == ',' && isdigit((unsigned char)p[1]) && isdigit((unsigned char)p[2]) &&
           isdigit((unsigned char)p[3]);
}

/* Behind the number at p, NULL when there is none. */
static const char *
read_number(const char *p, double *ret_value)
{
    char digits[NUMBER_MAX + 1];
    size_t len = 0;
    bool point = false;
    if (*p == '-' && isdigit((unsigned char)p[1]))
        digits[len++] = *p++;
    if (!isdigit((unsigned char)*p))
        return NULL;
    for (;; p++) {
        bool is_point = *p == '.' && !point && isdigit((unsigned char)p[1]);
        if (!point && is_comma(p))
            continue;
        if (!isdigit((unsigned char)*p) && !is_point)
            break;
        if (len == NUMBER_MAX)
            return NULL;
        point |= is_point;
        digits[len++] = *p;
    }
    digits[len] = '\0';
    *ret_value = strtod(digits, NULL);
    return p;
}

/* vLLM's GB are GiB as well. */
static const char *
read_unit(const char *p, double *value)
{
    static const struct {
        const char *text;
        double gib;
    } units[] = {
        {"GiB", 1},         {"GB", 1},     {"MiB", 1.0 / 1024},
        {"MB", 1.0 / 1024}, {"TiB", 1024}, {"KiB", 1.0 / (1024 * 1024)},
    };
    const char *unit = *p == ' ' ? p + 1 : p;
    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (text_starts(unit, units[i].text)) {
            *value *= units[i].gib;
            return unit + strlen(units[i].text);
        }
    return p;
}

static const char *
read_figure(const char *name, size_t name_len, const char *p, struct match *m)
{
    double value;
    assert(m->count < MATCH_FIGURES_MAX);
    p = read_number(p, &value);
    if (!p)
        return NULL;
    if (name_len > 4 && memcmp(name + name_len - 4, "_gib", 4) == 0)
        p = read_unit(p, &value);
    m->figures[m->count].name = name;
    m->figures[m->count].name_len = name_len;
    m->figures[m->count++].value = value;
    return p;
}

static bool
is_part_end(const char *pattern)
{
    return *pattern == '\0' || *pattern == '*' || text_starts(pattern, what_name);
}

/* Behind what the part of the pattern fits at p, NULL when it does not; the part's end. */
static const char *
fit_part(const char *pattern, const char *p, struct match *m, const char **ret_pattern)
{
    size_t count = m->count;
    while (p && !is_part_end(pattern)) {
        if (*pattern == '{') {
            const char *close = strchr(pattern, '}');
            assert(close);
            p = read_figure(pattern + 1, (size_t)(close - pattern) - 1, p, m);
            pattern = close + 1;
        } else {
            p = *p == *pattern ? p + 1 : NULL;
            pattern++;
        }
    }
    if (!p)
        m->count = count;
    *ret_pattern = pattern;
    return p;
}

/* The first place from p on where the part fits. */
static const char *
find_part(const char *pattern, const char *p, struct match *m, const char **ret_pattern,
          const char **ret_end)
{
    bool literal = *pattern != '{' && !is_part_end(pattern);
    for (;; p++) {
        if (literal)
            p = strchr(p, *pattern);
        if (!p)
            return NULL;
        *ret_end = fit_part(pattern, p, m, ret_pattern);
        if (*ret_end)
            return p;
        if (*p == '\0')
            return NULL;
    }
}

bool
match_line(const char *pattern, const char *line, struct match *ret_match)
{
    struct match m = {0};
    const char *p = line, *end;
    bool fixed = *pattern == '^', wants_what = false;
    pattern += fixed;
    for (;;) {
        const char *at = fixed ? p : find_part(pattern, p, &m, &pattern, &end);
        if (fixed)
            end = fit_part(pattern, p, &m, &pattern);
        if (!at || !end)
            return false;
        if (wants_what)
            m.what_len = (size_t)(at - m.what);
        if (*pattern == '\0')
            break;
        fixed = false;
        wants_what = *pattern == '{';
        pattern += wants_what ? strlen(what_name) : 1;
        if (wants_what)
            m.what = end;
        p = end;
        if (*pattern == '\0') {
            m.what_len = wants_what ? strlen(p) : m.what_len;
            break;
        }
    }
    *ret_match = m;
    return true;
}
