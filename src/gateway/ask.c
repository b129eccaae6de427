#include "gateway/ask.h"

#include "config/config.h"
#include "fmt/json.h"
#include "gateway/multipart.h"
#include "gateway/patch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const ask_member_names[ASK_MEMBER_COUNT] = {
#define MEMBER(name, text) text,
    ASK_MEMBERS(MEMBER)
#undef MEMBER
};

/* Inside stream_options. */
enum { INCLUDE_USAGE, CONTINUOUS_USAGE, OPTION_COUNT };
static const char *const option_names[] = {"include_usage", "continuous_usage_stats"};

#define SHOWN_MAX 40 /* bytes of a value in a sentence */
#define NUMBER_MAX 64
#define TEXTS_MAX (64 * KIB) /* that are put into a body */
#define VALUE_MAX (16 * KIB) /* that is kept */
#define VALUES_MAX (ASK_MEMBER_COUNT * VALUE_MAX)

const char *
ask_text_bytes(const struct ask *ask, const struct ask_text *text)
{
    return ask->texts.data + text->at;
}

static int
refuse(const struct ask *ask, const char *name, const struct ask_text *value, const char *wanted,
       struct err *reterr)
{
    return err_set(reterr, ERR_MEMBER, "\"%s\" is %.*s%s, expected %s", name,
                   (int)MIN(value->len, (size_t)SHOWN_MAX), ask_text_bytes(ask, value),
                   value->len > SHOWN_MAX ? "..." : "", wanted);
}

static bool
is_said(const struct ask_text *value)
{
    return value->kind != JSON_ABSENT && value->kind != JSON_NULL;
}

/* ---- values; what is not said stays as it was ---- */

static int
read_bool(const struct ask *ask, const char *name, const struct ask_text *value, bool *ret,
          struct err *reterr)
{
    if (!is_said(value))
        return 0;
    if (value->kind != JSON_TRUE && value->kind != JSON_FALSE)
        return refuse(ask, name, value, "true or false", reterr);
    *ret = value->kind == JSON_TRUE;
    return 0;
}

/* A number that is none of ours (negative, a fraction) is the engine's to
 * refuse, and says nothing. */
static int
read_number(const struct ask *ask, enum ask_member member, uint64_t *ret_most, struct err *reterr)
{
    const struct ask_text *value = &ask->values[member];
    char text[NUMBER_MAX + 1];
    uint64_t n;
    if (!is_said(value))
        return 0;
    if (value->kind != JSON_NUMBER || value->len > NUMBER_MAX)
        return refuse(ask, ask_member_names[member], value, "a number", reterr);
    memcpy(text, ask_text_bytes(ask, value), value->len);
    text[value->len] = '\0';
    const struct value v = {.type = VALUE_NUMBER, .text = text, .len = value->len};
    if (value_u64(&v, &n))
        *ret_most = MAX(*ret_most, n);
    return 0;
}

static int
decode(const struct ask *ask, const struct ask_text *text, char *to, size_t size)
{
    const struct json_place place = {text->kind, 0, text->len};
    if (text->kind != JSON_STRING || text->is_cut)
        return -EBADMSG;
    return json_scan_text(ask_text_bytes(ask, text), &place, to, size);
}

void
ask_text_decode(const struct ask *ask, const struct ask_text *text, char *to, size_t size)
{
    if (decode(ask, text, to, size) < 0)
        to[0] = '\0';
}

static int
read_model(struct ask *ask, struct err *reterr)
{
    const struct ask_text *value = &ask->values[ASK_MODEL];
    if (!is_said(value) || decode(ask, value, ask->model, sizeof(ask->model)) == 0)
        return 0;
    return refuse(ask, "model", value, "the name of a model, as a string of 255 bytes at most",
                  reterr);
}

/* The members of an object that was kept. */
static int
scan_inside(const struct ask *ask, const struct ask_text *outer, const char *outer_name,
            const char *const *names, size_t count, struct json_place *ret_places,
            struct err *reterr)
{
    int r = json_scan(ask_text_bytes(ask, outer), outer->len, names, count, ret_places, reterr);
    if (r < 0)
        err_prefix(reterr, "in \"%s\"", outer_name);
    return r;
}

