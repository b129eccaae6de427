#include "sim/ask.h"

#include "base/quantity.h"
#include "base/text.h"
#include "sim/pyjson.h"
#include "sim/sim.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_BYTES_MAX (16 * KIB)

/* ---- as Python would print it ---- */

static void
add_python_text(struct buf *out, const char *text, size_t len)
{
    char quote = memchr(text, '\'', len) && !memchr(text, '"', len) ? '"' : '\'';
    buf_add_char(out, quote);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n')
            buf_add_str(out, "\\n");
        else if (text[i] == quote || text[i] == '\\')
            buf_printf(out, "\\%c", text[i]);
        else
            buf_add_char(out, text[i]);
    }
    buf_add_char(out, quote);
}

static void
add_python(struct buf *out, const struct value *v)
{
    switch (v->type) {
    case VALUE_NULL:
        buf_add_str(out, "None");
        return;
    case VALUE_BOOL:
        buf_add_str(out, v->boolean ? "True" : "False");
        return;
    case VALUE_NUMBER:
        buf_add(out, v->text, v->len);
        return;
    case VALUE_STRING:
        add_python_text(out, v->text, v->len);
        return;
    case VALUE_LIST:
    case VALUE_MAP:
        break;
    }
    buf_add_char(out, v->type == VALUE_MAP ? '{' : '[');
    for (const struct value *m = v->first; m; m = m->next) {
        if (m->name) {
            add_python_text(out, m->name, strlen(m->name));
            buf_add_str(out, ": ");
        }
        add_python(out, m);
        if (m->next)
            buf_add_str(out, ", ");
    }
    buf_add_char(out, v->type == VALUE_MAP ? '}' : ']');
}

/* ---- errors ---- */

/* branch: the type that was tried, where there is a choice, or NULL. */
static void
add_error(struct buf *out, const char *name, const struct ask_type *type, const struct value *input)
{
    _cleanup_buf_ struct buf shown = BUF_INIT(SHOWN_BYTES_MAX);
    add_python(&shown, input);
    buf_printf(out, "\n  {'type': '%s', 'loc': ('body', '%s'", type->type, name);
    if (type->branch)
        buf_printf(out, ", '%s'", type->branch);
    buf_printf(out, "), 'msg': '%s', 'input': %s}", type->msg,
               buf_error(&shown) < 0 ? "..." : shown.data);
}

void
ask_refuse_all(struct ask *a, const char *name, const struct ask_type *types, size_t count,
               const struct value *input)
{
    _cleanup_buf_ struct buf errors = BUF_INIT(4 * SHOWN_BYTES_MAX);
    char param[96];
    if (a->failed)
        return;
    a->failed = true;
    for (size_t i = 0; i < count; i++)
        add_error(&errors, name, &types[i], input);
    (void)snprintf(param, sizeof(param), "body.%s", name);
    call_fail(a->call, 400, "Bad Request", param, "%zu validation error%s:%s", count,
              count > 1 ? "s" : "", errors.data);
}

void
ask_refuse(struct ask *a, const char *name, const char *type, const char *msg,
           const struct value *input)
{
    const struct ask_type one = {NULL, type, msg};
    ask_refuse_all(a, name, &one, 1, input);
}

/* What is only our own limit (a name that stands twice, a depth) is told in our own words. */
void
ask_refuse_json(struct call *call, const char *text, size_t len, const struct err *err)
{
    _cleanup_buf_ struct buf shown = BUF_INIT(SHOWN_BYTES_MAX);
    char param[32];
    size_t at;
    const char *why = pyjson_complaint(text, len, &at);
    if (!why)
        why = err->what;
    add_python_text(&shown, why, strlen(why));
    (void)snprintf(param, sizeof(param), "body.%zu", at);
    call_fail(call, 400, "Bad Request", param,
              "1 validation error:\n  {'type': 'json_invalid', 'loc': ('body', %zu), 'msg': 'JSON "
              "decode error', 'input': {}, 'ctx': {'error': %s}}",
              at, shown.data);
}

void
ask_fail(struct ask *a, const char *fmt, ...)
{
    _cleanup_buf_ struct buf message = BUF_INIT(SHOWN_BYTES_MAX);
    va_list args;
    if (a->failed)
        return;
    a->failed = true;
    va_start(args, fmt);
    buf_vprintf(&message, fmt, args);
    va_end(args);
    call_fail(a->call, 400, "BadRequestError", NULL, "%s", message.data);
}

