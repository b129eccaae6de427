#include "gateway/usage.h"

#include "fmt/json_scan.h"
#include "gateway/allowance.h"
#include "http/sse.h"

#include <string.h>

void
usage_init(struct usage_reader *r, enum dialect dialect, enum usage_form form, bool drop_usage)
{
    *r = (struct usage_reader){
        .dialect = dialect,
        .form = form,
        .most_in = ALLOWANCE_CLAIM_MAX,
        .most_out = ALLOWANCE_CLAIM_MAX,
        .drop_usage = drop_usage && dialect == DIALECT_OPENAI,
        .held = BUF_INIT(USAGE_EVENT_MAX),
        .value = BUF_INIT(USAGE_VALUE_MAX),
    };
}

void
usage_finish(struct usage_reader *r)
{
    buf_finish(&r->held);
    buf_finish(&r->value);
}

/* ---- what "usage" says ---- */

/* Members of "usage", and of the details within it. Of two for the same the first one counts. */
enum {
    IN,
    IN_TOO,
    OUT,
    OUT_TOO,
    DETAILS,
    DETAILS_TOO,
    CACHE_READ,
    CACHE_WRITTEN,
    BILLED,
    COUNT_MEMBERS
};
static const char *const count_members[] = {
    [IN] = "prompt_tokens",
    [IN_TOO] = "input_tokens",
    [OUT] = "completion_tokens",
    [OUT_TOO] = "output_tokens",
    [DETAILS] = "prompt_tokens_details",
    [DETAILS_TOO] = "input_tokens_details",
    [CACHE_READ] = "cache_read_input_tokens",
    [CACHE_WRITTEN] = "cache_creation_input_tokens",
    [BILLED] = "billed_units",
};

/* As a number without a sign, a fraction or a power; one that is absurd is
 * the most that is believed. */
static bool
read_count(const char *text, const struct json_place *place, uint64_t *ret)
{
    uint64_t n = 0;
    if (place->kind != JSON_NUMBER)
        return false;
    for (const char *at = text + place->at, *end = at + place->len; at < end; at++) {
        unsigned digit = (unsigned)(*at - '0');
        if (digit > 9)
            return false;
        n = MIN(n * 10 + digit, ALLOWANCE_CLAIM_MAX);
    }
    *ret = n;
    return true;
}

static bool
read_cached(const char *text, const struct json_place *places, uint64_t *ret)
{
    static const char *const names[] = {"cached_tokens"};
    const struct json_place *details = &places[DETAILS];
    struct json_place place;
    if (details->kind != JSON_MAP)
        details = &places[DETAILS_TOO];
    const char *inner = text + details->at;
    return (details->kind == JSON_MAP &&
            json_scan(inner, details->len, names, 1, &place, NULL) == 0 &&
            read_count(inner, &place, ret)) ||
           read_count(text, &places[CACHE_READ], ret);
}

/* In Messages, tokens that come from the cache are not among those that are told to go in. */
static bool
take_input(struct usage *usage, enum dialect dialect, const char *text,
           const struct json_place *places)
{
    uint64_t in = 0, cached = 0, written = 0;
    if (read_cached(text, places, &cached))
        usage->cached = cached;
    if (!read_count(text, &places[IN], &in) && !read_count(text, &places[IN_TOO], &in))
        return false;
    (void)read_count(text, &places[CACHE_WRITTEN], &written);
    if (dialect == DIALECT_MESSAGES)
        in = allowance_sum(in, allowance_sum(cached, written));
    usage->in = in;
    return true;
}

static void
take_counts(struct usage_reader *r, const char *text, const struct json_place *places)
{
    struct usage usage = r->usage;
    bool has_in = take_input(&usage, r->dialect, text, places);
    bool has_out = read_count(text, &places[OUT], &usage.out) ||
                   read_count(text, &places[OUT_TOO], &usage.out);
    uint64_t in = MAX(usage.in, usage.cached);
    usage.absurd = in > r->most_in ? in : usage.out > r->most_out ? usage.out : usage.absurd;
    if (usage.absurd)
        usage = (struct usage){.absurd = usage.absurd};
    else
        usage.told = usage.told || has_in || has_out;
    r->usage = usage;
}

/* What is told later counts; what is not told again stays. Of "meta" only
 * what is billed is usage. */
