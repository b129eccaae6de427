#include "gateway/ask.h"

#include "config/config.h"
#include "fmt/json.h"
#include "gateway/multipart.h"
#include "gateway/patch.h"

#include <errno.h>
#include <string.h>

static const char *const member_names[] = {
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

static int
refuse(const char *name, const char *value, size_t len, const char *wanted, struct err *reterr)
{
    return err_set(reterr, ERR_MEMBER, "\"%s\" is %.*s%s, expected %s", name,
                   (int)MIN(len, (size_t)SHOWN_MAX), value, len > SHOWN_MAX ? "..." : "", wanted);
}

static bool
is_said(const struct json_place *place)
{
    return place->kind != JSON_ABSENT && place->kind != JSON_NULL;
}

/* ---- values; what is not said stays as it was ---- */

static int
read_bool(const char *body, const char *name, const struct json_place *place, bool *ret,
          struct err *reterr)
{
    if (!is_said(place))
        return 0;
    if (place->kind != JSON_TRUE && place->kind != JSON_FALSE)
        return refuse(name, body + place->at, place->len, "true or false", reterr);
    *ret = place->kind == JSON_TRUE;
    return 0;
}

/* A number that is none of ours (negative, a fraction) is the engine's to refuse, and says nothing. */
static int
read_number(const char *body, enum ask_member member, const struct json_place *place,
            uint64_t *ret_most, struct err *reterr)
{
    char text[NUMBER_MAX + 1];
    uint64_t n;
    if (!is_said(place))
        return 0;
    if (place->kind != JSON_NUMBER || place->len > NUMBER_MAX)
        return refuse(member_names[member], body + place->at, place->len, "a number", reterr);
    memcpy(text, body + place->at, place->len);
    text[place->len] = '\0';
    const struct value v = {.type = VALUE_NUMBER, .text = text, .len = place->len};
    if (value_u64(&v, &n))
        *ret_most = MAX(*ret_most, n);
    return 0;
}

static int
read_model(struct ask *ask, const char *body, struct err *reterr)
{
    const struct json_place *place = &ask->places[ASK_MODEL];
    if (!is_said(place))
        return 0;
    int r = place->kind == JSON_STRING ? json_scan_text(body, place, ask->model, sizeof(ask->model))
                                       : -EBADMSG;
    return r < 0 ? refuse("model", body + place->at, place->len,
                          "the name of a model, as a string of 255 bytes at most", reterr)
                 : 0;
}

/* The members of an object inside the body, with their places in the body. */
static int
scan_inside(const char *body, const struct json_place *outer, const char *outer_name,
            const char *const *names, size_t count, struct json_place *ret_places,
            struct err *reterr)
{
    int r = json_scan(body + outer->at, outer->len, names, count, ret_places, reterr);
    if (r < 0) {
        err_prefix(reterr, "in \"%s\"", outer_name);
        return r;
    }
    for (size_t i = 0; i < count; i++)
        if (ret_places[i].kind != JSON_ABSENT)
            ret_places[i].at += outer->at;
    return 0;
}

static int
read_stream(struct ask *ask, const char *body, struct err *reterr)
{
    const struct json_place *options = &ask->places[ASK_STREAM_OPTIONS];
    struct json_place inside[OPTION_COUNT];
    int r = read_bool(body, "stream", &ask->places[ASK_STREAM], &ask->stream, reterr);
    if (r < 0 || !is_said(options))
        return r;
    if (options->kind != JSON_MAP)
        return refuse("stream_options", body + options->at, options->len, "an object", reterr);
    r = scan_inside(body, options, "stream_options", option_names, OPTION_COUNT, inside, reterr);
    if (r < 0)
        return r;
    return read_bool(body, "stream_options.include_usage", &inside[INCLUDE_USAGE],
                     &ask->include_usage, reterr);
}

static int
read_numbers(struct ask *ask, const char *body, struct err *reterr)
{
    static const enum ask_member limits[] = {ASK_MAX_TOKENS, ASK_MAX_COMPLETION_TOKENS,
                                             ASK_MAX_OUTPUT_TOKENS};
    static const enum ask_member answers[] = {ASK_N, ASK_BEST_OF};
    const struct json_place *places = ask->places;
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(limits) && r == 0; i++)
        r = read_number(body, limits[i], &places[limits[i]], &ask->max_tokens, reterr);
    for (size_t i = 0; i < ARRAY_SIZE(answers) && r == 0; i++)
        r = read_number(body, answers[i], &places[answers[i]], &ask->answers, reterr);
    return r;
}

/* Messages has the user in metadata. */
static int
read_user(struct ask *ask, const char *body, struct err *reterr)
{
    static const char *const names[] = {"user_id"};
    const struct json_place *metadata = &ask->places[ASK_METADATA];
    int r = 0;
    ask->user = ask->places[ASK_USER];
    ask->session = ask->places[ASK_SESSION];
    if (!is_said(&ask->user) && metadata->kind == JSON_MAP)
        r = scan_inside(body, metadata, "metadata", names, ARRAY_SIZE(names), &ask->user, reterr);
    if (ask->user.kind != JSON_STRING)
        ask->user = (struct json_place){0};
    if (ask->session.kind != JSON_STRING)
        ask->session = (struct json_place){0};
    return r;
}