static struct ask_text
text_inside(const struct ask_text *outer, const struct json_place *place)
{
    return (struct ask_text){place->kind, outer->at + place->at, place->len, false};
}

static int
read_stream(struct ask *ask, struct err *reterr)
{
    const struct ask_text *options = &ask->values[ASK_STREAM_OPTIONS];
    struct json_place inside[OPTION_COUNT];
    int r = read_bool(ask, "stream", &ask->values[ASK_STREAM], &ask->stream, reterr);
    if (r < 0 || !is_said(options))
        return r;
    if (options->kind != JSON_MAP || options->is_cut)
        return refuse(ask, "stream_options", options,
                      options->is_cut ? "less than 16 KiB" : "an object", reterr);
    r = scan_inside(ask, options, "stream_options", option_names, OPTION_COUNT, inside, reterr);
    if (r < 0)
        return r;
    const struct ask_text usage = text_inside(options, &inside[INCLUDE_USAGE]);
    return read_bool(ask, "stream_options.include_usage", &usage, &ask->include_usage, reterr);
}

static int
read_numbers(struct ask *ask, struct err *reterr)
{
    int r = 0;
    for (size_t i = 0; i < ASK_NUMBERS && r == 0; i++)
        r = read_number(ask, (enum ask_member)(ASK_MAX_TOKENS + i), &ask->numbers[i], reterr);
    const struct ask_size size = ask_size(ask, NULL, 0);
    ask->max_tokens = size.max_tokens;
    ask->answers = size.answers;
    return r;
}

static void
take_string(struct ask_text *to, const struct ask_text *value)
{
    if (value->kind == JSON_STRING && !value->is_cut)
        *to = *value;
}

/* Messages has the user in metadata. */
static int
read_user(struct ask *ask, struct err *reterr)
{
    static const char *const names[] = {"user_id"};
    const struct ask_text *metadata = &ask->values[ASK_METADATA];
    struct ask_text user = ask->values[ASK_USER];
    struct json_place inside;
    int r = 0;
    if (!is_said(&user) && metadata->kind == JSON_MAP && !metadata->is_cut) {
        r = scan_inside(ask, metadata, "metadata", names, ARRAY_SIZE(names), &inside, reterr);
        user = r == 0 ? text_inside(metadata, &inside) : user;
    }
    take_string(&ask->user, &user);
    take_string(&ask->session, &ask->values[ASK_SESSION]);
    return r;
}

/* What is none of ours is the engine's to read, and the usual one for us. */
static void
read_tier(struct ask *ask)
{
    char word[16];
    ask_text_decode(ask, &ask->values[ASK_TIER], word, sizeof(word));
    if (strcmp(word, "priority") == 0)
        ask->tier = ASK_TIER_PRIORITY;
    else if (strcmp(word, "flex") == 0)
        ask->tier = ASK_TIER_FLEX;
}

/* ---- pictures and sounds ---- */

#define BYTES_A_TOKEN 4
#define MEDIA_TOKENS 4096
#define MEDIA_HEAD 128 /* of a data: URL: what says that base64 follows */

static bool
is_base64(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '/' && c <= '9') || c == '+' ||
           c == '=';
}

/* What a source says that it has: all but base64, an engine reads as it is. */
static void
read_type(struct ask_media *m, const char *bytes, size_t len, bool ends)
{
    static const char wanted[] = "base64";
    size_t left = sizeof(wanted) - 1 - m->len;
    bool fits = len <= left && memcmp(bytes, wanted + m->len, len) == 0;
    m->is_other = m->is_other || !fits || (ends && len < left);
    m->is_typed = true;
    m->len = ends || m->is_other ? 0 : m->len + len;
}

/* Where a picture is told by what an engine is to fetch, unless that is `data:`. */
static bool
is_address(const struct json_lead *lead)
{
    return strstr(lead->name, "url") != NULL;
}

