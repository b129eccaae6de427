#include "fmt/json_scan.h"

#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#ifdef __SSE2__
#    include <emmintrin.h>
#endif

struct scan {
    const char *text, *at, *end;
    uint64_t
        maps[JSON_SCAN_DEPTH_MAX / 64]; /* a bit for each level that is open: it is an object */
    unsigned depth;
    struct err *reterr;
};

static int
refuse(const struct scan *s, const char *wanted)
{
    char found[32] = "its end";
    if (s->at < s->end)
        (void)snprintf(found, sizeof(found), *s->at > ' ' && *s->at < 0x7F ? "'%c'" : "byte 0x%02X",
                       (unsigned char)*s->at);
    return err_set(s->reterr, ERR_SYNTAX, "at byte %zu of the JSON: expected %s, found %s",
                   (size_t)(s->at - s->text), wanted, found);
}

static bool
is_at(const struct scan *s, char c)
{
    return s->at < s->end && *s->at == c;
}

static bool
is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void
skip_space(struct scan *s)
{
    while (s->at < s->end && is_space(*s->at))
        s->at++;
}

const char *
json_past_space(const char *at)
{
    while (is_space(*at))
        at++;
    return at;
}

const char *
json_past_plain(const char *at, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
    const __m128i control = _mm_set1_epi8(0x1F);
    for (; end - at >= 16; at += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i stops = _mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, backslash));
        stops = _mm_or_si128(stops, _mm_cmpeq_epi8(_mm_min_epu8(x, control), x));
        unsigned mask = (unsigned)_mm_movemask_epi8(stops);
        if (mask)
            return at + __builtin_ctz(mask);
    }
#endif
    while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20)
        at++;
    return at;
}