static void
take_usage(struct usage_reader *r, const char *text, size_t len, bool is_meta)
{
    struct json_place places[COUNT_MEMBERS];
    if (json_scan(text, len, count_members, COUNT_MEMBERS, places, NULL) < 0)
        return;
    const struct json_place *billed = &places[BILLED];
    if (billed->kind == JSON_MAP) {
        struct json_place inner[COUNT_MEMBERS];
        if (json_scan(text + billed->at, billed->len, count_members, COUNT_MEMBERS, inner, NULL) ==
            0)
            take_counts(r, text + billed->at, inner);
    } else if (!is_meta) {
        take_counts(r, text, places);
    }
}

/* ---- events ---- */

enum { TYPE, CHOICES, USAGE, MESSAGE, RESPONSE, ERROR, MEMBER_COUNT };
static const char *const members[] = {"type", "choices", "usage", "message", "response", "error"};

#define TYPE_MAX 40

/* Ends of streams of named events. A failure that is told as the API has it is one, too. */
static const struct usage_end_type {
    enum dialect dialect;
    const char *type;
    bool ends, fails;
} end_types[] = {
    {DIALECT_RESPONSES, "response.completed", true, false},
    {DIALECT_RESPONSES, "response.incomplete", true, false},
    {DIALECT_RESPONSES, "response.cancelled", true, false},
    {DIALECT_RESPONSES, "response.failed", true, true},
    {DIALECT_RESPONSES, "error", false, true},
    {DIALECT_OPENAI, "transcript.text.done", true, false},
    {DIALECT_OPENAI, "speech.audio.done", true, false},
    {DIALECT_OPENAI, "image_generation.completed", true, false},
    {DIALECT_OPENAI, "image_edit.completed", true, false},
    {DIALECT_MESSAGES, "message_stop", true, false},
    {DIALECT_MESSAGES, "error", false, true},
};

/* The type that those bytes are; NULL: it ends nothing. */
static const struct usage_end_type *
find_end_type(enum dialect dialect, const char *type, size_t len)
{
    for (size_t i = 0; i < ARRAY_SIZE(end_types); i++) {
        const struct usage_end_type *t = &end_types[i];
        if (t->dialect == dialect && strlen(t->type) == len && memcmp(t->type, type, len) == 0)
            return t;
    }
    return NULL;
}

static void
take_end(struct usage_reader *r, const struct usage_end_type *type)
{
    r->complete = r->complete || (type && type->ends);
    r->failed = r->failed || (type && type->fails);
}

static void
take_type(struct usage_reader *r, const char *data, const struct json_place *place)
{
    char type[TYPE_MAX];
    if (place->kind == JSON_STRING && json_scan_text(data, place, type, sizeof(type)) == 0)
        take_end(r, find_end_type(r->dialect, type, strlen(type)));
}

static bool
is_empty_list(const char *data, const struct json_place *place)
{
    return place->kind == JSON_LIST && *json_past_space(data + place->at + 1) == ']';
}

/* Usage that stands inside another member, as at the beginning of a message, or in a response. */
static void
take_inner(struct usage_reader *r, const char *data, const struct json_place *outer)
{
    static const char *const names[] = {"usage"};
    struct json_place usage;
    if (outer->kind == JSON_MAP &&
        json_scan(data + outer->at, outer->len, names, 1, &usage, NULL) == 0 &&
        usage.kind == JSON_MAP)
        take_usage(r, data + outer->at + usage.at, usage.len, false);
}

struct event {
    struct json_scan scan;
    uint64_t text_bytes;
};

static void
count_text(struct json_scan *scan, const struct json_lead *lead unused_arg,
           const char *bytes unused_arg, size_t len, size_t spelt unused_arg, bool ends unused_arg)
{
    container_of(scan, struct event, scan)->text_bytes += len;
}

/* What an event adds to an answer, whatever the dialect. */
static const struct json_strings said = {
    .leads =
        (const struct json_lead[]){
            {JSON_NAME("choices"), JSON_FROM},
            {JSON_NAME("delta"), JSON_FROM | JSON_WAY | JSON_TOLD},
            {JSON_NAME("content_block"), JSON_FROM},
            {JSON_NAME("message"), JSON_WAY},
            {JSON_NAME("content"), JSON_WAY | JSON_TOLD},
            {JSON_NAME("text"), JSON_TOLD},
            {JSON_NAME("reasoning_content"), JSON_TOLD},
            {JSON_NAME("reasoning"), JSON_TOLD},
            {JSON_NAME("thinking"), JSON_TOLD},
            {JSON_NAME("refusal"), JSON_TOLD},
            {JSON_NAME("partial_json"), JSON_TOLD},
            {JSON_NAME("tool_calls"), JSON_WAY},
            {JSON_NAME("function"), JSON_WAY},
            {JSON_NAME("function_call"), JSON_WAY},
            {JSON_NAME("custom"), JSON_WAY},
            {JSON_NAME("input"), JSON_TOLD},
            {JSON_NAME("arguments"), JSON_TOLD},
            {NULL, 0, 0},
        },
    .told = count_text,
};