/* Of a value where a picture can stand. */
static void
weigh_media(struct json_scan *scan, const struct json_lead *lead, const char *bytes, size_t len,
            size_t spelt, bool ends)
{
    struct ask_media *m = &container_of(scan, struct ask, scan)->media;
    if (strcmp(lead->name, "type") == 0) {
        read_type(m, bytes, len, ends);
        return;
    }
    if (m->len == 0 && len > 0)
        m->is_fetched = is_address(lead) && (bytes[0] | 0x20) != 'd';
    size_t head = MEDIA_HEAD - MIN(m->len, (size_t)MEDIA_HEAD), at = MIN(head, len);
    while (at < len && is_base64(bytes[at]))
        at++;
    m->is_text = m->is_text || at < len;
    m->len += spelt;
    if (!ends)
        return;
    bool waits = scan->into_depth > 0; /* for what is around it */
    uint64_t tokens = MIN(m->len / BYTES_A_TOKEN, (size_t)MEDIA_TOKENS);
    if (m->is_fetched) {
        m->tokens += MEDIA_TOKENS; /* whatever is around it */
    } else if (!m->is_text) {
        *(waits ? &m->inner_bytes : &m->bytes) += m->len;
        *(waits ? &m->inner_tokens : &m->tokens) += tokens;
    }
    m->len = 0;
    m->is_text = m->is_fetched = false;
}

/* A source may be text, too: it is what its type says, wherever that stands in it. */
static void
take_media(struct json_scan *scan, const struct json_lead *into)
{
    struct ask_media *m = &container_of(scan, struct ask, scan)->media;
    if (strcmp(into->name, "source") != 0 || (m->is_typed && !m->is_other)) {
        m->bytes += m->inner_bytes;
        m->tokens += m->inner_tokens;
    }
    m->inner_bytes = m->inner_tokens = 0;
    m->is_typed = m->is_other = false;
}

/* In the parts of what is said, and of what a tool has answered. Of anything else an engine makes
 * text, whatever that is called and looks like: of tools, of what they are asked with, and of
 * an object that they answer. */
static const struct json_strings media = {
    .leads =
        (const struct json_lead[]){
            {JSON_NAME("messages"), JSON_FROM | JSON_LISTED},
            {JSON_NAME("input"), JSON_FROM | JSON_LISTED},
            {JSON_NAME("content"), JSON_WAY | JSON_LISTED},
            {JSON_NAME("output"), JSON_WAY | JSON_LISTED},
            {JSON_NAME("source"), JSON_INTO},
            {JSON_NAME("file"), JSON_INTO},
            {JSON_NAME("input_audio"), JSON_INTO},
            {JSON_NAME("image_url"), JSON_INTO | JSON_TOLD},
            {JSON_NAME("audio_url"), JSON_INTO | JSON_TOLD},
            {JSON_NAME("video_url"), JSON_INTO | JSON_TOLD},
            {JSON_NAME("image_embeds"), JSON_TOLD},
            {JSON_NAME("file_data"), JSON_TOLD | JSON_INNER},
            {JSON_NAME("url"), JSON_INNER},
            {JSON_NAME("data"), JSON_INNER},
            {JSON_NAME("type"), JSON_INNER},
            {NULL, 0, 0},
        },
    .told = weigh_media,
    .looked = take_media,
};

/* ---- a body as it comes ---- */

void
ask_begin(struct ask *ask, const char *const *names, size_t count)
{
    *ask = (struct ask){.answers = 1,
                        .tier = ASK_TIER_DEFAULT,
                        .places = mem_alloc(count * sizeof(*ask->places)),
                        .texts = BUF_INIT(VALUES_MAX)};
    json_scan_begin(&ask->scan, names, count, ask->places);
    ask->scan.strings = &media;
}

void
ask_finish(struct ask *ask)
{
    buf_finish(&ask->texts);
    free(take_ptr(ask->places));
}

/* Parts of a prompt are large, and looked at where they lie. */
static bool
is_kept(enum ask_member member)
{
    return member < ASK_SYSTEM || member > ASK_INPUT;
}

/* What of a value is among the bytes from there on, up to where it was read. */
static void
keep_value(struct ask *ask, size_t member, const char *bytes, size_t from)
{
    if (member >= ASK_MEMBER_COUNT || !is_kept((enum ask_member)member) ||
        ask->places[member].kind == JSON_ABSENT)
        return;
    struct ask_text *value = &ask->values[member];
    const struct json_place *place = &ask->places[member];
    size_t end = ask->scan.open == member ? ask->scan.at : place->at + place->len;
    size_t at = MAX(place->at, from), len = end > at ? end - at : 0;
    size_t fits = MIN(len, VALUE_MAX - value->len);
    if (len == 0)
        return;
    if (value->kind == JSON_ABSENT)
        value->at = ask->texts.len;
    value->kind = place->kind;
    value->is_cut = value->is_cut || fits < len;
    value->len += fits;
    buf_add(&ask->texts, bytes + (at - from), fits);
}