static bool
skip_escape(struct scan *s)
{
    static const char letters[] = "\"\\/bfnrtu";
    char letter = ++s->at < s->end ? *s->at : '\0';
    if (!letter || !strchr(letters, letter))
        return false;
    s->at++;
    for (int i = 0; letter == 'u' && i < 4; i++, s->at++) {
        char c = s->at < s->end ? *s->at : '\0';
        if (!((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')))
            return false;
    }
    return true;
}

static int
skip_string(struct scan *s)
{
    s->at++;
    for (;;) {
        s->at = json_past_plain(s->at, s->end);
        if (is_at(s, '"'))
            break;
        if (!is_at(s, '\\'))
            return refuse(s, "the rest of a string");
        if (!skip_escape(s))
            return refuse(s, "an escape that JSON has");
    }
    s->at++;
    return 0;
}

static bool
skip_digits(struct scan *s)
{
    const char *from = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return s->at > from;
}

static int
skip_number(struct scan *s)
{
    if (!is_at(s, '-') && !(s->at < s->end && *s->at >= '0' && *s->at <= '9'))
        return refuse(s, "a value");
    s->at += is_at(s, '-');
    bool good = is_at(s, '0');
    if (good)
        s->at++;
    else
        good = skip_digits(s);
    if (good && is_at(s, '.')) {
        s->at++;
        good = skip_digits(s);
    }
    if (good && (is_at(s, 'e') || is_at(s, 'E'))) {
        s->at++;
        s->at += is_at(s, '+') || is_at(s, '-');
        good = skip_digits(s);
    }
    return good ? 0 : refuse(s, "a digit");
}

static int
skip_word(struct scan *s, const char *word)
{
    size_t len = strlen(word);
    if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0)
        return refuse(s, "a value");
    s->at += len;
    return 0;
}

static enum json_kind
kind_at(const struct scan *s)
{
    switch (s->at < s->end ? *s->at : '\0') {
    case '"':
        return JSON_STRING;
    case '{':
        return JSON_MAP;
    case '[':
        return JSON_LIST;
    case 't':
        return JSON_TRUE;
    case 'f':
        return JSON_FALSE;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}

static bool
is_in_map(const struct scan *s)
{
    unsigned level = s->depth - 1;
    return s->maps[level / 64] >> level % 64 & 1;
}

static int
open_level(struct scan *s, bool is_map)
{
    if (s->depth == JSON_SCAN_DEPTH_MAX)
        return refuse(s, "nothing nested that deep");
    uint64_t bit = UINT64_C(1) << s->depth % 64, *word = &s->maps[s->depth / 64];
    *word = is_map ? *word | bit : *word & ~bit;
    s->depth++;
    s->at++;
    skip_space(s);
    return 0;
}

/* A name and its colon; the value comes next. ret_name: with its quotes. */
static int
skip_name(struct scan *s, struct json_place *ret_name)
{
    if (!is_at(s, '"'))
        return refuse(s, "a name in quotes");
    const char *from = s->at;
    int r = skip_string(s);
    if (ret_name)
        *ret_name =
            (struct json_place){JSON_STRING, (size_t)(from - s->text), (size_t)(s->at - from)};
    skip_space(s);
    if (r == 0 && !is_at(s, ':'))
        return refuse(s, "a colon");
    s->at += r == 0;
    skip_space(s);
    return r;
}

static int
skip_scalar(struct scan *s, enum json_kind kind)
{
    static const char *const words[] = {
        [JSON_NULL] = "null", [JSON_FALSE] = "false", [JSON_TRUE] = "true"};
    if (kind == JSON_STRING)
        return skip_string(s);
    return kind == JSON_NUMBER ? skip_number(s) : skip_word(s, words[kind]);
}

/* Into a list or an object, to its first value; one that is empty is left again: 0. 1: it is open. */
static int
enter(struct scan *s, bool is_map)
{
    int r = open_level(s, is_map);
    if (r < 0)
        return r;
    if (is_at(s, is_map ? '}' : ']')) {
        s->depth--;
        s->at++;
        return 0;
    }
    r = is_map ? skip_name(s, NULL) : 0;
    return r < 0 ? r : 1;
}

/* Behind a value: out of all levels that end here, down to `base`. 1: another value follows. */
static int
leave(struct scan *s, unsigned base)
{
    while (s->depth > base) {
        bool in_map = is_in_map(s);
        skip_space(s);
        if (is_at(s, ',')) {
            s->at++;
            skip_space(s);
            int r = in_map ? skip_name(s, NULL) : 0;
            return r < 0 ? r : 1;
        }
        if (!is_at(s, in_map ? '}' : ']'))
            return refuse(s, in_map ? "',' or '}'" : "',' or ']'");
        s->depth--;
        s->at++;
    }
    return 0;
}

static int
skip_value(struct scan *s)
{
    unsigned base = s->depth;
    for (int more = 1; more;) {
        enum json_kind kind = kind_at(s);
        bool nests = kind == JSON_MAP || kind == JSON_LIST;
        more = nests ? enter(s, kind == JSON_MAP) : skip_scalar(s, kind);
        if (more == 0)
            more = leave(s, base);
        if (more < 0)
            return more;
    }
    return 0;
}

/* ---- strings ---- */

/* Of four digits that were looked at. */
static uint32_t
read_hex4(const char *at)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++)
        code = code << 4 | (uint32_t)(at[i] <= '9' ? at[i] - '0' : (at[i] | 0x20) - 'a' + 10);
    return code;
}

/* What stands behind a backslash; *at moves. Half a surrogate pair comes as it is. */
static uint32_t
read_escape(const char **at, const char *end)
{
    static const char letters[] = "\"\\/bfnrt", meaning[] = "\"\\/\b\f\n\r\t";
    const char *p = *at;
    *at = p + 1;
    if (*p != 'u')
        return (unsigned char)meaning[strchr(letters, *p) - letters];
    uint32_t code = read_hex4(p + 1), low = 0;
    *at = p + 5;
    if (code >= 0xD800 && code <= 0xDBFF && end - *at >= 6 && memcmp(*at, "\\u", 2) == 0)
        low = read_hex4(*at + 2);
    if (low < 0xDC00 || low > 0xDFFF)
        return code;
    *at += 6;
    return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
}

int
json_scan_text(const char *text, const struct json_place *place, char *to, size_t size)
{
    assert(place->kind == JSON_STRING);
    const char *at = text + place->at + 1, *end = at + place->len - 2;
    size_t used = 0;
    while (at < end) {
        char wide[4];
        const char *run = at;
        at = json_past_plain(at, end);
        size_t len = (size_t)(at - run);
        if (len == 0) {
            at++;
            uint32_t c = read_escape(&at, end);
            if (c == 0)
                return -EBADMSG;
            len = (size_t)(text_put_char(wide, c) - wide);
            run = wide;
        }
        if (len >= size - used)
            return -EMSGSIZE;
        memcpy(to + used, run, len);
        used += len;
    }
    to[used] = '\0';
    return text_is_utf8(to, used) ? 0 : -EBADMSG; /* which half a surrogate pair is not */
}

/* ---- the members that are asked for ---- */

/* Which of those names it is; or count. One that is too long to be asked for is decoded no further. */
static size_t
find_name(const char *text, const struct json_place *place, const char *const *names, size_t count)
{
    char decoded[JSON_SCAN_NAME_MAX + 1];
    const char *name = text + place->at + 1;
    size_t len = place->len - 2, i = 0;
    if (memchr(name, '\\', len)) {
        if (json_scan_text(text, place, decoded, sizeof(decoded)) < 0)
            return count;
        name = decoded;
        len = strlen(decoded);
    }
    while (i < count &&
           (names[i][0] != name[0] || strncmp(names[i], name, len) != 0 || names[i][len]))
        i++;
    return i;
}

static int
read_member(struct scan *s, const char *const *names, size_t count, struct json_place *places)
{
    struct json_place name;
    int r = skip_name(s, &name);
    struct json_place value = {.kind = kind_at(s), .at = (size_t)(s->at - s->text)};
    r = r == 0 ? skip_value(s) : r;
    size_t i = r == 0 ? find_name(s->text, &name, names, count) : count;
    if (i == count)
        return r;
    if (places[i].kind != JSON_ABSENT)
        return err_set(s->reterr, ERR_SYNTAX,
                       "\"%s\" is there twice, at bytes %zu and %zu of the JSON", names[i],
                       places[i].at, value.at);
    value.len = (size_t)(s->at - s->text) - value.at;
    places[i] = value;
    return 0;
}

static int
read_object(struct scan *s, const char *const *names, size_t count, struct json_place *places)
{
    skip_space(s);
    if (!is_at(s, '{'))
        return refuse(s, "an object");
    int r = open_level(s, true);
    bool more = r == 0 && !is_at(s, '}');
    while (r == 0 && more) {
        r = read_member(s, names, count, places);
        skip_space(s);
        more = is_at(s, ',');
        s->at += r == 0 && more;
        skip_space(s);
    }
    if (r == 0 && !is_at(s, '}'))
        r = refuse(s, "',' or '}'");
    if (r < 0)
        return r;
    s->at++;
    skip_space(s);
    return s->at == s->end ? 0 : refuse(s, "nothing more");
}

int
json_scan(const char *text, size_t len, const char *const *names, size_t count,
          struct json_place *ret_places, struct err *reterr)
{
    struct scan s = {.text = text, .at = text, .end = text + len, .reterr = reterr};
    struct json_place places[JSON_SCAN_NAMES_MAX];
    assert(count <= JSON_SCAN_NAMES_MAX);
    memset(places, 0, count * sizeof(*places));
    int r = read_object(&s, names, count, places);
    if (r == 0)
        memcpy(ret_places, places, count * sizeof(*places));
    return r;
}
