#include "base/quantity.h"

#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* Of texts of one length, the first is printed. */
static const struct unit byte_units[] = {
    {"KiB", KIB},
    {"MiB", MIB},
    {"GiB", GIB},
    {"TiB", GIB << 10},
    {"PiB", GIB << 20},
    {"kB", 1000},
    {"KB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"TB", UINT64_C(1000000000000)},
    {"PB", UINT64_C(1000000000000000)},
    {"", 1},
    {"B", 1},
};

#define SECOND_US UINT64_C(1000000)
#define HOUR_US (3600 * SECOND_US)
#define DAY_US (24 * HOUR_US)
/* Large to small, the order in which parts may follow each other. */
static const struct unit time_units[] = {
    {"w", 7 * DAY_US}, {"d", DAY_US}, {"h", HOUR_US}, {"m", 60 * SECOND_US},
    {"s", SECOND_US},  {"ms", 1000},  {"us", 1},
};

/* An unsigned decimal with up to nine digits after the point: whole + nano / 10^9. */
struct decimal {
    uint64_t whole;
    uint32_t nano;
};

/* Reads a decimal, returns what follows it; NULL when there is none or it is too large. */
static const char *
read_decimal(const char *p, struct decimal *ret_d)
{
    struct decimal d = {0};
    if (!isdigit((unsigned char)*p))
        return NULL;
    for (; isdigit((unsigned char)*p); p++) {
        if (__builtin_mul_overflow(d.whole, 10, &d.whole) ||
            __builtin_add_overflow(d.whole, (uint64_t)(*p - '0'), &d.whole))
            return NULL;
    }
    if (*p == '.') {
        uint32_t worth = 100000000;
        p++;
        if (!isdigit((unsigned char)*p))
            return NULL;
        for (; isdigit((unsigned char)*p); p++, worth /= 10) {
            if (worth == 0)
                return NULL;
            d.nano += (uint32_t)(*p - '0') * worth;
        }
    }
    *ret_d = d;
    return p;
}

/* d x factor, rounded down; false when it is above 2^64 - 1. */
static bool
scale(struct decimal d, uint64_t factor, uint64_t *ret_n)
{
    unsigned __int128 n =
        (unsigned __int128)d.whole * factor + (unsigned __int128)d.nano * factor / 1000000000;
    if (n > UINT64_MAX)
        return false;
    *ret_n = (uint64_t)n;
    return true;
}

int
quantity_parse_u64(const char *text, uint64_t *ret_n, struct err *reterr)
{
    struct decimal d;
    const char *end = read_decimal(text, &d);
    if (!end || *end || strchr(text, '.'))
        return err_set(reterr, ERR_VALUE, "'%s' is not a whole number from 0 to 2^64-1", text);
    *ret_n = d.whole;
    return 0;
}

int
quantity_parse_i64(const char *text, int64_t *ret_n, struct err *reterr)
{
    const char *digits = text + (*text == '-' || *text == '+');
    uint64_t limit = *text == '-' ? UINT64_C(1) << 63 : INT64_MAX;
    struct decimal d;
    const char *end = read_decimal(digits, &d);
    if (!end || *end || strchr(text, '.') || d.whole > limit)
        return err_set(reterr, ERR_VALUE, "'%s' is not a whole number within 64 bits", text);
    *ret_n = (int64_t)(*text == '-' ? 0 - d.whole : d.whole);
    return 0;
}

int
quantity_parse_real(const char *text, double *ret_n, struct err *reterr)
{
    /* strtod also takes blanks, hexadecimal, inf and nan, none of which we mean. */
    size_t plain = strspn(text, "+-.0123456789eE");
    char *end = NULL;
    double n = plain && !text[plain] ? strtod(text, &end) : NAN;
    if (!end || end == text || *end || !isfinite(n))
        return err_set(reterr, ERR_VALUE, "'%s' is not a number", text);
    *ret_n = n;
    return 0;
}

int
quantity_parse_bytes(const char *text, uint64_t *ret_bytes, struct err *reterr)
{
    struct decimal d;
    const char *unit = read_decimal(text, &d);
    if (unit)
        unit += *unit == ' ';
    for (size_t i = 0; unit && i < ARRAY_SIZE(byte_units); i++)
        if (text_eq(unit, byte_units[i].name) && scale(d, byte_units[i].factor, ret_bytes))
            return 0;
    int r = err_set(reterr, ERR_VALUE, "'%s' is not a size", text);
    err_fix(reterr, "write it like 512MiB, 80GiB or 500GB");
    return r;
}

/* The unit at p, after `from`; its length in *ret_len. A shorter name never hides a longer one:
 * all letters that stand there must belong to the unit. */
static const struct unit *
find_time_unit(const char *p, const struct unit *from, size_t *ret_len)
{
    *ret_len = 0;
    while (isalpha((unsigned char)p[*ret_len]))
        (*ret_len)++;
    for (const struct unit *u = from; u < time_units + ARRAY_SIZE(time_units); u++)
        if (strlen(u->name) == *ret_len && strncmp(p, u->name, *ret_len) == 0)
            return u;
    return NULL;
}

static bool
read_duration(const char *text, uint64_t *ret_us)
{
    const struct unit *from = time_units;
    uint64_t sum = 0, part;
    struct decimal d;
    const char *p = read_decimal(text, &d);
    if (p && !*p)
        return scale(d, SECOND_US, ret_us);
    while (p) {
        size_t len;
        const struct unit *unit = find_time_unit(p, from, &len);
        if (!unit || !scale(d, unit->factor, &part) || __builtin_add_overflow(sum, part, &sum))
            return false;
        p += len;
        if (!*p) {
            *ret_us = sum;
            return true;
        }
        from = unit + 1;
        p = read_decimal(p, &d);
    }
    return false;
}

int
quantity_parse_us(const char *text, uint64_t *ret_us, struct err *reterr)
{
    if (read_duration(text, ret_us))
        return 0;
    int r = err_set(reterr, ERR_VALUE, "'%s' is not a duration", text);
    err_fix(reterr, "write it like 90s, 15m, 2h or 7d");
    return r;
}

int
quantity_parse_percent(const char *text, double *ret_percent, struct err *reterr)
{
    size_t len = strlen(text);
    char number[32];
    double n = 0;
    if (len > 0 && text[len - 1] == '%')
        len--;
    if (len > 0 && len < sizeof(number)) {
        memcpy(number, text, len);
        number[len] = '\0';
        if (quantity_parse_real(number, &n, NULL) == 0 && n >= 0 && n <= 100) {
            *ret_percent = n;
            return 0;
        }
    }
    return err_set(reterr, ERR_VALUE, "'%s' is not a percentage from 0 to 100", text);
}

const char *
quantity_print_bytes(uint64_t bytes, quantity_text text)
{
    quantity_text other;
    size_t shortest = QUANTITY_TEXT_MAX;
    for (size_t i = 0; i < ARRAY_SIZE(byte_units); i++) {
        const struct unit *unit = &byte_units[i];
        if (bytes % unit->factor != 0)
            continue;
        int len = snprintf(other, sizeof(other), "%" PRIu64 "%s", bytes / unit->factor, unit->name);
        assert(len > 0);
        if ((size_t)len < shortest) {
            shortest = (size_t)len;
            memcpy(text, other, shortest + 1);
        }
    }
    return text;
}

const char *
quantity_print_us(uint64_t us, quantity_text text)
{
    size_t len = 0;
    if (us == 0)
        return memcpy(text, "0s", 3);
    /* Weeks are read but not printed: 30 days are told as 30d. The longest text, of 2^64 - 1,
     * is 213503982d8h1m49s551ms615us, 26 bytes. */
    for (size_t i = 1; i < ARRAY_SIZE(time_units); i++) {
        uint64_t n = us / time_units[i].factor;
        us %= time_units[i].factor;
        if (n)
            len += (size_t)snprintf(text + len, QUANTITY_TEXT_MAX - len, "%" PRIu64 "%s", n,
                                    time_units[i].name);
    }
    return text;
}

/* Three significant digits: 9.99, 99.9, 999. */
static void
show(double n, const char *unit, quantity_text text)
{
    int digits = n < 9.995 ? 2 : n < 99.95 ? 1 : 0;
    (void)snprintf(text, QUANTITY_TEXT_MAX, "%.*f %s", digits, n, unit);
}

const char *
quantity_show_bytes(uint64_t bytes, quantity_text text)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double n = (double)bytes / 1024;
    size_t i = 0;
    if (bytes < KIB) {
        (void)snprintf(text, QUANTITY_TEXT_MAX, "%" PRIu64 " B", bytes);
        return text;
    }
    for (; n >= 999.5 && i + 1 < ARRAY_SIZE(units); i++)
        n /= 1024;
    show(n, units[i], text);
    return text;
}

const char *
quantity_show_count(uint64_t n, quantity_text text)
{
    static const char *const units[] = {"K", "M", "B", "T"};
    double shown = (double)n / 1000;
    size_t i = 0;
    if (n < 1000) {
        (void)snprintf(text, QUANTITY_TEXT_MAX, "%" PRIu64, n);
        return text;
    }
    for (; shown >= 999.5 && i + 1 < ARRAY_SIZE(units); i++)
        shown /= 1000;
    show(shown, units[i], text);
    return text;
}