int
ask_read(struct ask *ask, const char *bytes, size_t len, struct err *reterr)
{
    size_t from = ask->scan.at, begun = ask->scan.open;
    int r = json_scan_more(&ask->scan, bytes, len, reterr);
    if (r < 0)
        return r;
    /* What is kept of a value lies together: first the rest of one, last
     * the beginning of another. */
    keep_value(ask, begun, bytes, from);
    for (size_t i = 0; i < ASK_MEMBER_COUNT; i++)
        if (i != begun && i != ask->scan.open)
            keep_value(ask, i, bytes, from);
    if (ask->scan.open != begun)
        keep_value(ask, ask->scan.open, bytes, from);
    return 0;
}

int
ask_end(struct ask *ask, struct err *reterr)
{
    int r = json_scan_end(&ask->scan, reterr);
    if (r == 0)
        r = read_model(ask, reterr);
    if (r == 0)
        r = read_stream(ask, reterr);
    if (r == 0)
        r = read_numbers(ask, reterr);
    if (r < 0)
        return r;
    read_tier(ask);
    /* Whatever is not a plain no, some engine may take for a yes. */
    ask->background =
        is_said(&ask->values[ASK_BACKGROUND]) && ask->values[ASK_BACKGROUND].kind != JSON_FALSE;
    return read_user(ask, reterr);
}

/* ---- how much it is ---- */

static uint64_t
number_of(const char *json)
{
    const struct value v = {.type = VALUE_NUMBER, .text = json, .len = strlen(json)};
    uint64_t n;
    return value_u64(&v, &n) ? n : 0;
}

struct ask_size
ask_size(const struct ask *ask, const struct ask_param *params, size_t count)
{
    struct ask_size size = {.answers = 1};
    for (size_t i = 0; i < ASK_NUMBERS; i++) {
        size_t member = ASK_MAX_TOKENS + i;
        uint64_t n = ask->numbers[i];
        for (size_t k = 0; k < count; k++)
            if (params[k].member == member && (params[k].forced || !is_said(&ask->values[member])))
                n = number_of(params[k].json);
        uint64_t *most = member < ASK_N ? &size.max_tokens : &size.answers;
        *most = MAX(*most, n);
    }
    return size;
}

#define BYTES_A_NUMBER 2 /* of a token: a digit and a comma */
#define ITEM_BYTES 16    /* of a list that stands deeper: at the least */

/* What is read with each of what. */
static const struct {
    enum ask_member one, other;
} pairs[] = {
    {ASK_QUERY, ASK_DOCUMENTS}, {ASK_QUERIES, ASK_DOCUMENTS}, {ASK_QUERIES, ASK_ITEMS},
    {ASK_TEXT_1, ASK_TEXT_2},   {ASK_DATA_1, ASK_DATA_2},
};

static uint64_t
items_of(const struct json_place *place)
{
    if (place->kind == JSON_MAP)
        return place->len / ITEM_BYTES + 1;
    return place->kind == JSON_LIST ? MAX(place->items, (size_t)1) : 1;
}

static bool
is_numbers(const struct json_place *place)
{
    return place->kind == JSON_LIST && place->first == JSON_NUMBER;
}

/* Lists of one length are read pair by pair. No text is longer than a
 * body may be: nothing wraps. */
static uint64_t
read_again(const struct json_place *one, const struct json_place *other)
{
    uint64_t n = items_of(one), m = items_of(other);
    if (one->kind == JSON_ABSENT || other->kind == JSON_ABSENT || (n > 1 && m > 1))
        return 0;
    return n > 1 ? (n - 1) * other->len : (m - 1) * one->len;
}

uint64_t
ask_prompts(const struct ask *ask)
{
    const struct json_place *prompt = ask->places ? &ask->places[ASK_PROMPT] : NULL;
    return prompt && !is_numbers(prompt) ? items_of(prompt) : 1;
}