static int
scan_event(struct usage_reader *r, const char *data, size_t len, struct json_place *ret_places)
{
    struct event e;
    e.text_bytes = 0;
    json_scan_begin(&e.scan, members, MEMBER_COUNT, ret_places);
    e.scan.strings = &said;
    int error = json_scan_more(&e.scan, data, len, NULL);
    if (error == 0)
        error = json_scan_end(&e.scan, NULL);
    if (error == 0)
        r->text_bytes += e.text_bytes;
    return error;
}

/* Whether it is passed on. */
static bool
take_data(struct usage_reader *r, const char *data, size_t len)
{
    struct json_place places[MEMBER_COUNT];
    const struct json_place *usage = &places[USAGE];
    if (r->dialect == DIALECT_OPENAI && len == strlen("[DONE]") && memcmp(data, "[DONE]", len) == 0)
        r->complete = true;
    if (scan_event(r, data, len, places) < 0)
        return true;
    take_type(r, data, &places[TYPE]);
    if (r->dialect == DIALECT_OPENAI && places[ERROR].kind > JSON_NULL)
        r->failed = true;
    if (r->dialect != DIALECT_OPENAI)
        take_inner(r, data, &places[r->dialect == DIALECT_MESSAGES ? MESSAGE : RESPONSE]);
    if (usage->kind != JSON_MAP)
        return true;
    take_usage(r, data + usage->at, usage->len, false);
    bool has_more = places[ERROR].kind > JSON_NULL || !is_empty_list(data, &places[CHOICES]);
    return !r->drop_usage || has_more;
}

/* The data in a line `data: ...` or `data:...`; NULL: it has none. */
static const char *
data_of(const char *line, size_t len, size_t *ret_len)
{
    static const char name[] = "data:";
    size_t skip = sizeof(name) - 1;
    if (len < skip || memcmp(line, name, skip) != 0)
        return NULL;
    skip += len > skip && line[skip] == ' ';
    *ret_len = len - skip;
    return line + skip;
}

/* A whole event. Data is nearly always one line, and then read where it stands. */
static bool
take_event(struct usage_reader *r, const char *event, size_t len)
{
    _cleanup_buf_ struct buf joined = BUF_INIT(USAGE_EVENT_MAX);
    const char *only = NULL;
    size_t only_len = 0, lines = 0;
    for (size_t at = 0, end; at < len; at = end + 1) {
        size_t n;
        end = sse_line_end(event, at, len);
        const char *data = data_of(event + at, end - at, &n);
        if (!data)
            continue;
        if (lines == 1)
            buf_add(&joined, only, only_len);
        if (lines++ > 0) {
            buf_add_char(&joined, '\n');
            buf_add(&joined, data, n);
        }
        only = data;
        only_len = n;
    }
    bool pass = lines == 0 ||
                (lines == 1 ? take_data(r, only, only_len) : take_data(r, joined.data, joined.len));
    r->events += lines > 0 && pass;
    r->dropped = !pass;
    return pass;
}

/* ---- JSON ---- */

/* Where something happens outside of texts. */
static const bool is_mark[256] = {
    ['"'] = true, ['{'] = true, ['}'] = true, ['['] = true,
    [']'] = true, [','] = true, [':'] = true,
};

/* What the value of a member is for. */
enum { FOR_NOTHING, FOR_USAGE, FOR_META, FOR_TYPE, FOR_STATUS, FOR_ERROR, FOR_INNER };

static bool
is_named(const struct usage_json *j, const char *name)
{
    return j->name_len == strlen(name) && memcmp(j->name, name, j->name_len) == 0;
}

static uint8_t
what_for(const struct usage_reader *r)
{
    const struct usage_json *j = &r->json;
    if (is_named(j, "usage"))
        return FOR_USAGE;
    if (r->form == USAGE_JSON && r->dialect == DIALECT_RESPONSES)
        return is_named(j, "status") ? FOR_STATUS : FOR_NOTHING;
    if (r->form == USAGE_JSON)
        return is_named(j, "meta") ? FOR_META : FOR_NOTHING;
    if (j->inner)
        return FOR_NOTHING;
    if (is_named(j, "type"))
        return FOR_TYPE;
    if (r->dialect == DIALECT_OPENAI)
        return is_named(j, "error") ? FOR_ERROR : FOR_NOTHING;
    return is_named(j, r->dialect == DIALECT_MESSAGES ? "message" : "response") ? FOR_INNER
                                                                                : FOR_NOTHING;
}

