/* Heads, as a machine that reads each byte once. Where it stands is all in struct http1_head, so
 * that it may stop after any byte. Some states look a few bytes ahead (a version, the byte behind a
 * CR); what they look at is bounded, so the time stays linear.
 *
 * Every refusal depends on the bytes up to one place only, never on where a read ended: then the
 * verdict cannot depend on the pieces. That is why the limits are compared before the bytes.
 *
 * Choices where the RFCs leave one:
 *   - one empty line before a request is skipped (RFC 9112, 2.2), none before a response;
 *   - HTTP/1.0 and 1.1 only; 1.2 and above are refused like 2.0, nobody speaks them;
 *   - a status line must have the space before its phrase, even an empty one;
 *   - the methods' names are tokens; unknown ones are the caller's to refuse. */

#include "http/http1.h"

#include "http/http1_int.h"

#include <endian.h>
#include <string.h>
#include <strings.h>

#define RETRY_AFTER_MAX_S 3600

enum state {
    START,
    EMPTY_LF, /* of the empty line before a request */
    METHOD,
    TARGET,
    VERSION,
    STATUS,
    PHRASE,
    START_LF,
    LINE, /* at the first byte of a field line, or of the empty one */
    NAME,
    SPACE, /* before a value */
    VALUE,
    VALUE_LF,
    END_LF,
    WHOLE,
    REFUSED,
};

/* What a step returns besides reasons: go on, or wait for more bytes. */
enum { STEP_ON = HTTP1_NONE, STEP_MORE = -1 };

#define METHOD_MAX 32
#define PHRASE_MAX 512

#define T HTTP1_TOKEN
#define G HTTP1_TARGET
#define P (HTTP1_TARGET | HTTP1_PATH)
#define H (T | P | HTTP1_HOSTNAME)

const uint8_t http1_classes[256] = {
    ['!'] = T | P,
    ['#'] = T,
    ['$'] = T | P,
    ['%'] = T | P,
    ['&'] = T | P,
    ['\''] = T | P,
    ['('] = P,
    [')'] = P,
    ['*'] = T | P,
    ['+'] = T | P,
    [','] = P,
    ['-'] = H,
    ['.'] = H,
    ['/'] = P,
    ['0' ... '9'] = H | HTTP1_HEX,
    [':'] = P,
    [';'] = P,
    ['='] = P,
    ['?'] = G,
    ['@'] = P,
    ['A' ... 'F'] = H | HTTP1_HEX,
    ['G' ... 'Z'] = H,
    ['['] = G,
    ['\\'] = G,
    [']'] = G,
    ['^'] = T | G,
    ['_'] = H,
    ['`'] = T | G,
    ['a' ... 'f'] = H | HTTP1_HEX,
    ['g' ... 'z'] = H,
    ['{'] = G,
    ['|'] = T | G,
    ['}'] = G,
    ['~'] = H,
};

#undef T
#undef G
#undef P
#undef H

const struct http1_reason_row *
http1_reason_row(enum http1_reason reason)
{
    static const struct http1_reason_row rows[HTTP1_REASON_COUNT] = {
#define REASON(name, text, status, why) [HTTP1_##name] = {text, status, why},
#include "http/reason.def"
#undef REASON
    };
    return &rows[reason];
}

static const struct method {
    const char *name;
    uint8_t len;
    bool idempotent;
} methods[] = {
#define METHOD(name, idempotent) [HTTP_##name] = {#name, sizeof(#name) - 1, idempotent},
#include "http/method.def"
#undef METHOD
};

const char *
http_method_name(enum http_method method)
{
    return methods[method].name;
}

bool
http_method_is_idempotent(enum http_method method)
{
    return methods[method].idempotent;
}

enum http_method
http_method_of(const char *name, size_t len)
{
    for (size_t i = 1; i < ARRAY_SIZE(methods); i++)
        if (methods[i].len == len && memcmp(methods[i].name, name, len) == 0)
            return (enum http_method)i;
    return HTTP_OTHER;
}

/* Known fields: a perfect hash over length, first and last letter. */

enum { END, HOP };

