/* Types that one scalar holds. */

#include "base/quantity.h"
#include "base/text.h"
#include "config/schedule_int.h"
#include "config/type_row_int.h"
#include "sys/root.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define HOST_MAX 253 /* of a DNS name */
#define TEXT_BYTES_MAX 4096

const char *
type_text(const struct value *v)
{
    if (v->type == VALUE_NULL || v->type >= VALUE_LIST || v->len > TEXT_BYTES_MAX)
        return NULL;
    for (size_t i = 0; i < v->len; i++)
        if ((unsigned char)v->text[i] < 0x20 || v->text[i] == 0x7F)
            return NULL;
    return v->text;
}

struct value *
type_new(struct arena *arena, enum value_type type, const char *text)
{
    struct value *v = arena_new(arena, struct value);
    if (!v)
        return NULL;
    v->type = type;
    v->text = text ? arena_strdup(arena, text) : "";
    v->len = v->text ? strlen(v->text) : 0;
    return v->text ? v : NULL;
}

/* Numbers. Those of one kind are compared with the ends of the range as they are read. */

static bool
read_real(enum option_type type, const char *text, double *ret_n)
{
    return type == OPTION_PERCENT ? quantity_parse_percent(text, ret_n, NULL) == 0
                                  : quantity_parse_real(text, ret_n, NULL) == 0;
}

static bool
read_whole(enum option_type type, const char *text, uint64_t *ret_n)
{
    if (type == OPTION_BYTES)
        return quantity_parse_bytes(text, ret_n, NULL) == 0;
    if (type == OPTION_DURATION)
        return quantity_parse_us(text, ret_n, NULL) == 0;
    return quantity_parse_u64(text, ret_n, NULL) == 0;
}

static bool
is_within(const struct option *o, uint64_t n)
{
    struct type_range range;
    uint64_t low, high;
    if (!type_range(o, &range))
        return true;
    return read_whole(o->type, range.low, &low) && read_whole(o->type, range.high, &high) &&
           n >= low && n <= high;
}

bool
type_read_count(const struct reading *r, const struct value *v, void *field)
{
    uint64_t n;
    if (!value_u64(v, &n) || !is_within(r->option, n) || n > UINT32_MAX)
        return type_refuse(r, v);
    *(uint32_t *)field = (uint32_t)n;
    return true;
}

bool
type_read_port(const struct reading *r, const struct value *v, void *field)
{
    uint64_t n;
    if (!value_u64(v, &n) || !is_within(r->option, n) || n > UINT16_MAX)
        return type_refuse(r, v);
    *(uint16_t *)field = (uint16_t)n;
    return true;
}

bool
type_read_fraction(const struct reading *r, const struct value *v, void *field)
{
    struct type_range range;
    double n, low, high;
    const enum option_type type = r->option->type;
    bool may = v->type == VALUE_NUMBER || (type == OPTION_PERCENT && v->type == VALUE_STRING);
    if (!may || !read_real(type, v->text, &n))
        return type_refuse(r, v);
    if (type_range(r->option, &range) &&
        !(read_real(type, range.low, &low) && read_real(type, range.high, &high) && n >= low &&
          n <= high))
        return type_refuse(r, v);
    *(double *)field = n;
    return true;
}

/* A number needs its unit, unless it is 0: nobody remembers which one is meant. */
bool
type_read_quantity(const struct reading *r, const struct value *v, void *field)
{
    uint64_t n;
    bool zero = v->type == VALUE_NUMBER && value_u64(v, &n) && n == 0;
    bool read = v->type == VALUE_STRING && strlen(v->text) == v->len &&
                read_whole(r->option->type, v->text, &n);
    if (!(zero || read) || !is_within(r->option, n))
        return type_refuse(r, v);
    *(uint64_t *)field = n;
    return true;
}

struct value *
type_write_count(struct arena *arena, const struct option *o unused_arg, const void *field)
{
    char text[16];
    (void)snprintf(text, sizeof(text), "%u", *(const uint32_t *)field);
    return type_new(arena, VALUE_NUMBER, text);
}

struct value *
type_write_port(struct arena *arena, const struct option *o unused_arg, const void *field)
{
    char text[16];
    (void)snprintf(text, sizeof(text), "%u", *(const uint16_t *)field);
    return type_new(arena, VALUE_NUMBER, text);
}

/* The shortest number that is read back as the same. */
struct value *
type_write_fraction(struct arena *arena, const struct option *o, const void *field)
{
    _cleanup_buf_ struct buf text = BUF_INIT(64);
    struct json_writer w;
    json_init(&w, &text, false);
    json_real(&w, NULL, *(const double *)field);
    bool percent = o->type == OPTION_PERCENT;
    if (percent)
        buf_add_char(&text, '%');
    return type_new(arena, percent ? VALUE_STRING : VALUE_NUMBER, text.data);
}

struct value *
type_write_quantity(struct arena *arena, const struct option *o, const void *field)
{
    quantity_text text;
    uint64_t n = *(const uint64_t *)field;
    const char *printed =
        o->type == OPTION_DURATION ? quantity_print_us(n, text) : quantity_print_bytes(n, text);
    bool bare = printed[strspn(printed, "0123456789")] == '\0';
    return type_new(arena, VALUE_STRING, bare ? arena_printf(arena, "%sB", printed) : printed);
}

/* Words. */

bool
type_read_bool(const struct reading *r, const struct value *v, void *field)
{
    return value_bool(v, field) || type_refuse(r, v);
}