uint64_t
ask_texts(const struct ask *ask)
{
    uint64_t most = 1;
    for (size_t i = ASK_MESSAGES; ask->places && i <= ASK_INPUT; i++)
        if (!is_numbers(&ask->places[i]))
            most = MAX(most, items_of(&ask->places[i]));
    return most;
}

uint64_t
ask_prompt_tokens(const struct ask *ask, uint64_t body_bytes, bool is_talk)
{
    static const enum ask_member texts[] = {ASK_PROMPT, ASK_INPUT};
    uint64_t bytes = body_bytes, numbers = 0;
    if (is_talk)
        return (bytes - ask->media.bytes) / BYTES_A_TOKEN + ask->media.tokens;
    for (size_t i = 0; ask->places && i < ARRAY_SIZE(pairs); i++)
        bytes += read_again(&ask->places[pairs[i].one], &ask->places[pairs[i].other]);
    for (size_t i = 0; ask->places && i < ARRAY_SIZE(texts); i++) {
        const struct json_place *place = &ask->places[texts[i]];
        if (is_numbers(place))
            numbers += place->items;
        else if (place->kind == JSON_LIST && place->first == JSON_LIST)
            numbers += place->len / BYTES_A_NUMBER;
    }
    return MAX(bytes / BYTES_A_TOKEN, numbers);
}

/* ---- forms ---- */

static int
read_form_bool(const struct multipart *form, enum multipart_field field, const char *name,
               bool *ret, struct err *reterr)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"true", true},   {"True", true},   {"1", true},
                 {"false", false}, {"False", false}, {"0", false}};
    const struct multipart_value *v = &form->fields[field];
    if (!v->there)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (strcmp(words[i].word, v->text) != 0)
            continue;
        *ret = words[i].value;
        return 0;
    }
    return err_set(reterr, ERR_MEMBER, "\"%s\" is %.*s%s, expected true or false", name,
                   (int)MIN(v->len, (size_t)SHOWN_MAX), v->text, v->len > SHOWN_MAX ? "..." : "");
}

int
ask_read_form(struct ask *ask, const struct multipart *form, struct err *reterr)
{
    *ask = (struct ask){.answers = 1, .tier = ASK_TIER_DEFAULT};
    static_assert(sizeof(ask->model) >= sizeof(form->fields[0].text), "a field fits");
    memcpy(ask->model, form->fields[MULTIPART_MODEL].text, sizeof(form->fields[0].text));
    int r = read_form_bool(form, MULTIPART_STREAM, "stream", &ask->stream, reterr);
    return r < 0 ? r
                 : read_form_bool(form, MULTIPART_STREAM_INCLUDE_USAGE, "stream_include_usage",
                                  &ask->include_usage, reterr);
}

/* ---- changes ---- */

/* Text that was written, for as long as the arena lives; NULL, and the arena
 * full, when it did not fit. */
static const char *
keep(struct arena *arena, const struct buf *text)
{
    const char *kept = buf_error(text) == 0 ? arena_strndup(arena, text->data, text->len) : NULL;
    arena->full = arena->full || !kept;
    return kept;
}

static const char *
quote(struct arena *arena, const char *text)
{
    _cleanup_buf_ struct buf out = BUF_INIT(TEXTS_MAX);
    struct json_writer w;
    json_init(&w, &out, false);
    json_str(&w, NULL, text);
    return keep(arena, &out);
}

/* New members stand first in their object, in one piece. */
static void
add_member(struct buf *members, const char *name, const char *json)
{
    struct json_writer w;
    if (members->len)
        buf_add_char(members, ',');
    json_init(&w, members, false);
    json_str(&w, NULL, name);
    buf_add_char(members, ':');
    buf_add_str(members, json);
}

/* inside: behind the bracket of their object. */
static void
put_members(struct patch_list *list, size_t inside, bool is_empty, struct buf *members,
            struct arena *arena)
{
    if (members->len == 0)
        return;
    if (!is_empty)
        buf_add_char(members, ',');
    const char *kept = keep(arena, members);
    if (kept)
        patch_add(list, inside, 0, kept);
}