static const struct known {
    const char *name;
    uint8_t len;
    uint8_t repeated; /* enum http1_reason */
    uint8_t reach;
} known[HTTP_FIELD_COUNT] = {
#define FIELD(name, text, first, last, repeated, reach) \
    [HTTP_FIELD_##name] = {text, sizeof(text) - 1, HTTP1_##repeated, reach},
#include "http/field.def"
#undef FIELD
};

#define HASH(len, first, last) (((len) + (first)*3u + (last)*35u) % 128u)

static const uint8_t known_by_hash[128] = {
#define FIELD(name, text, first, last, repeated, reach) \
    [HASH(sizeof(text) - 1, first, last)] = HTTP_FIELD_##name,
#include "http/field.def"
#undef FIELD
};

/* Both are tokens and `lower` has none but small letters, digits and '-': among those, bit 5 is the
 * case of a letter and set in everything else. */
static bool
equals_lower(const char *name, const char *lower, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((name[i] | 0x20) != lower[i])
            return false;
    return true;
}

enum http_field
http_field_of(const char *name, size_t len)
{
    if (len == 0)
        return HTTP_FIELD_OTHER;
    unsigned first = (unsigned char)name[0] | 0x20u;
    unsigned last = (unsigned char)name[len - 1] | 0x20u;
    enum http_field id = known_by_hash[HASH((unsigned)len, first, last)];
    bool same = known[id].len == len && equals_lower(name, known[id].name, len);
    return same ? id : HTTP_FIELD_OTHER;
}

const struct http1_field *
http1_find_other(const struct http1_head *head, const char *name)
{
    size_t len = strlen(name);
    assert(http_field_of(name, len) == HTTP_FIELD_OTHER);
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct http1_field *f = &head->fields[i];
        if (f->id == HTTP_FIELD_OTHER && f->name.len == len &&
            strncasecmp(head->bytes + f->name.at, name, len) == 0)
            return f;
    }
    return NULL;
}

enum http1_reason
http1_field_repeated(enum http_field id)
{
    return (enum http1_reason)known[id].repeated;
}

bool
http_field_is_hop(enum http_field id)
{
    return known[id].reach == HOP;
}

static struct http1_slice
slice(uint32_t from, uint32_t to)
{
    return (struct http1_slice){from, to - from};
}

uint32_t
http1_skip_class(const char *bytes, uint32_t at, uint32_t end, unsigned class)
{
    while (at < end && http1_in_class(bytes[at], class))
        at++;
    return at;
}

/* The top bit of each byte that is a control; above the lowest such byte there may be wrong ones.
 * A byte is below 0x20 where subtracting 0x20 borrows into its top bit, and 0x7F where x ^ 0x7F
 * is zero. */
static uint64_t
find_controls(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101;
    uint64_t del = x ^ (ones * 0x7F);
    return (((x - ones * 0x20) & ~x) | ((del - ones) & ~del)) & (ones * 0x80);
}

/* Skips what may stand in a value, eight bytes at a time. */
uint32_t
http1_skip_text(const char *bytes, uint32_t at, uint32_t end)
{
    while (end - at >= 8) {
        uint64_t word;
        memcpy(&word, bytes + at, sizeof(word));
        uint64_t controls = find_controls(le64toh(word));
        if (!controls) {
            at += 8;
            continue;
        }
        at += (uint32_t)__builtin_ctzll(controls) / 8;
        if (bytes[at] != '\t')
            return at;
        at++;
    }
    while (at < end && http1_is_text(bytes[at]))
        at++;
    return at;
}

/* The reason for a byte that ended something too early. A CR is bare, or ends the line. */
static int
odd_byte(const char *bytes, uint32_t at, uint32_t end, int line_ended, int otherwise)
{
    switch (bytes[at]) {
    case '\0':
        return HTTP1_NUL;
    case '\n':
        return HTTP1_BARE_LF;
    case '\r':
        if (at + 1 == end)
            return STEP_MORE;
        return bytes[at + 1] == '\n' ? line_ended : HTTP1_BARE_CR;
    default:
        return otherwise;
    }
}

/* The byte at h->at must be the LF behind a CR. */
static int
step_lf(struct http1_head *h, const char *bytes, enum state next)
{
    if (bytes[h->at] != '\n')
        return HTTP1_BARE_CR;
    h->at++;
    h->state = (uint8_t)next;
    return STEP_ON;
}

static int
step_start(struct http1_head *h, const char *bytes)
{
    h->mark = h->at;
    if (h->is_response) {
        h->state = STATUS;
    } else if (bytes[h->at] != '\r') {
        h->state = METHOD;
    } else {
        if (h->at > 0)
            return HTTP1_EMPTY_LINES;
        h->at++;
        h->state = EMPTY_LF;
    }
    return STEP_ON;
}

static int
step_method(struct http1_head *h, const char *bytes, uint32_t end)
{
    h->at = http1_skip_class(bytes, h->at, end, HTTP1_TOKEN);
    if (h->at - h->mark > METHOD_MAX)
        return HTTP1_METHOD_LONG;
    if (h->at == end)
        return STEP_MORE;
    if (bytes[h->at] != ' ' || h->at == h->mark)
        return odd_byte(bytes, h->at, end, HTTP1_METHOD_BYTE, HTTP1_METHOD_BYTE);
    h->method_name = slice(h->mark, h->at);
    h->method = http_method_of(bytes + h->mark, h->method_name.len);
    h->mark = ++h->at;
    h->state = TARGET;
    return STEP_ON;
}