struct value *
type_write_bool(struct arena *arena, const struct option *o unused_arg, const void *field)
{
    bool on = *(const bool *)field;
    struct value *v = type_new(arena, VALUE_BOOL, on ? "true" : "false");
    if (v)
        v->boolean = on;
    return v;
}

bool
type_read_switch(const struct reading *r, const struct value *v, void *field)
{
    enum config_switch *ret = field;
    if (v->type == VALUE_BOOL)
        *ret = v->boolean ? CONFIG_SWITCH_ON : CONFIG_SWITCH_OFF;
    else if (text_eq(value_str(v), "auto"))
        *ret = CONFIG_SWITCH_AUTO;
    else
        return type_refuse(r, v);
    return true;
}

struct value *
type_write_switch(struct arena *arena, const struct option *o, const void *field)
{
    enum config_switch is = *(const enum config_switch *)field;
    bool on = is == CONFIG_SWITCH_ON;
    return is == CONFIG_SWITCH_AUTO ? type_new(arena, VALUE_STRING, "auto")
                                    : type_write_bool(arena, o, &on);
}

bool
type_read_choice(const struct reading *r, const struct value *v, void *field)
{
    const struct words *words = r->option->words;
    const char *text = type_text(v);
    for (size_t i = 0; text && i < words->count; i++) {
        if (text_eq(text, words->items[i].word)) {
            *(unsigned *)field = (unsigned)i;
            return true;
        }
    }
    return type_refuse(r, v);
}

struct value *
type_write_choice(struct arena *arena, const struct option *o, const void *field)
{
    unsigned is = *(const unsigned *)field;
    assert(is < o->words->count);
    return type_new(arena, VALUE_STRING, o->words->items[is].word);
}

/* Texts. */

/* Account names as useradd(8) takes them. */
bool
type_is_user(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-");
    return len > 0 && len <= 32 && !text[len] && (isalpha((unsigned char)*text) || *text == '_');
}

static bool
is_host_name(const char *text)
{
    size_t label = 0, len = strlen(text);
    if (len == 0 || len > HOST_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        bool dot = text[i] == '.', dash = text[i] == '-';
        if (!isalnum((unsigned char)text[i]) && !dot && !dash && text[i] != '_')
            return false;
        if (dot ? label == 0 || text[i - 1] == '-' : dash && label == 0)
            return false;
        label = dot ? 0 : label + 1;
        if (label > 63)
            return false;
    }
    /* All digits and dots would be an address, and a wrong one. */
    return text[len - 1] != '-' && text[strspn(text, "0123456789.")] != '\0';
}

bool
type_is_address(const char *text)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

bool
type_is_listen(const char *text)
{
    return type_is_address(text) || root_takes_absolute(text);
}

bool
type_is_host(const char *text)
{
    return type_is_address(text) || is_host_name(text);
}

/* http(s)://HOST[:PORT][/...]; no user and password, which would be secrets. */
bool
type_is_url(const char *text)
{
    if (!text_starts(text, "http://") && !text_starts(text, "https://"))
        return false;
    const char *host = strstr(text, "//") + 2;
    size_t len = strcspn(host, "/?#");
    return len > 0 && !memchr(host, '@', len) && !strchr(text, ' ') && *host != ':';
}

/* An absolute path, sftp://[USER@]HOST/PATH or s3://HOST/BUCKET[/PREFIX], or s3+http: without TLS; no
 * password. */
bool
type_is_repository(const char *text)
{
    const char *rest = text_starts(text, "sftp://")      ? text + 7
                       : text_starts(text, "s3://")      ? text + 5
                       : text_starts(text, "s3+http://") ? text + 10
                                                         : NULL;
    if (!rest)
        return root_takes_absolute(text);
    size_t host = strcspn(rest, "/");
    const char *at = memchr(rest, '@', host);
    return host > 0 && rest[host] && rest[host + 1] && !strchr(text, ' ') &&
           !(at && memchr(rest, ':', (size_t)(at - rest)));
}

bool
type_is_text(const char *text unused_arg)
{
    return true;
}

bool
type_is_any(const char *text)
{
    return *text != '\0';
}

bool
type_read_text(const struct reading *r, const struct value *v, void *field)
{
    const char *text = type_text(v), **ret = field;
    enum option_type type = r->option->type;
    const char *rest;
    const struct option *base = r->preset ? option_base(text, &rest) : NULL;
    if (base) { /* has been read before all that depends on it */
        const char *const *path = option_field(base, r->paths);
        *ret = arena_printf(r->arena, "%s%s", *path, rest);
        return true;
    }
    if (!text || !types[type].fits(text))
        return type_refuse(r, v);
    *ret =
        types[type].path && *text == '/' ? root_path(r->arena, text) : arena_strdup(r->arena, text);
    return true;
}

struct value *
type_write_text(struct arena *arena, const struct option *o, const void *field)
{
    const char *text = *(const char *const *)field;
    return type_new(arena, VALUE_STRING, types[o->type].path ? root_strip(text) : text);
}

bool
type_read_schedule(const struct reading *r, const struct value *v, void *field)
{
    const char *text = type_text(v);
    return (text && schedule_parse(text, field)) || type_refuse(r, v);
}

struct value *
type_write_schedule(struct arena *arena, const struct option *o unused_arg, const void *field)
{
    char text[SCHEDULE_TEXT_MAX];
    return type_new(arena, VALUE_STRING, schedule_print(field, text));
}
