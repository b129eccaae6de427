#include "fmt/json_scan.h"

#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#ifdef __SSE2__
#    include <emmintrin.h>
#endif

enum state {
    START,  /* before the object */
    NAME,   /* a name comes, */
    MEMBER, /* or the object is empty; */
    COLON,
    VALUE,
    ITEM,  /* or the list is empty; */
    AFTER, /* a comma, or the end of a level */
    STRING,
    ESCAPE,
    HEX,
    NUMBER,
    WORD,
    DONE,
};

/* What of a number was read last. */
enum number { N_NONE, N_MINUS, N_ZERO, N_WHOLE, N_DOT, N_FRACTION, N_E, N_SIGN, N_POWER };

/* A piece of the text, while it is read. */
struct reading {
    struct json_scan *scan;
    const char *bytes, *at, *end;
    size_t before; /* it, in the text */
    struct err *reterr;
};

static const char *const words[] = {
    [JSON_NULL] = "null", [JSON_FALSE] = "false", [JSON_TRUE] = "true"};

static int
refuse_at(size_t at, const char *found, const char *wanted, struct err *reterr)
{
    char text[32] = "its end";
    if (found)
        (void)snprintf(text, sizeof(text), *found > ' ' && *found < 0x7F ? "'%c'" : "byte 0x%02X",
                       (unsigned char)*found);
    return err_set(reterr, ERR_SYNTAX, "at byte %zu of the JSON: expected %s, found %s", at, wanted,
                   text);
}

static size_t
place_of(const struct reading *r)
{
    return r->before + (size_t)(r->at - r->bytes);
}

static int
refuse(const struct reading *r, const char *wanted)
{
    return refuse_at(place_of(r), r->at, wanted, r->reterr);
}

static bool
is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
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

/* ---- strings ---- */

