/* From a request to its endpoint, and answers of any kind. */

#include "sim/routes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Of an answer: all that vLLM says of one request fits many times. */
#define ANSWER_BYTES_MAX (16 * MIB)
/* Of a request's tree: the server takes no body of which this were not enough. */
#define TREE_BYTES_MAX (512 * MIB)

static const struct route {
    enum http_method method;
    const char *path;
    void (*take)(struct sim *sim, struct http_request *r);
} routes[] = {
#define ROUTE(method, path, function) {HTTP_##method, path, function},
#include "sim/routes.def"
#undef ROUTE
};

void
sim_route(struct http_request *r)
{
    static const char absent[] = "{\"detail\":\"Not Found\"}";
    static const char other_method[] = "{\"detail\":\"Method Not Allowed\"}";
    const struct route *same_path = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
        if (!http1_is(&r->head, r->head.path, routes[i].path))
            continue;
        same_path = &routes[i];
        if (r->head.method == routes[i].method) {
            routes[i].take(r->arg, r);
            return;
        }
    }
    http_answer_begin(r, same_path ? 405 : 404);
    if (same_path)
        http_answer_field(r, "Allow", http_method_name(same_path->method));
    http_answer_field(r, "Content-Type", "application/json");
    if (same_path)
        http_answer_whole(r, other_method, sizeof(other_method) - 1);
    else
        http_answer_whole(r, absent, sizeof(absent) - 1);
}

void
sim_answer_json(struct http_request *r, const struct buf *body)
{
    if (buf_error(body) < 0)
        sim_answer_error(r, 500, "InternalServerError", NULL, "the answer is too large");
    else
        http_answer(r, 200, "application/json", body->data, body->len);
}

static void
write_error(struct buf *out, unsigned status, const char *type, const char *param,
            const char *message)
{
    struct json_writer w;
    json_init(&w, out, false);
    json_open_map(&w, NULL);
    json_open_map(&w, "error");
    json_str(&w, "message", message);
    json_str(&w, "type", type);
    json_str(&w, "param", param);
    json_u64(&w, "code", status);
    json_close_map(&w);
    json_close_map(&w);
}

void
sim_answer_error(struct http_request *r, unsigned status, const char *type, const char *param,
                 const char *fmt, ...)
{
    _cleanup_buf_ struct buf message = BUF_INIT(64 * KIB), body = BUF_INIT(ANSWER_BYTES_MAX);
    va_list args;
    va_start(args, fmt);
    buf_vprintf(&message, fmt, args);
    va_end(args);
    write_error(&body, status, type, param, message.data);
    http_answer(r, status, "application/json", body.data, body.len);
}

const char *
sim_explain(void *arg unused_arg, unsigned status, const char *reason, struct buf *body)
{
    write_error(body, status, "Bad Request", NULL, reason);
    return "application/json";
}

/* ---- requests with a body ---- */

static void
on_complete(struct http_request *r)
{
    struct sim_call *call = r->user;
    struct value *body;
    struct value_at at = {0};
    struct err err;
    char param[32];
    int parsed =
        json_parse(&call->arena, r->content.data, r->content.len, JSON_STRICT, &body, &at, &err);
    if (parsed < 0) {
        (void)snprintf(param, sizeof(param), "body.%u", at.column ? at.column - 1 : 0);
        sim_answer_error(r, 400, "Bad Request", param,
                         "1 validation error:\n  {'type': 'json_invalid', 'loc': ('body', %u), "
                         "'msg': 'JSON decode error', 'input': {}, 'ctx': {'error': '%s'}}",
                         at.column ? at.column - 1 : 0, err.what);
    } else if (body->type != VALUE_MAP) {
        sim_answer_error(r, 400, "Bad Request", "body",
                         "1 validation error:\n  {'type': 'dict_type', 'loc': ('body',), 'msg': "
                         "'Input should be a valid dictionary'}");
    } else {
        call->answer(call, body);
    }
}

static void
on_writable(struct http_request *r)
{
    sim_generation_continue(r->user);
}

static void
on_finished(struct http_request *r, bool answered)
{
    struct sim_call *call = r->user;
    sim_generation_finish(call, answered);
    arena_finish(&call->arena);
    free(call);
}

void
sim_take_json(struct sim *sim, struct http_request *r,
              void (*answer)(struct sim_call *call, const struct value *body))
{
    static const struct http_request_ops ops = {
        .complete = on_complete, .writable = on_writable, .finished = on_finished};
    struct sim_call *call = mem_new(struct sim_call);
    *call = (struct sim_call){.sim = sim, .request = r, .answer = answer};
    arena_init(&call->arena, TREE_BYTES_MAX);
    r->ops = &ops;
    r->user = call;
}
