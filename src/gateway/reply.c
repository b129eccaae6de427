#include "gateway/reply.h"

#include "base/hash.h"
#include "base/text.h"
#include "config/config.h"
#include "gateway/keyring.h"
#include "gateway/problem.h"
#include "http/server.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define VALUE_MAX 64 /* of a limit, or what is left of it */

static bool
is_printable(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] <= ' ' || bytes[i] > '~')
            return false;
    return len > 0;
}

/* Hashes of a count under this process' own key: who knows one knows no other. */
static void
make_id(struct reply *reply)
{
    static struct {
        char what[8];
        uint64_t count;
    } at = {"request", 0};
    uint64_t halves[2];
    for (size_t i = 0; i < ARRAY_SIZE(halves); i++) {
        at.count++;
        halves[i] = hash_key(&at, sizeof(at));
    }
    text_copy(reply->own_id, sizeof(reply->own_id), "req_");
    *text_put_hex(text_put_hex(strchr(reply->own_id, '\0'), halves[0]), halves[1]) = '\0';
}

/* "" where nobody asks for it, or its scripts may not. */
static void
read_origin(const struct http_request *r, const struct config_list *origins, struct reply *reply)
{
    const struct http1_field *field = http1_find(&r->head, HTTP_FIELD_ORIGIN);
    if (!field || field->value.len > REPLY_ORIGIN_MAX)
        return;
    for (size_t i = 0; i < origins->count; i++) {
        const char *origin = origins->items[i];
        if (strcmp(origin, "*") == 0 || http1_is(&r->head, field->value, origin)) {
            text_copy(reply->origin, sizeof(reply->origin), origin);
            return;
        }
    }
}

void
reply_read(const struct http_request *r, const struct config_list *origins, struct reply *ret_reply)
{
    const struct http1_field *field = http1_find(&r->head, HTTP_FIELD_X_REQUEST_ID);
    const char *value = field ? r->head.bytes + field->value.at : NULL;
    ret_reply->caller = NULL;
    ret_reply->origin[0] = '\0';
    make_id(ret_reply);
    /* A key that was put there by mistake stands in no log. */
    if (!field || field->value.len > REPLY_ID_MAX || !is_printable(value, field->value.len) ||
        memmem(value, field->value.len, KEY_TOKEN_START, strlen(KEY_TOKEN_START)))
        memcpy(ret_reply->id, ret_reply->own_id, sizeof(ret_reply->own_id));
    else
        (void)snprintf(ret_reply->id, sizeof(ret_reply->id), "%.*s", (int)field->value.len, value);
    if (origins->count)
        read_origin(r, origins, ret_reply);
}

/* ---- who may read it ---- */

static void
write_origin(struct http_request *r, const struct reply *reply)
{
    http_answer_field(r, "Access-Control-Allow-Origin", reply->origin);
    if (strcmp(reply->origin, "*") != 0)
        http_answer_field(r, "Vary", "Origin");
}

bool
reply_preflight(struct http_request *r, const struct reply *reply, const char *allow)
{
    const struct http1_field *fields = http1_find_other(&r->head, "access-control-request-headers");
    if (!reply->origin[0] || !http1_find_other(&r->head, "access-control-request-method"))
        return false;
    reply_begin(r, 204, reply);
    http_answer_field(r, "Access-Control-Allow-Methods", allow);
    /* Whatever fields it likes: none of them says who asks but the key. */
    if (fields)
        http_answer_field_n(r, "Access-Control-Allow-Headers", r->head.bytes + fields->value.at,
                            fields->value.len);
    http_answer_field(r, "Access-Control-Max-Age", "7200");
    http_answer_whole(r, "", 0);
    return true;
}

/* ---- how the caller's limits stand ---- */

static void
add_part(struct buf *to, uint64_t n, const char *unit)
{
    buf_add_u64(to, n);
    buf_add_str(to, unit);
}

/* As clients of OpenAI's read it: "6m0s", "17ms". */
static void
add_duration(struct buf *to, uint64_t us)
{
    uint64_t ms = (us + 999) / 1000, s = ms / 1000;
    if (ms < 1000) {
        add_part(to, ms, "ms");
        return;
    }
    if (s >= 3600)
        add_part(to, s / 3600, "h");
    if (s >= 60)
        add_part(to, s / 60 % 60, "m");
    add_part(to, s % 60, "s");
}

static void
write_value(struct http_request *r, const char *name, struct buf *value)
{
    http_answer_field_n(r, name, value->data, value->len);
    buf_clear(value);
}

struct level_names {
    const char *limit, *left, *reset;
};

static void
write_level(struct http_request *r, const struct level_names *names,
            const struct allowance_level *level, struct buf *value)
{
    buf_add_u64(value, level->limit);
    write_value(r, names->limit, value);
    buf_add_u64(value, level->left);
    write_value(r, names->left, value);
    add_duration(value, level->reset_us);
    write_value(r, names->reset, value);
}

/* There is one field for tokens: it tells of the shortest time that is limited. */
static void
write_levels(struct http_request *r, struct holder *caller)
{
    static const enum allowance_limit tokens[] = {ALLOWANCE_TOKENS_MINUTE, ALLOWANCE_TOKENS_DAY,
                                                  ALLOWANCE_TOKENS_MONTH};
    static const struct level_names of_requests = {"x-ratelimit-limit-requests",
                                                   "x-ratelimit-remaining-requests",
                                                   "x-ratelimit-reset-requests"};
    static const struct level_names of_tokens = {
        "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"};
    _cleanup_buf_ struct buf value = BUF_INIT(VALUE_MAX);
    struct allowance_level level;
    if (holder_level(caller, ALLOWANCE_REQUESTS_MINUTE, &level))
        write_level(r, &of_requests, &level, &value);
    for (size_t i = 0; i < ARRAY_SIZE(tokens); i++) {
        if (holder_level(caller, tokens[i], &level)) {
            write_level(r, &of_tokens, &level, &value);
            return;
        }
    }
}

/* ---- answers ---- */

/* Of what a script may not read unasked. */
static const char shown[] = "X-Request-Id, Retry-After, X-Citadel-Fallback,"
                            " x-ratelimit-limit-requests, x-ratelimit-remaining-requests,"
                            " x-ratelimit-reset-requests, x-ratelimit-limit-tokens,"
                            " x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens";

void
reply_begin(struct http_request *r, unsigned status, const struct reply *reply)
{
    http_answer_begin(r, status);
    http_answer_field(r, "X-Request-Id", reply->id);
    if (reply->origin[0]) {
        write_origin(r, reply);
        http_answer_field(r, "Access-Control-Expose-Headers", shown);
    }
    if (reply->caller)
        write_levels(r, reply->caller);
}

void
reply_problem(struct http_request *r, enum dialect dialect, const struct err *err,
              const struct reply *reply, uint64_t retry_after_s, const char *allow)
{
    _cleanup_buf_ struct buf body = BUF_INIT(PROBLEM_MAX);
    char seconds[24];
    problem_write(&body, dialect, err, reply->id);
    reply_begin(r, problem_status(err), reply);
    http_answer_field(r, "Content-Type", "application/json");
    if (retry_after_s) {
        (void)snprintf(seconds, sizeof(seconds), "%" PRIu64, retry_after_s);
        http_answer_field(r, "Retry-After", seconds);
    }
    if (problem_status(err) == 401)
        http_answer_field(r, "WWW-Authenticate", "Bearer");
    if (allow)
        http_answer_field(r, "Allow", allow);
    http_answer_whole(r, body.data, body.len);
}
