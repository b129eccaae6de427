#include "fmt/value.h"

#include "base/quantity.h"
#include "base/text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *
value_type_name(enum value_type type)
{
    static const char *const names[] = {
        [VALUE_NULL] = "nothing",    [VALUE_BOOL] = "true or false", [VALUE_NUMBER] = "a number",
        [VALUE_STRING] = "a string", [VALUE_LIST] = "a list",        [VALUE_MAP] = "a map",
    };
    return names[type];
}

const struct value *
value_get(const struct value *v, const char *name)
{
    if (!v || v->type != VALUE_MAP)
        return NULL;
    for (const struct value *member = v->first; member; member = member->next)
        if (text_eq(member->name, name))
            return member;
    return NULL;
}

bool
value_real(const struct value *v, double *ret_n)
{
    return v && v->type == VALUE_NUMBER && quantity_parse_real(v->text, ret_n, NULL) == 0;
}

/* YAML's 0x1F and 0o17. */
static bool
read_based(const char *text, uint64_t *ret_n)
{
    bool hex = text_starts(text, "0x"), octal = text_starts(text, "0o");
    if (!hex && !octal)
        return false;
    errno = 0;
    uint64_t n = strtoull(text + 2, NULL, hex ? 16 : 8);
    if (errno)
        return false;
    *ret_n = n;
    return true;
}

bool
value_u64(const struct value *v, uint64_t *ret_n)
{
    double real;
    if (!v || v->type != VALUE_NUMBER)
        return false;
    if (quantity_parse_u64(v->text, ret_n, NULL) == 0 || read_based(v->text, ret_n))
        return true;
    /* Above 2^53 a double no longer tells neighbours apart. */
    if (!value_real(v, &real) || real < 0 || real > 9007199254740992.0 || floor(real) != real)
        return false;
    *ret_n = (uint64_t)real;
    return true;
}

bool
value_i64(const struct value *v, int64_t *ret_n)
{
    double real;
    uint64_t natural = 0;
    if (!v || v->type != VALUE_NUMBER)
        return false;
    if (read_based(v->text, &natural) && natural <= INT64_MAX) {
        *ret_n = (int64_t)natural;
        return true;
    }
    if (quantity_parse_i64(v->text, ret_n, NULL) == 0)
        return true;
    if (!value_real(v, &real) || fabs(real) > 9007199254740992.0 || floor(real) != real)
        return false;
    *ret_n = (int64_t)real;
    return true;
}

bool
value_bool(const struct value *v, bool *ret)
{
    if (!v || v->type != VALUE_BOOL)
        return false;
    *ret = v->boolean;
    return true;
}

const char *
value_str(const struct value *v)
{
    return v && v->type == VALUE_STRING && strlen(v->text) == v->len ? v->text : NULL;
}

void
value_copy_str(const struct value *v, char *to, size_t room)
{
    const char *text = value_str(v);
    text_make_safe(to, room, snprintf(to, room, "%s", text ? text : ""));
}

unsigned
value_u32(const struct value *v)
{
    uint64_t n = 0;
    return value_u64(v, &n) && n <= UINT32_MAX ? (unsigned)n : 0;
}
