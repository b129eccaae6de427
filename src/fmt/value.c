#include "fmt/value.h"

#include "base/quantity.h"
#include "base/text.h"

#include <math.h>
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

bool
value_u64(const struct value *v, uint64_t *ret_n)
{
    double real;
    if (!v || v->type != VALUE_NUMBER)
        return false;
    if (quantity_parse_u64(v->text, ret_n, NULL) == 0)
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
    if (!v || v->type != VALUE_NUMBER)
        return false;
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