/* Of digits that were looked at. */
static uint32_t
read_hex1(char c)
{
    return (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

static uint32_t
read_hex4(const char *at)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++)
        code = code << 4 | read_hex1(at[i]);
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

/* Which of those names was read; or count. One too long to be asked for is decoded no further. */
static size_t
find_name(const struct json_scan *s)
{
    const struct json_place spelt = {JSON_STRING, 0, s->name_len};
    char decoded[JSON_SCAN_NAME_MAX + 1];
    const char *name = s->name + 1;
    size_t len = s->name_len - 2, i = 0;
    if (s->name_len > sizeof(s->name))
        return s->count;
    if (memchr(name, '\\', len)) {
        if (json_scan_text(s->name, &spelt, decoded, sizeof(decoded)) < 0)
            return s->count;
        name = decoded;
        len = strlen(decoded);
    }
    while (i < s->count &&
           (s->names[i][0] != name[0] || strncmp(s->names[i], name, len) != 0 || s->names[i][len]))
        i++;
    return i;
}

static bool
is_set(const uint64_t *bits, unsigned depth)
{
    unsigned level = depth - 1;
    return bits[level / 64] >> level % 64 & 1;
}

static bool
is_in_map(const struct json_scan *s)
{
    return is_set(s->maps, s->depth);
}

static bool
is_on_way(const struct json_scan *s)
{
    return is_set(s->ways, s->depth);
}

static void
spell(struct json_scan *s, const char *bytes, size_t len)
{
    if (!s->is_name || (s->depth != 1 && !is_on_way(s)))
        return;
    if (s->name_len < sizeof(s->name))
        memcpy(s->name + s->name_len, bytes, MIN(len, sizeof(s->name) - s->name_len));
    s->name_len += len;
}

/* Where the member leads whose value begins. */
static void
find_way(struct json_scan *s)
{
    const struct json_lead *l = s->strings->leads;
    const char *name = s->name + 1;
    size_t len = s->name_len - 2;
    bool is_first = s->depth == 1, is_inner = s->depth == s->into_depth;
    while (l->name && (!is_first || l->flags & JSON_FROM) &&
           (l->len != len || l->name[0] != name[0] || memcmp(l->name, name, len) != 0))
        l++;
    unsigned flags = l->name ? l->flags : 0;
    bool is_on = !(flags & JSON_LISTED) || s->kind == JSON_LIST;
    bool looks = !is_first && !is_inner && s->kind == JSON_MAP && flags & JSON_INTO;
    s->lead = l;
    s->leads = looks || (is_on && !is_inner && flags & (is_first ? JSON_FROM : JSON_WAY));
    s->is_one =
        is_inner ? flags & JSON_INNER : (flags & JSON_TOLD) && (!is_first || flags & JSON_FROM);
    if (looks) {
        s->into = l;
        s->into_depth = s->depth + 1;
    }
}

static int
open_member(const struct reading *r)
{
    struct json_scan *s = r->scan;
    struct json_place *place = &s->places[s->open];
    if (place->kind != JSON_ABSENT)
        return err_set(r->reterr, ERR_SYNTAX,
                       "\"%s\" is there twice, at bytes %zu and %zu of the JSON", s->names[s->open],
                       place->at, place_of(r));
    *place = (struct json_place){.kind = s->kind, .at = place_of(r)};
    return 0;
}

static void
count_item(struct json_scan *s)
{
    struct json_place *place = &s->places[s->open];
    if (place->kind == JSON_LIST && place->items++ == 0)
        place->first = s->kind;
}

/* ---- levels ---- */

static void
set_bit(uint64_t *bits, unsigned level, bool is_on)
{
    uint64_t bit = UINT64_C(1) << level % 64, *word = &bits[level / 64];
    *word = is_on ? *word | bit : *word & ~bit;
}

/* Whether the level that begins now is. */
static bool
goes_on(const struct json_scan *s)
{
    if (s->depth == 0)
        return s->strings != NULL;
    return is_in_map(s) ? s->leads : is_on_way(s);
}

static int
open_level(struct reading *r, bool is_map)
{
    struct json_scan *s = r->scan;
    if (s->depth == JSON_SCAN_DEPTH_MAX)
        return refuse(r, "nothing nested that deep");
    set_bit(s->ways, s->depth, goes_on(s));
    set_bit(s->maps, s->depth, is_map);
    s->depth++;
    s->state = is_map ? MEMBER : ITEM;
    r->at++;
    return 0;
}

/* A value has ended before the next byte. */
static void
close_value(const struct reading *r)
{
    struct json_scan *s = r->scan;
    s->state = s->depth ? AFTER : DONE;
    if (s->depth != 1 || s->open == s->count)
        return;
    s->places[s->open].len = place_of(r) - s->places[s->open].at;
    s->open = s->count;
}

static int
close_level(struct reading *r)
{
    struct json_scan *s = r->scan;
    if (s->depth == s->into_depth) {
        s->into_depth = 0;
        if (s->strings->looked)
            s->strings->looked(s, s->into);
    }
    s->depth--;
    r->at++;
    close_value(r);
    return 0;
}

/* ---- values ---- */

static enum json_kind
kind_of(char c)
{
    switch (c) {
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

static int
open_string(struct reading *r, bool is_name)
{
    struct json_scan *s = r->scan;
    s->state = STRING;
    s->is_name = is_name;
    s->tells = !is_name && s->is_one && is_on_way(s) && is_in_map(s);
    s->name_len = 0;
    spell(s, r->at, 1);
    r->at++;
    return 0;
}

static int
open_value(struct reading *r)
{
    struct json_scan *s = r->scan;
    char c = *r->at;
    s->kind = kind_of(c);
    if (s->kind == JSON_NUMBER && c != '-' && !is_digit(c))
        return refuse(r, "a value");
    int e = s->depth == 1 && s->open < s->count ? open_member(r) : 0;
    if (e < 0)
        return e;
    if (s->depth == 2 && s->open < s->count)
        count_item(s);
    if (s->kind >= JSON_STRING && is_on_way(s) && is_in_map(s))
        find_way(s);
    s->token_at = place_of(r);
    if (s->kind == JSON_STRING)
        return open_string(r, false);
    if (s->kind == JSON_MAP || s->kind == JSON_LIST)
        return open_level(r, s->kind == JSON_MAP);
    s->state = s->kind == JSON_NUMBER ? NUMBER : WORD;
    s->number = c == '-' ? N_MINUS : c == '0' ? N_ZERO : N_WHOLE;
    s->word = 1;
    r->at++;
    return 0;
}

static void
tell(struct json_scan *s, const char *bytes, size_t len, bool ends)
{
    s->strings->told(s, s->lead, bytes, len, len, ends);
}

/* What is behind a backslash was read. */
static void
tell_escape(struct json_scan *s, uint32_t c, size_t spelt)
{
    char wide[4];
    bool is_half = c >= 0xD800 && c <= 0xDFFF;
    size_t len = is_half ? 2 : (size_t)(text_put_char(wide, c) - wide);
    s->strings->told(s, s->lead, is_half ? "??" : wide, len, spelt, false);
}

static int
read_string(struct reading *r)
{
    struct json_scan *s = r->scan;
    const char *from = r->at;
    r->at = json_past_plain(r->at, r->end);
    bool is_over = r->at == r->end;
    if (!is_over && *r->at != '"' && *r->at != '\\')
        return refuse(r, "the rest of a string");
    bool ends = !is_over && *r->at == '"';
    r->at += !is_over;
    spell(s, from, (size_t)(r->at - from));
    if (s->tells)
        tell(s, from, (size_t)(r->at - from) - !is_over, ends);
    if (is_over)
        return 0;
    if (!ends) {
        s->state = ESCAPE;
    } else if (s->is_name) {
        s->state = COLON;
        if (s->depth == 1)
            s->open = find_name(s);
    } else {
        close_value(r);
    }
    return 0;
}

static int
read_escape_letter(struct reading *r)
{
    static const char letters[] = "\"\\/bfnrtu";
    struct json_scan *s = r->scan;
    char c = *r->at;
    if (!c || !strchr(letters, c))
        return refuse(r, "an escape that JSON has");
    s->state = c == 'u' ? HEX : STRING;
    s->hex = 0;
    s->code = 0;
    if (s->tells && c != 'u') {
        const char *at = r->at;
        tell_escape(s, read_escape(&at, r->end), strlen("\\n"));
    }
    spell(s, r->at++, 1);
    return 0;
}

static int
read_hex(struct reading *r)
{
    struct json_scan *s = r->scan;
    char c = *r->at;
    if (!is_digit(c) && !((c | 0x20) >= 'a' && (c | 0x20) <= 'f'))
        return refuse(r, "an escape that JSON has");
    s->code = (uint16_t)(s->code << 4 | read_hex1(c));
    if (++s->hex == 4)
        s->state = STRING;
    if (s->tells && s->state == STRING)
        tell_escape(s, s->code, strlen("\\u0000"));
    spell(s, r->at++, 1);
    return 0;
}

/* Whether it may end here. */
static bool
is_number(uint8_t number)
{
    return number == N_ZERO || number == N_WHOLE || number == N_FRACTION || number == N_POWER;
}

/* What it is with the next byte. N_NONE: with that it has ended, or is none. */
static enum number
next_number(uint8_t number, char c)
{
    bool digit = is_digit(c), e = c == 'e' || c == 'E';
    if (number == N_MINUS)
        return c == '0' ? N_ZERO : digit ? N_WHOLE : N_NONE;
    if (number == N_WHOLE && digit)
        return N_WHOLE;
    if (number == N_ZERO || number == N_WHOLE)
        return c == '.' ? N_DOT : e ? N_E : N_NONE;
    if (number == N_FRACTION && e)
        return N_E;
    if (number == N_DOT || number == N_FRACTION)
        return digit ? N_FRACTION : N_NONE;
    if (number == N_E && (c == '+' || c == '-'))
        return N_SIGN;
    return digit ? N_POWER : N_NONE;
}

static int
read_number(struct reading *r)
{
    struct json_scan *s = r->scan;
    for (; r->at < r->end; r->at++) {
        enum number next = next_number(s->number, *r->at);
        if (next == N_NONE && !is_number(s->number))
            return refuse(r, "a digit");
        if (next == N_NONE) {
            close_value(r);
            return 0;
        }
        s->number = (uint8_t)next;
    }
    return 0;
}

static int
read_word(struct reading *r)
{
    struct json_scan *s = r->scan;
    const char *word = words[s->kind];
    if (*r->at != word[s->word])
        return refuse_at(s->token_at, word, "a value", r->reterr);
    r->at++;
    if (!word[++s->word])
        close_value(r);
    return 0;
}

/* ---- between them ---- */

static int
read_after(struct reading *r)
{
    struct json_scan *s = r->scan;
    bool in_map = is_in_map(s);
    if (*r->at == (in_map ? '}' : ']'))
        return close_level(r);
    if (*r->at != ',')
        return refuse(r, in_map ? "',' or '}'" : "',' or ']'");
    r->at++;
    s->state = in_map ? NAME : VALUE;
    return 0;
}

static int
read_name(struct reading *r)
{
    struct json_scan *s = r->scan;
    if (s->state == MEMBER && *r->at == '}')
        return close_level(r);
    if (*r->at != '"')
        return refuse(r, "a name in quotes");
    s->is_empty = false;
    return open_string(r, true);
}

static int
read_start(struct reading *r)
{
    if (*r->at != '{')
        return refuse(r, "an object");
    r->scan->root_at = place_of(r);
    return open_level(r, true);
}

static int
read_colon(struct reading *r)
{
    if (*r->at != ':')
        return refuse(r, "a colon");
    r->at++;
    r->scan->state = VALUE;
    return 0;
}

/* At a byte that is no white space, or inside of a value. */
static int
read_on(struct reading *r)
{
    switch ((enum state)r->scan->state) {
    case START:
        return read_start(r);
    case NAME:
    case MEMBER:
        return read_name(r);
    case COLON:
        return read_colon(r);
    case ITEM:
        return *r->at == ']' ? close_level(r) : open_value(r);
    case VALUE:
        return open_value(r);
    case AFTER:
        return read_after(r);
    case STRING:
        return read_string(r);
    case ESCAPE:
        return read_escape_letter(r);
    case HEX:
        return read_hex(r);
    case NUMBER:
        return read_number(r);
    case WORD:
        return read_word(r);
    case DONE:
        break;
    }
    return refuse(r, "nothing more");
}

static bool
is_inside(uint8_t state)
{
    return state == STRING || state == ESCAPE || state == HEX || state == NUMBER || state == WORD;
}

/* ---- a text ---- */

void
json_scan_begin(struct json_scan *s, const char *const *names, size_t count,
                struct json_place *places)
{
    *s = (struct json_scan){
        .names = names, .count = count, .places = places, .open = count, .is_empty = true};
    memset(places, 0, count * sizeof(*places));
}

int
json_scan_more(struct json_scan *s, const char *bytes, size_t len, struct err *reterr)
{
    struct reading r = {.scan = s,
                        .bytes = bytes,
                        .at = bytes,
                        .end = bytes + len,
                        .before = s->at,
                        .reterr = reterr};
    int e = 0;
    while (e == 0 && r.at < r.end) {
        if (is_space(*r.at) && !is_inside(s->state))
            r.at++;
        else
            e = read_on(&r);
    }
    s->at += (size_t)(r.at - bytes);
    return e;
}

int
json_scan_end(struct json_scan *s, struct err *reterr)
{
    static const char *const wanted[] = {
        [START] = "an object",
        [NAME] = "a name in quotes",
        [MEMBER] = "a name in quotes",
        [COLON] = "a colon",
        [VALUE] = "a value",
        [ITEM] = "a value",
        [STRING] = "the rest of a string",
        [ESCAPE] = "an escape that JSON has",
        [HEX] = "an escape that JSON has",
    };
    enum state state = (enum state)s->state;
    if (state == DONE)
        return 0;
    if (state == WORD)
        return refuse_at(s->token_at, words[s->kind], "a value", reterr);
    if (state == NUMBER && !is_number(s->number))
        return refuse_at(s->at, NULL, "a digit", reterr);
    if (state == NUMBER || state == AFTER)
        return refuse_at(s->at, NULL, is_in_map(s) ? "',' or '}'" : "',' or ']'", reterr);
    return refuse_at(s->at, NULL, wanted[state], reterr);
}

int
json_scan(const char *text, size_t len, const char *const *names, size_t count,
          struct json_place *ret_places, struct err *reterr)
{
    struct json_place places[JSON_SCAN_NAMES_MAX];
    struct json_scan s;
    assert(count <= JSON_SCAN_NAMES_MAX);
    json_scan_begin(&s, names, count, places);
    int r = json_scan_more(&s, text, len, reterr);
    if (r == 0)
        r = json_scan_end(&s, reterr);
    if (r == 0)
        memcpy(ret_places, places, count * sizeof(*places));
    return r;
}