void
ask_fail_of_memory(struct ask *a)
{
    if (!a->failed)
        call_fail_of_memory(a->call);
    a->failed = true;
}

/* ---- members ---- */

const struct value *
ask_any(struct ask *a, const char *name)
{
    const struct value *v = a->failed ? NULL : value_get(a->body, name);
    return v && v->type != VALUE_NULL ? v : NULL;
}

const struct value *
ask_needed(struct ask *a, const char *name)
{
    const struct value *v = a->failed ? NULL : value_get(a->body, name);
    if (!v)
        ask_refuse(a, name, "missing", "Field required", a->body);
    return v;
}

const struct value *
ask_needed_list(struct ask *a, const char *name)
{
    const struct value *v = ask_needed(a, name);
    if (v && v->type != VALUE_LIST)
        ask_refuse(a, name, "list_type", "Input should be a valid list", v);
    return a->failed ? NULL : v;
}

const char *
ask_needed_text(struct ask *a, const char *name)
{
    const struct value *v = ask_needed(a, name);
    if (v && !value_str(v))
        ask_refuse(a, name, "string_type", "Input should be a valid string", v);
    return a->failed ? NULL : value_str(v);
}

bool
ask_text(struct ask *a, const char *name, const char **text)
{
    const struct value *v = ask_any(a, name);
    if (!v)
        return false;
    if (!value_str(v)) {
        ask_refuse(a, name, "string_type", "Input should be a valid string", v);
        return false;
    }
    *text = value_str(v);
    return true;
}

static bool
read_bool(const struct value *v, bool *ret)
{
    static const char *const words[][2] = {{"false", "true"}, {"no", "yes"}, {"off", "on"},
                                           {"f", "t"},        {"n", "y"},    {"0", "1"}};
    if (value_bool(v, ret))
        return true;
    for (size_t i = 0; v->text && i < ARRAY_SIZE(words); i++)
        for (size_t on = 0; on < 2; on++)
            if (strcasecmp(v->text, words[i][on]) == 0) {
                *ret = on;
                return true;
            }
    return false;
}

bool
ask_bool(struct ask *a, const char *name, bool *value)
{
    const struct value *v = ask_any(a, name);
    if (v && read_bool(v, value))
        return true;
    if (v)
        ask_refuse(a, name, "bool_parsing",
                   "Input should be a valid boolean, unable to interpret input", v);
    return false;
}

bool
ask_count(struct ask *a, const char *name, uint64_t *n)
{
    const struct value *v = ask_any(a, name);
    int64_t signed_n;
    if (!v)
        return false;
    if (value_u64(v, n) || (v->type == VALUE_STRING && quantity_parse_u64(v->text, n, NULL) == 0))
        return true;
    if (value_i64(v, &signed_n))
        ask_fail(a, "%s must be at least 0, got %lld.", name, (long long)signed_n);
    else if (v->type == VALUE_NUMBER)
        ask_refuse(a, name, "int_from_float",
                   "Input should be a valid integer, got a number with a fractional part", v);
    else if (v->type == VALUE_STRING)
        ask_refuse(a, name, "int_parsing",
                   "Input should be a valid integer, unable to parse string as an integer", v);
    else
        ask_refuse(a, name, "int_type", "Input should be a valid integer", v);
    return false;
}

bool
ask_real(struct ask *a, const char *name, double *n)
{
    const struct value *v = ask_any(a, name);
    if (!v)
        return false;
    if (value_real(v, n) || (v->type == VALUE_STRING && quantity_parse_real(v->text, n, NULL) == 0))
        return true;
    if (v->type == VALUE_STRING)
        ask_refuse(a, name, "float_parsing",
                   "Input should be a valid number, unable to parse string as a number", v);
    else
        ask_refuse(a, name, "float_type", "Input should be a valid number", v);
    return false;
}

const struct value *
ask_list(struct ask *a, const char *name)
{
    const struct value *v = ask_any(a, name);
    if (v && v->type != VALUE_LIST) {
        ask_refuse(a, name, "list_type", "Input should be a valid list", v);
        return NULL;
    }
    return v;
}

const struct value *
ask_map(struct ask *a, const char *name)
{
    const struct value *v = ask_any(a, name);
    if (v && v->type != VALUE_MAP) {
        ask_refuse(a, name, "dict_type", "Input should be a valid dictionary", v);
        return NULL;
    }
    return v;
}