/* What is none of ours is the engine's to read, and the usual one for us. */
static void
read_tier(struct ask *ask, const char *body)
{
    const struct json_place *place = &ask->places[ASK_TIER];
    char word[16];
    if (place->kind != JSON_STRING || json_scan_text(body, place, word, sizeof(word)) < 0)
        return;
    if (strcmp(word, "priority") == 0)
        ask->tier = ASK_TIER_PRIORITY;
    else if (strcmp(word, "flex") == 0)
        ask->tier = ASK_TIER_FLEX;
}

int
ask_read_json(struct ask *ask, const char *body, size_t len, struct err *reterr)
{
    *ask = (struct ask){.answers = 1, .tier = ASK_TIER_DEFAULT};
    int r = json_scan(body, len, member_names, ASK_MEMBER_COUNT, ask->places, reterr);
    if (r == 0)
        r = read_model(ask, body, reterr);
    if (r == 0)
        r = read_stream(ask, body, reterr);
    if (r == 0)
        r = read_numbers(ask, body, reterr);
    if (r == 0)
        read_tier(ask, body);
    /* Whatever is not a plain no, some engine may take for a yes. */
    ask->background =
        is_said(&ask->places[ASK_BACKGROUND]) && ask->places[ASK_BACKGROUND].kind != JSON_FALSE;
    return r == 0 ? read_user(ask, body, reterr) : r;
}

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
    return refuse(name, v->text, v->len, "true or false", reterr);
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

/* Text that was written, for as long as the arena lives; NULL, and the arena full, when it did not fit. */
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

/* object: text that begins with white space and '{'. */
static void
put_members(struct patch_list *list, const char *body, size_t object, struct buf *members,
            struct arena *arena)
{
    if (members->len == 0)
        return;
    const char *inside = json_past_space(body + object) + 1;
    if (*json_past_space(inside) != '}')
        buf_add_char(members, ',');
    const char *kept = keep(arena, members);
    if (kept)
        patch_add(list, (size_t)(inside - body), 0, kept);
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
change_options(const struct json_place *place, const char *body, struct arena *arena,
               struct patch_list *list, struct buf *members, struct err *reterr)
{
    _cleanup_buf_ struct buf options = BUF_INIT(TEXTS_MAX);
    struct json_place inside[OPTION_COUNT];
    if (place->kind != JSON_MAP) {
        set_member(list, members, member_names[ASK_STREAM_OPTIONS], place,
                   "{\"include_usage\":true}");
        return 0;
    }
    int r = scan_inside(body, place, "stream_options", option_names, OPTION_COUNT, inside, reterr);
    if (r < 0)
        return r;
    set_member(list, &options, option_names[INCLUDE_USAGE], &inside[INCLUDE_USAGE], "true");
    if (inside[CONTINUOUS_USAGE].kind == JSON_TRUE)
        replace(list, &inside[CONTINUOUS_USAGE], "false");
    put_members(list, body, place->at, &options, arena);
    return 0;
}

static int
change_params(const char *body, size_t len, const struct ask_change *change,
              struct patch_list *list, struct buf *members, struct err *reterr)
{
    const char *names[ASK_PARAMS_MAX];
    struct json_place places[ASK_PARAMS_MAX];
    assert(change->param_count <= ASK_PARAMS_MAX);
    for (size_t i = 0; i < change->param_count; i++) {
        names[i] = change->params[i].name;
        assert(config_may_give(names[i]));
    }
    int r =
        change->param_count ? json_scan(body, len, names, change->param_count, places, reterr) : 0;
    for (size_t i = 0; i < change->param_count && r == 0; i++)
        if (change->params[i].forced || places[i].kind == JSON_ABSENT)
            set_member(list, members, names[i], &places[i], change->params[i].json);
    return r;
}

int
ask_change_json(const struct ask *ask, const char *body, size_t len,
                const struct ask_change *change, struct arena *arena, struct patch_list *ret_list,
                struct err *reterr)
{
    _cleanup_buf_ struct buf members = BUF_INIT(TEXTS_MAX);
    int r = 0;
    ret_list->count = 0;
    if (change->model && strcmp(change->model, ask->model) != 0)
        set_member(ret_list, &members, member_names[ASK_MODEL], &ask->places[ASK_MODEL],
                   quote(arena, change->model));
    if (change->include_usage && ask->stream && !ask->include_usage)
        r = change_options(&ask->places[ASK_STREAM_OPTIONS], body, arena, ret_list, &members,
                           reterr);
    if (r == 0)
        r = change_params(body, len, change, ret_list, &members, reterr);
    if (r < 0)
        return r;
    put_members(ret_list, body, 0, &members, arena);
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