#define LONG_TEXT 64 /* names, words and ids are shorter */

static void
begin_text(struct usage_json *j)
{
    j->in_text = true;
    j->is_said = j->says;
    j->says = false;
    j->name_len = j->text_len = j->codes = 0;
}

/* Four digits were counted of each, which stand for three bytes at the most. */
static void
end_text(struct usage_reader *r)
{
    struct usage_json *j = &r->json;
    j->in_text = false;
    j->text_len -= MIN(j->codes, j->text_len);
    if (j->is_said || (r->form == USAGE_JSON && j->text_len >= LONG_TEXT))
        r->text_bytes += j->text_len;
}

/* What a backslash is before. */
static void
take_escaped(struct usage_json *j, char c)
{
    j->escaped = false;
    j->codes += c == 'u';
    j->text_len += c != 'u';
}

/* A member was named. What an event says is where others have it, too; of an
 * answer that is JSON all is said. */
static void
take_colon(struct usage_reader *r)
{
    struct usage_json *j = &r->json;
    const struct json_lead *l = said.leads;
    while (l->name && (l->len != j->name_len || memcmp(l->name, j->name, l->len) != 0))
        l++;
    unsigned flags = l->name ? l->flags : 0;
    if (j->depth == 1)
        j->leads = r->form == USAGE_JSON || flags & JSON_FROM;
    j->says = j->leads && flags & JSON_TOLD;
}

/* A byte within a text that means something there. */
static void
take_text(struct usage_reader *r, char c)
{
    struct usage_json *j = &r->json;
    if (j->escaped) {
        take_escaped(j, c);
    } else if (c == '\\') {
        j->escaped = true;
        j->name_len = sizeof(j->name);
    } else if (c == '"') {
        end_text(r);
        if (j->in_name)
            j->wanted = what_for(r);
        j->in_name = false;
    }
}

/* More of a name; one that is longer than all that are looked for is none of them. */
static void
take_name(struct usage_json *j, const char *from, const char *to)
{
    size_t len = MIN((size_t)(to - from), sizeof(j->name) - j->name_len);
    memcpy(j->name + j->name_len, from, len);
    j->name_len += len;
}

/* How deep the members stand that are looked at. */
static unsigned
level(const struct usage_json *j)
{
    return j->inner ? 2 : 1;
}

static void
take_mark(struct usage_reader *r, char c)
{
    struct usage_json *j = &r->json;
    bool opens = c == '{' || c == '[', closes = c == '}' || c == ']';
    if (c == '"') {
        j->in_name = j->depth == level(j) && j->at_name;
        begin_text(j);
    }
    j->says = false;
    if (c == ':')
        take_colon(r);
    j->depth += opens;
    j->depth -= closes && j->depth > 0;
    if (opens && j->depth == 2 && j->wanted == FOR_INNER) {
        j->inner = c == '{';
        j->wanted = FOR_NOTHING;
    }
    j->inner = j->inner && j->depth > 1;
    j->at_name = (c == '{' || c == ',') && j->depth == level(j);
    j->over = j->whole = closes && j->depth == 0;
}

static bool
is_pending(const char *status)
{
    static const char *const states[] = {"\"queued\"", "\"in_progress\""};
    for (size_t i = 0; i < ARRAY_SIZE(states); i++)
        if (strncmp(status, states[i], strlen(states[i])) == 0)
            return true;
    return false;
}

/* A value that was kept is whole. A type with escapes is none of those that end a stream. */
static void
take_value(struct usage_reader *r)
{
    struct usage_json *j = &r->json;
    const char *text = json_past_space(r->value.data), *quote;
    bool fits = buf_error(&r->value) == 0;
    if (j->wanted == FOR_ERROR)
        j->failed = !fits || *text != 'n';
    else if (!fits)
        return;
    else if (j->wanted == FOR_STATUS)
        r->pending = is_pending(text);
    else if (j->wanted != FOR_TYPE)
        take_usage(r, r->value.data, r->value.len, j->wanted == FOR_META);
    else if (*text == '"' && (quote = strchr(text + 1, '"')))
        j->type = find_end_type(r->dialect, text + 1, (size_t)(quote - text - 1));
}