static int
step_target(struct http1_head *h, const char *bytes, uint32_t end)
{
    h->at = http1_skip_class(bytes, h->at, end, HTTP1_TARGET);
    if (h->at - h->mark > h->limits->target_bytes)
        return HTTP1_TARGET_LONG;
    if (h->at == end)
        return STEP_MORE;
    char c = bytes[h->at];
    if (c == '#')
        return HTTP1_TARGET_FRAGMENT;
    if (c & 0x80)
        return HTTP1_TARGET_NON_ASCII;
    if (c != ' ')
        return odd_byte(bytes, h->at, end, HTTP1_VERSION_MISSING, HTTP1_TARGET_BYTE);
    if (h->at == h->mark)
        return HTTP1_TARGET_EMPTY;
    h->target = slice(h->mark, h->at++);
    h->state = VERSION;
    return STEP_ON;
}

/* Compares as much of the form as there is text; d stands for any digit. Returns the place of the
 * first difference, or where form or text ended. */
static uint32_t
match_form(const char *form, const char *text, uint32_t len)
{
    uint32_t i = 0;
    while (i < len && form[i] && (form[i] == 'd' ? http1_is_digit(text[i]) : text[i] == form[i]))
        i++;
    return i;
}

static int
take_version(struct http1_head *h, const char *digits)
{
    if (digits[0] != '1' || digits[2] > '1')
        return HTTP1_VERSION_UNKNOWN;
    h->minor = (unsigned)(digits[2] - '0');
    return STEP_ON;
}

static int
step_version(struct http1_head *h, const char *bytes, uint32_t end)
{
    static const char form[] = "HTTP/d.d\r";
    const char *text = bytes + h->at;
    uint32_t same = match_form(form, text, end - h->at);
    if (same < sizeof(form) - 1)
        return same == end - h->at
                   ? STEP_MORE
                   : odd_byte(bytes, h->at + same, end, HTTP1_VERSION_SYNTAX, HTTP1_VERSION_SYNTAX);
    h->at += same;
    h->state = START_LF;
    return take_version(h, text + 5);
}

static int
step_status(struct http1_head *h, const char *bytes, uint32_t end)
{
    static const char form[] = "HTTP/d.d ddd ";
    const char *text = bytes + h->at;
    uint32_t same = match_form(form, text, end - h->at);
    if (same < sizeof(form) - 1) {
        int reason = same > 8 ? HTTP1_STATUS_SYNTAX : HTTP1_VERSION_SYNTAX;
        return same == end - h->at ? STEP_MORE : odd_byte(bytes, h->at + same, end, reason, reason);
    }
    h->status = (unsigned)((text[9] - '0') * 100 + (text[10] - '0') * 10 + (text[11] - '0'));
    if (h->status < 100 || h->status > 599)
        return HTTP1_STATUS_SYNTAX;
    h->at += same;
    h->mark = h->at;
    h->state = PHRASE;
    return take_version(h, text + 5);
}

static int
step_phrase(struct http1_head *h, const char *bytes, uint32_t end)
{
    h->at = http1_skip_text(bytes, h->at, end);
    if (h->at - h->mark > PHRASE_MAX)
        return HTTP1_PHRASE_LONG;
    if (h->at == end)
        return STEP_MORE;
    if (bytes[h->at] != '\r')
        return odd_byte(bytes, h->at, end, HTTP1_PHRASE_BYTE, HTTP1_PHRASE_BYTE);
    h->phrase = slice(h->mark, h->at++);
    h->state = START_LF;
    return STEP_ON;
}

static int
step_line(struct http1_head *h, const char *bytes)
{
    switch (bytes[h->at]) {
    case '\r':
        h->at++;
        h->state = END_LF;
        return STEP_ON;
    case ' ':
    case '\t':
        return h->field_count == 0 ? HTTP1_SPACE_FIRST : HTTP1_FOLDED;
    case ':':
        return HTTP1_NAME_EMPTY;
    default:
        h->mark = h->at;
        h->state = NAME;
        return h->field_count == h->limits->fields ? HTTP1_FIELDS_MANY : STEP_ON;
    }
}

static int
step_name(struct http1_head *h, const char *bytes, uint32_t end)
{
    h->at = http1_skip_class(bytes, h->at, end, HTTP1_TOKEN);
    if (h->at == end)
        return STEP_MORE;
    char c = bytes[h->at];
    if (c == ' ' || c == '\t')
        return HTTP1_NAME_SPACE;
    if (c != ':')
        return odd_byte(bytes, h->at, end, HTTP1_COLON_MISSING, HTTP1_NAME_BYTE);
    struct http1_field *field = &h->fields[h->field_count];
    field->name = slice(h->mark, h->at++);
    field->id = http_field_of(bytes + h->mark, field->name.len);
    h->state = SPACE;
    return STEP_ON;
}