static void
replace(struct patch_list *list, const struct json_place *place, const char *json)
{
    if (json)
        patch_add(list, place->at, place->len, json);
}

static void
set_member(struct patch_list *list, struct buf *members, const char *name,
           const struct json_place *place, const char *json)
{
    if (place->kind != JSON_ABSENT)
        replace(list, place, json);
    else if (json)
        add_member(members, name, json);
}

/* With usage at the end only: usage in every chunk is the client's own wish. */
static int
change_options(const struct ask *ask, struct arena *arena, struct patch_list *list,
               struct buf *members, struct err *reterr)
{
    _cleanup_buf_ struct buf options = BUF_INIT(TEXTS_MAX);
    const struct json_place *place = &ask->places[ASK_STREAM_OPTIONS];
    struct json_place inside[OPTION_COUNT];
    if (place->kind != JSON_MAP) {
        set_member(list, members, ask_member_names[ASK_STREAM_OPTIONS], place,
                   "{\"include_usage\":true}");
        return 0;
    }
    const struct ask_text *value = &ask->values[ASK_STREAM_OPTIONS];
    int r = scan_inside(ask, value, "stream_options", option_names, OPTION_COUNT, inside, reterr);
    if (r < 0)
        return r;
    for (size_t i = 0; i < OPTION_COUNT; i++)
        inside[i].at += place->at;
    set_member(list, &options, option_names[INCLUDE_USAGE], &inside[INCLUDE_USAGE], "true");
    if (inside[CONTINUOUS_USAGE].kind == JSON_TRUE)
        replace(list, &inside[CONTINUOUS_USAGE], "false");
    bool is_empty = *json_past_space(ask_text_bytes(ask, value) + 1) == '}';
    put_members(list, place->at + 1, is_empty, &options, arena);
    return 0;
}

static void
change_params(const struct ask *ask, const struct ask_change *change, struct patch_list *list,
              struct buf *members)
{
    assert(change->param_count <= ASK_PARAMS_MAX);
    for (size_t i = 0; i < change->param_count; i++) {
        const struct ask_param *param = &change->params[i];
        const struct json_place *place = &ask->places[param->member];
        assert(config_may_give(param->name) && param->member < ask->scan.count);
        if (param->forced || place->kind == JSON_ABSENT)
            set_member(list, members, param->name, place, param->json);
    }
}

int
ask_change_json(const struct ask *ask, const struct ask_change *change, struct arena *arena,
                struct patch_list *ret_list, struct err *reterr)
{
    _cleanup_buf_ struct buf members = BUF_INIT(TEXTS_MAX);
    int r = 0;
    ret_list->count = 0;
    if (change->model && strcmp(change->model, ask->model) != 0)
        set_member(ret_list, &members, ask_member_names[ASK_MODEL], &ask->places[ASK_MODEL],
                   quote(arena, change->model));
    if (change->include_usage && ask->stream && !ask->include_usage)
        r = change_options(ask, arena, ret_list, &members, reterr);
    if (r < 0)
        return r;
    change_params(ask, change, ret_list, &members);
    put_members(ret_list, ask->scan.root_at + 1, ask->scan.is_empty, &members, arena);
    return arena->full ? -ENOMEM : 0;
}

static void
set_field(const struct multipart *form, enum multipart_field field, const char *name,
          const char *text, struct arena *arena, struct patch_list *list)
{
    const struct multipart_value *v = &form->fields[field];
    const char *put =
        v->there
            ? arena_strdup(arena, text)
            : arena_printf(arena, "%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n",
                           form->mark + 2, name, text);
    if (put)
        patch_add(list, v->there ? v->at : form->first, v->there ? v->len : 0, put);
}

int
ask_change_form(const struct multipart *form, const struct ask *ask,
                const struct ask_change *change, struct arena *arena, struct patch_list *ret_list)
{
    ret_list->count = 0;
    if (change->model && strcmp(change->model, ask->model) != 0)
        set_field(form, MULTIPART_MODEL, "model", change->model, arena, ret_list);
    if (change->include_usage && ask->stream && !ask->include_usage)
        set_field(form, MULTIPART_STREAM_INCLUDE_USAGE, "stream_include_usage", "true", arena,
                  ret_list);
    return arena->full ? -ENOMEM : 0;
}