/* Keeps the value of a member that is wanted: what stands between its colon and the next comma or
 * bracket of the same depth. */
static void
keep(struct usage_reader *r, const char *from, const char *to, bool ends)
{
    buf_add(&r->value, from, (size_t)(to - from));
    if (!ends)
        return;
    take_value(r);
    buf_clear(&r->value);
    r->json.keeps = false;
    r->json.wanted = FOR_NOTHING;
}

/* More of a text, up to what means something in it. */
static const char *
take_run(struct usage_json *j, const char *at, const char *end)
{
    const char *stop = json_past_plain(at, end);
    j->text_len += (size_t)(stop - at);
    take_name(j, at, stop);
    return stop;
}

/* What stands deeper than the members that are looked at, which is most of an answer: only its
 * brackets count, up to the one that leads back. */
static const char *
skip_deeper(struct usage_reader *r, const char *at, const char *end)
{
    struct usage_json *j = &r->json;
    for (; at < end; at++) {
        if (j->escaped) {
            take_escaped(j, *at);
        } else if (j->in_text) {
            at = take_run(j, at, end);
            if (at == end)
                break;
            j->escaped = *at == '\\';
            if (j->escaped)
                j->name_len = sizeof(j->name);
            else if (*at == '"')
                end_text(r);
        } else if (*at == '"') {
            begin_text(j);
        } else if (is_mark[(unsigned char)*at]) {
            j->says = false;
            if (*at == ':')
                take_colon(r);
            bool closes = *at == '}' || *at == ']';
            if (closes && j->depth == level(j) + 1)
                break;
            j->depth += *at == '{' || *at == '[';
            j->depth -= closes;
        }
    }
    return at;
}

/* The next byte at which something happens. An escape makes a name longer
 * than any that is looked for. */
static const char *
find_stop(struct usage_reader *r, const char *at, const char *end)
{
    struct usage_json *j = &r->json;
    if (j->depth > level(j))
        at = skip_deeper(r, at, end);
    if (j->escaped)
        return at;
    if (j->in_text)
        return take_run(j, at, end);
    if (j->depth == 0)
        while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n'))
            at++;
    else
        while (at < end && !is_mark[(unsigned char)*at])
            at++;
    return at;
}

/* What is no object (text, audio) is not looked at further. */
static void
read_json(struct usage_reader *r, const char *bytes, size_t len)
{
    struct usage_json *j = &r->json;
    const char *end = bytes + len, *kept = bytes;
    for (const char *at = find_stop(r, bytes, end); at < end && !j->over;
         at = find_stop(r, at + 1, end)) {
        if (j->in_text) {
            take_text(r, *at);
            continue;
        }
        if (j->depth == 0 && *at != '{') {
            j->over = true;
            return;
        }
        if (j->keeps && j->depth == level(j) && (*at == ',' || *at == '}'))
            keep(r, kept, at, true);
        take_mark(r, *at);
        if (j->wanted && j->wanted != FOR_INNER && !j->keeps && j->depth == level(j) &&
            *at == ':') {
            j->keeps = true;
            kept = at + 1;
        }
    }
    if (j->keeps)
        keep(r, kept, end, false);
}

/* ---- an event that is too large ---- */

/* More of its bytes, from its lines with data. */
static void
read_large(struct usage_reader *r, const char *bytes, size_t len)
{
    static const char name[] = "data:";
    const uint8_t name_len = sizeof(name) - 1, other = sizeof(name);
    for (size_t at = 0, end; at < len; at = end + 1) {
        end = sse_line_end(bytes, at, len);
        for (; at < end && r->matched < name_len; at++)
            r->matched = bytes[at] == name[r->matched] ? (uint8_t)(r->matched + 1) : other;
        if (r->matched == name_len)
            read_json(r, bytes + at, end - at);
        if (end < len)
            r->matched = 0;
    }
}

/* An event that is no whole object has ended nothing. */
static void
end_large(struct usage_reader *r)
{
    if (r->json.whole) {
        take_end(r, r->json.type);
        r->failed = r->failed || r->json.failed;
    }
    r->json = (struct usage_json){0};
    buf_finish(&r->value);
    r->matched = 0;
    r->passing = false;
    r->events++;
}

/* ---- pieces ---- */

/* Behind the empty line that ends the event, which may have begun before these bytes;
 * 0: it does not end here. */