static int
step_space(struct http1_head *h, const char *bytes, uint32_t end)
{
    while (h->at < end && (bytes[h->at] == ' ' || bytes[h->at] == '\t'))
        h->at++;
    if (h->at == end)
        return STEP_MORE;
    h->mark = h->at;
    h->state = VALUE;
    return STEP_ON;
}

static int
add_field(struct http1_head *h, const char *bytes)
{
    uint32_t end = h->at;
    while (end > h->mark && (bytes[end - 1] == ' ' || bytes[end - 1] == '\t'))
        end--;
    struct http1_field *field = &h->fields[h->field_count++];
    field->value = slice(h->mark, end);
    if (h->first[field->id] == 0)
        h->first[field->id] = (uint8_t)h->field_count;
    else
        return (int)http1_field_repeated(field->id);
    return STEP_ON;
}

static int
step_value(struct http1_head *h, const char *bytes, uint32_t end)
{
    h->at = http1_skip_text(bytes, h->at, end);
    if (h->at == end)
        return STEP_MORE;
    if (bytes[h->at] != '\r')
        return odd_byte(bytes, h->at, end, HTTP1_VALUE_BYTE, HTTP1_VALUE_BYTE);
    int reason = add_field(h, bytes);
    h->at++;
    h->state = VALUE_LF;
    return reason;
}

static int
step_end(struct http1_head *h, const char *bytes)
{
    int reason = step_lf(h, bytes, WHOLE);
    if (reason != STEP_ON)
        return reason;
    h->len = h->at;
    return (int)http1_head_check(h);
}

static int
step(struct http1_head *h, const char *bytes, uint32_t end)
{
    switch ((enum state)h->state) {
    case START:
        return step_start(h, bytes);
    case EMPTY_LF:
        return step_lf(h, bytes, START);
    case METHOD:
        return step_method(h, bytes, end);
    case TARGET:
        return step_target(h, bytes, end);
    case VERSION:
        return step_version(h, bytes, end);
    case STATUS:
        return step_status(h, bytes, end);
    case PHRASE:
        return step_phrase(h, bytes, end);
    case START_LF:
    case VALUE_LF:
        return step_lf(h, bytes, LINE);
    case LINE:
        return step_line(h, bytes);
    case NAME:
        return step_name(h, bytes, end);
    case SPACE:
        return step_space(h, bytes, end);
    case VALUE:
        return step_value(h, bytes, end);
    case END_LF:
        return step_end(h, bytes);
    case WHOLE:
    case REFUSED:
        break;
    }
    return STEP_MORE;
}

static enum http1_verdict
refuse(struct http1_head *h, enum http1_reason reason)
{
    h->reason = reason;
    h->state = REFUSED;
    return HTTP1_REFUSED;
}

enum http1_verdict
http1_head_read(struct http1_head *h, const char *bytes, size_t len)
{
    uint32_t end = (uint32_t)MIN(len, (size_t)h->limits->head_bytes);
    h->bytes = bytes;
    int reason = STEP_ON;
    while (reason == STEP_ON && h->at < end && h->state < WHOLE)
        reason = step(h, bytes, end);
    if (reason > STEP_ON)
        return refuse(h, (enum http1_reason)reason);
    if (h->state == WHOLE)
        return HTTP1_DONE;
    if (h->state == REFUSED)
        return HTTP1_REFUSED;
    return end == h->limits->head_bytes ? refuse(h, HTTP1_HEAD_LARGE) : HTTP1_MORE;
}

/* Everything but the fields, which are only read after they were written. */
static void
init(struct http1_head *h, const struct http1_limits *limits)
{
    assert(limits->fields <= HTTP1_FIELDS_MAX);
    memset(h, 0, offsetof(struct http1_head, fields));
    memset(h->first, 0, sizeof(*h) - offsetof(struct http1_head, first));
    h->limits = limits;
}

void
http1_request_init(struct http1_head *head, const struct http1_limits *limits)
{
    init(head, limits);
}

uint64_t
http1_retry_after_s(const struct http1_head *head)
{
    const struct http1_field *field = http1_find(head, HTTP_FIELD_RETRY_AFTER);
    uint64_t seconds = 0;
    for (uint32_t i = 0; field && i < field->value.len; i++) {
        unsigned digit = (unsigned char)head->bytes[field->value.at + i] - '0';
        if (digit > 9)
            return 0;
        seconds = MIN(seconds * 10 + digit, (uint64_t)RETRY_AFTER_MAX_S);
    }
    return seconds;
}

void
http1_response_init(struct http1_head *head, const struct http1_limits *limits,
                    enum http_method asked)
{
    init(head, limits);
    head->is_response = true;
    head->asked = asked;
}