static size_t
find_event_end(struct usage_reader *r, const char *bytes, size_t len)
{
    for (size_t at = 0; at < len;) {
        if (r->has_cr && bytes[at] == '\n')
            at++;
        r->has_cr = false;
        size_t end = sse_line_end(bytes, at, len);
        r->line_len += end - at;
        if (end == len)
            break;
        bool ends = r->line_len == 0;
        r->line_len = 0;
        r->has_cr = bytes[end] == '\r';
        at = end + 1;
        if (!ends)
            continue;
        if (r->has_cr && at < len) {
            at += bytes[at] == '\n';
            r->has_cr = false;
        }
        return at;
    }
    return 0;
}

/* Everything up to here is taken, of which so much is passed on. */
static void
give(size_t used, const char *bytes, size_t len, size_t *ret_used, struct usage_piece *ret_piece)
{
    *ret_used = used;
    *ret_piece = (struct usage_piece){bytes, len};
}

/* Bytes of an event of which the beginning is held, or which is the last and not whole. False:
 * there is no room; what is held passes, and then the rest. */
static bool
hold(struct usage_reader *r, const char *bytes, size_t len)
{
    buf_add(&r->held, bytes, len);
    if (buf_error(&r->held) == 0)
        return true;
    buf_truncate(&r->held, r->held.len);
    r->passing = true;
    read_large(r, r->held.data, r->held.len);
    return false;
}

static void
read_held(struct usage_reader *r, const char *bytes, size_t len, size_t *ret_used,
          struct usage_piece *ret_piece)
{
    bool had_cr = r->has_cr;
    size_t had_len = r->line_len;
    size_t end = find_event_end(r, bytes, len), n = end ? end : len;
    if (!hold(r, bytes, n)) {
        r->has_cr = had_cr;
        r->line_len = had_len;
        r->gave_held = true;
        give(0, r->held.data, r->held.len, ret_used, ret_piece);
        return;
    }
    bool pass = end && take_event(r, r->held.data, r->held.len);
    r->gave_held = end > 0;
    give(n, r->held.data, pass ? r->held.len : 0, ret_used, ret_piece);
}

static void
read_events(struct usage_reader *r, const char *bytes, size_t len, size_t *ret_used,
            struct usage_piece *ret_piece)
{
    size_t at = 0, end = 0;
    if (r->held.len) {
        read_held(r, bytes, len, ret_used, ret_piece);
        return;
    }
    /* The other half of the end of an event that was told already. */
    if (r->has_cr && r->line_len == 0 && !r->passing && bytes[0] == '\n') {
        r->has_cr = false;
        give(1, bytes, r->dropped ? 0 : 1, ret_used, ret_piece);
        return;
    }
    while (at < len && (end = find_event_end(r, bytes + at, len - at)) > 0) {
        r->dropped = false;
        if (r->passing) {
            read_large(r, bytes + at, end);
            end_large(r);
        } else if (!take_event(r, bytes + at, end)) {
            give(at + end, bytes, at, ret_used, ret_piece);
            return;
        }
        at += end;
    }
    bool all = r->passing || (at < len && !hold(r, bytes + at, len - at));
    if (all)
        read_large(r, bytes + at, len - at);
    give(len, bytes, all ? len : at, ret_used, ret_piece);
}

#define HELD_KEEP (16 * KIB)

/* One large event is no reason to hold its room for the rest of a stream. */
static void
forget_held(struct usage_reader *r)
{
    if (r->held.room > HELD_KEEP)
        buf_finish(&r->held);
    buf_clear(&r->held);
    r->gave_held = false;
}

void
usage_read(struct usage_reader *r, const char *bytes, size_t len, size_t *ret_used,
           struct usage_piece *ret_piece)
{
    give(len, bytes, len, ret_used, ret_piece);
    if (r->gave_held)
        forget_held(r);
    if (len == 0)
        return;
    if (r->form == USAGE_EVENTS) {
        read_events(r, bytes, len, ret_used, ret_piece);
        return;
    }
    read_json(r, bytes, len);
    r->complete = r->json.whole;
}

void
usage_end(struct usage_reader *r, struct usage_piece *ret_piece)
{
    size_t used;
    give(0, r->held.data, 0, &used, ret_piece);
    if (r->passing)
        end_large(r);
    if (r->form == USAGE_JSON || r->gave_held || r->held.len == 0 || r->complete)
        return;
    struct usage_reader trial = *r;
    if (take_event(&trial, r->held.data, r->held.len) && trial.complete) {
        *r = trial;
        give(0, r->held.data, r->held.len, &used, ret_piece);
    }
    r->gave_held = true;
}
