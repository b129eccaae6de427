/* From a request to its endpoint and to its answer. What holds for all endpoints is here: who may
 * ask, faults that strike any of them, counting, the access log. */

#include "sim/call.h"

#include "base/text.h"
#include "http/write.h"
#include "sim/ask.h"
#include "sim/routes.h"
#include "sim/say.h"
#include "sim/sim.h"
#include "sim/since.h"
#include "sys/clock.h"
#include "sys/sock.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

/* Of an answer, and of a request's tree: the server takes no body of which these were not enough. */
#define ANSWER_BYTES_MAX (256 * MIB)
#define TREE_BYTES_MAX (1 * GIB)
#define OUT_KEPT_MAX (256 * KIB)
#define SPARE_MAX 256

enum body { NONE, JSON, FORM };
enum need { ANY, GENERATE, EMBED, SCORE, CLASSIFY, AUDIO, POOL, DEV, SLEEP, CONTROL };
enum count { NOT, COUNTED };

static const struct route {
    enum http_method method;
    const char *path;
    size_t path_len;
    enum body body;
    enum need need;
    enum count count;
    void (*answer)(struct call *call, const struct value *body);
    const char *name;
} routes[] = {
#define ROUTE(method, path, body, need, count, function, name) \
    {HTTP_##method, path, sizeof(path) - 1, body, need, count, function, name},
#include "sim/routes.def"
#undef ROUTE
};

static_assert(ARRAY_SIZE(routes) < TRAFFIC_NONE, "each route is a row of struct traffic");

/* ---- which endpoints there are ---- */

static bool
has_task(const struct sim *sim, const char *task)
{
    const struct settings *s = &sim->settings;
    const char *list = s->task && !text_eq(s->task, "auto") ? s->task : s->tasks;
    bool generates = text_eq(task, "generate") || text_eq(task, "transcription");
    if (s->runner && text_eq(s->runner, "pooling") && generates)
        return false;
    if (s->runner && text_eq(s->runner, "generate") && !generates)
        return false;
    for (size_t len = strlen(task); *list;) {
        size_t word = strcspn(list, ",");
        if (word == len && memcmp(list, task, len) == 0)
            return true;
        list += word;
        list += *list == ',';
    }
    return false;
}

static bool
can_do(const struct sim *sim, enum need need)
{
    const struct settings *s = &sim->settings;
    switch (need) {
    case ANY:
        return true;
    case GENERATE:
        return has_task(sim, "generate");
    case EMBED:
        return has_task(sim, "embed");
    case SCORE:
        return has_task(sim, "score");
    case CLASSIFY:
        return has_task(sim, "classify");
    case AUDIO:
        return has_task(sim, "transcription");
    case POOL:
        return has_task(sim, "embed") || has_task(sim, "score") || has_task(sim, "classify");
    case DEV:
        return s->dev_mode;
    case SLEEP:
        return s->dev_mode && s->sleep_mode;
    case CONTROL:
        return s->control;
    }
    return false;
}

/* Newer releases have no route for what the model cannot do; older ones answer that it cannot. */
static bool
is_there(const struct sim *sim, const struct route *route)
{
    bool of_model = route->need != ANY && route->need < DEV;
    return can_do(sim, route->need) || (of_model && sim->settings.release < 20);
}

void
call_say_routes(struct sim *sim)
{
    for (size_t i = 0; i < ARRAY_SIZE(routes); i++)
        if (is_there(sim, &routes[i]))
            say(SAY_API, SAY_INFO, "launcher.py:42", "Route: %s, Methods: %s", routes[i].path,
                http_method_name(routes[i].method));
}

/* ---- the log, and what is counted ---- */

static bool
is_quiet(const struct sim *sim, const char *path)
{
    const struct settings *s = &sim->settings;
    const char *level = s->log_level, *list = s->quiet_endpoints;
    if (s->no_access_log ||
        (level && !text_eq(level, "info") && !text_eq(level, "debug") && !text_eq(level, "trace")))
        return true;
    for (size_t len = strcspn(path, "?"); list && *list;) {
        size_t word = strcspn(list, ",");
        if (word == len && memcmp(list, path, len) == 0)
            return true;
        list += word;
        list += list[0] == ',';
    }
    return false;
}

static void
print_peer(int fd, char *text, size_t room)
{
    struct sockaddr_storage at = {0};
    socklen_t len = sizeof(at);
    char ip[INET6_ADDRSTRLEN] = "";
    *text = '\0';
    if (getpeername(fd, (struct sockaddr *)&at, &len) < 0)
        return;
    const struct sockaddr_in *in = (const struct sockaddr_in *)&at;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&at;
    if (at.ss_family == AF_INET && inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip)))
        (void)snprintf(text, room, "%s:%u", ip, ntohs(in->sin_port));
    else if (at.ss_family == AF_INET6 && inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip)))
        (void)snprintf(text, room, "%s:%u", ip, ntohs(in6->sin6_port));
}

static void
say_access(const struct sim *sim, const struct http_request *r, const char *method,
           const char *target, unsigned status)
{
    char peer[INET6_ADDRSTRLEN + 8];
    if (is_quiet(sim, target))
        return;
    print_peer(http_request_fd(r), peer, sizeof(peer));
    say(SAY_API, SAY_PLAIN, "-", "INFO:     %s - \"%s %s HTTP/1.1\" %u %s", peer, method, target,
        status, http_status_phrase(status));
}

static void
note_answer(struct call *call, unsigned status)
{
    const struct route *route = call->route;
    char target[256];
    call->status = status;
    (void)snprintf(target, sizeof(target), "%s%s%s", route->path, *call->query ? "?" : "",
                   call->query);
    say_access(call->sim, call->request, http_method_name(route->method), target, status);
}

static void
count_call(const struct call *call)
{
    if (call->route->count == NOT || !call->status)
        return;
    const struct traffic_event event = {
        .row = (unsigned)(call->route - routes),
        .path = call->route->path,
        .method = http_method_name(call->route->method),
        .status = call->status,
        .request_bytes = call->request_bytes,
        .response_bytes = call->answer_bytes,
        .seconds = (double)(loop_now_us(call->sim->loop) - call->begun_us) / 1e6,
    };
    traffic_count(&call->sim->traffic, &event);
}

/* ---- answers ---- */

void
call_cut(struct call *call)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(http_request_fd(call->request), SOL_SOCKET, SO_LINGER, &at_once,
                     sizeof(at_once));
    http_answer_cut(call->request);
}

struct json_writer
call_open_map(struct call *call)
{
    struct json_writer w;
    buf_clear(&call->out);
    json_init(&w, &call->out, false);
    json_open_map(&w, NULL);
    return w;
}

void
call_answer(struct call *call, unsigned status, const char *type, const void *bytes, size_t len)
{
    note_answer(call, status);
    call->answer_bytes = len;
    http_answer_begin(call->request, status);
    if (type)
        http_answer_field(call->request, "Content-Type", type);
    http_answer_whole(call->request, bytes, len);
}

void
call_answer_out(struct call *call)
{
    if (buf_error(&call->out) < 0)
        call_fail(call, 500, "InternalServerError", NULL, "the answer is too large");
    else
        call_answer(call, 200, "application/json", call->out.data, call->out.len);
}

/* /v1/messages has the form that its clients know. */
static void
write_error(struct call *call, unsigned status, const char *type, const char *param,
            const char *message)
{
    bool other_form = call->route && text_starts(call->route->path, "/v1/messages");
    struct json_writer w = call_open_map(call);
    if (other_form)
        json_str(&w, "type", "error");
    json_open_map(&w, "error");
    if (other_form)
        json_str(&w, "type", type);
    json_str(&w, "message", message);
    if (!other_form) {
        json_str(&w, "type", type);
        json_str(&w, "param", param);
        json_u64(&w, "code", status);
    }
    json_close_map(&w);
    json_close_map(&w);
}

void
call_fail(struct call *call, unsigned status, const char *type, const char *param, const char *fmt,
          ...)
{
    _cleanup_buf_ struct buf message = BUF_INIT(ANSWER_BYTES_MAX);
    va_list args;
    va_start(args, fmt);
    buf_vprintf(&message, fmt, args);
    va_end(args);
    write_error(call, status, type, param, message.data);
    call_answer(call, status, "application/json", call->out.data, call->out.len);
}

void
call_fail_of_memory(struct call *call)
{
    call_fail(call, 500, "InternalServerError", NULL, "the request is too large");
}

void
call_fail_of_engine(struct call *call)
{
    static const char why[] =
        "EngineCore encountered an issue. See stack trace (above) for the root cause.";
    if (!call->status) {
        call_fail(call, 500, "InternalServerError", NULL, "%s", why);
        return;
    }
    /* A stream has begun: the error is its last event. */
    write_error(call, 500, "InternalServerError", NULL, why);
    (void)call_write(call, "data: ", strlen("data: "));
    (void)call_write(call, call->out.data, call->out.len);
    (void)call_write(call, "\n\ndata: [DONE]\n\n", strlen("\n\ndata: [DONE]\n\n"));
    call_end(call);
}

void
call_stream(struct call *call)
{
    note_answer(call, 200);
    http_answer_begin(call->request, 200);
    http_answer_field(call->request, "Content-Type", "text/event-stream; charset=utf-8");
    http_answer_stream(call->request);
}

bool
call_write(struct call *call, const void *bytes, size_t len)
{
    return http_answer_write(call->request, bytes, len);
}

void
call_end(struct call *call)
{
    http_answer_end(call->request);
}

const char *
call_explain(void *arg unused_arg, unsigned status, const char *reason, const char *why unused_arg,
             struct buf *body)
{
    if (status == 400)
        buf_add_str(body, "Invalid HTTP request received.");
    else
        buf_add_str(body, reason);
    return "text/plain; charset=utf-8";
}

/* ---- who may ask, and what else meets every request ---- */

static bool
same_secret(const char *a, size_t a_len, const char *b)
{
    size_t b_len = strlen(b);
    unsigned char differ = a_len != b_len;
    for (size_t i = 0; i < b_len; i++)
        differ |= (unsigned char)((i < a_len ? a[i] : 0) ^ b[i]);
    return differ == 0;
}

static bool
may_ask(const struct sim *sim, const struct http_request *r)
{
    const struct settings_list *keys = &sim->settings.api_keys;
    const struct http1_field *field = http1_find(&r->head, HTTP_FIELD_AUTHORIZATION);
    static const char scheme[] = "Bearer ";
    const size_t scheme_len = sizeof(scheme) - 1;
    if (keys->count == 0)
        return true;
    if (!field || field->value.len < scheme_len)
        return false;
    const char *value = r->head.bytes + field->value.at;
    if (memcmp(value, scheme, scheme_len) != 0)
        return false;
    for (size_t i = 0; i < keys->count; i++)
        if (same_secret(value + scheme_len, field->value.len - scheme_len, keys->items[i]))
            return true;
    return false;
}

bool
sim_has_model(const struct sim *sim, const char *name)
{
    const struct settings *s = &sim->settings;
    if (faults_hold(&sim->faults, FAULT_WRONG_MODEL))
        return text_eq(name, sim_model(sim));
    for (size_t i = 0; i < s->names.count; i++)
        if (text_eq(s->names.items[i], name))
            return true;
    for (size_t i = 0; i < s->loras.count; i++) {
        size_t len = strcspn(s->loras.items[i], "=");
        if (strlen(name) == len && memcmp(s->loras.items[i], name, len) == 0)
            return true;
    }
    return false;
}

const char *
sim_model(const struct sim *sim)
{
    return faults_hold(&sim->faults, FAULT_WRONG_MODEL) ? "another-model"
                                                        : sim->settings.names.items[0];
}

static bool
queue_is_full(const struct sim *sim)
{
    const struct batch *b = &sim->batch;
    uint64_t most = sim->settings.queue_max;
    return most && b->waiting.count >= most;
}

bool
call_admit(struct call *call, const char *model)
{
    struct sim *sim = call->sim;
    bool pools = call->route->need != GENERATE && call->route->need != AUDIO;
    faults_count_request(&sim->faults);
    if (model && !sim_has_model(sim, model))
        call_fail(call, 404, "NotFoundError",
                  sim->settings.release < SINCE_FINGERPRINT || pools ? NULL : "model",
                  "The model `%s` does not exist.", model);
    else if (sim->state == SIM_DEAD || faults_take(&sim->faults, FAULT_ERROR_500))
        call_fail_of_engine(call);
    else if (faults_take(&sim->faults, FAULT_FULL_QUEUE) || queue_is_full(sim))
        call_fail(call, 503, "ServiceUnavailableError", NULL,
                  "The server's queue is full: %" PRIu64 " requests are waiting. Try again later.",
                  sim->batch.waiting.count);
    else
        return true;
    return false;
}

/* ---- the call ---- */

static struct call *
open_call(struct sim *sim, struct http_request *r, const struct route *route)
{
    struct call *call = sim->spare_calls;
    if (call) {
        sim->spare_calls = call->next;
    } else {
        call = mem_new(struct call);
        arena_init(&call->arena, TREE_BYTES_MAX);
        buf_init(&call->out, ANSWER_BYTES_MAX);
    }
    call->sim = sim;
    call->request = r;
    call->route = route;
    call->ops = NULL;
    call->work = NULL;
    call->begun_us = loop_now_us(sim->loop);
    call->request_bytes = r->head.content_length;
    call->answer_bytes = 0;
    call->status = 0;
    call->cut = false;
    sim->in_flight++;
    return call;
}

static void
free_call(struct call *call)
{
    arena_finish(&call->arena);
    buf_finish(&call->out);
    free(call);
}

static void
on_finished(struct http_request *r, bool answered)
{
    struct call *call = r->user;
    struct sim *sim = call->sim;
    loop_timer_stop(&call->delay);
    if (call->ops && call->ops->finished)
        call->ops->finished(call, answered);
    count_call(call);
    arena_clear(&call->arena);
    if (call->out.room > OUT_KEPT_MAX)
        buf_finish(&call->out);
    sim->in_flight--;
    call->next = sim->spare_calls;
    sim->spare_calls = call;
}

void
call_free_spare(struct sim *sim)
{
    while (sim->spare_calls) {
        struct call *call = sim->spare_calls;
        sim->spare_calls = call->next;
        free_call(call);
    }
}

static void
on_writable(struct http_request *r)
{
    struct call *call = r->user;
    if (call->ops && call->ops->writable)
        call->ops->writable(call);
}

static bool
is_json(const struct http_request *r)
{
    const struct http1_field *field = http1_find(&r->head, HTTP_FIELD_CONTENT_TYPE);
    static const char type[] = "application/json";
    const size_t len = sizeof(type) - 1;
    if (!field || field->value.len < len)
        return false;
    const char *value = r->head.bytes + field->value.at;
    return strncasecmp(value, type, len) == 0 && (field->value.len == len || value[len] == ';');
}

static void
on_complete(struct http_request *r)
{
    struct call *call = r->user;
    struct value *body = NULL;
    struct err err;
    if (call->route->body != JSON) {
        call->route->answer(call, NULL);
        return;
    }
    int parsed =
        json_parse(&call->arena, r->content.data, r->content.len, JSON_PYTHON, &body, NULL, &err);
    if (parsed < 0)
        ask_refuse_json(call, r->content.data, r->content.len, &err);
    else if (body->type != VALUE_MAP)
        call_fail(call, 400, "Bad Request", "body",
                  "1 validation error:\n  {'type': 'model_attributes_type', 'loc': ('body',), "
                  "'msg': 'Input should be a valid dictionary or object to extract fields from'}");
    else
        call->route->answer(call, body);
}

static const struct http_request_ops call_request_ops = {
    .complete = on_complete, .writable = on_writable, .finished = on_finished};
/* Of a call that is answered already, or never will be. */
static const struct http_request_ops idle_request_ops = {.finished = on_finished};

static void
swallow(struct http_request *r unused_arg, const char *bytes unused_arg, size_t len unused_arg)
{
}
/* And whose body nobody needs. */
static const struct http_request_ops frozen_request_ops = {.body = swallow,
                                                           .finished = on_finished};

static void
copy_slice(char *out, size_t room, const char *bytes, size_t len)
{
    len = MIN(len, room - 1);
    memcpy(out, bytes, len);
    out[len] = '\0';
}

/* Of the head, what is needed when it has gone. */
static void
keep_head(struct call *call, const struct http_request *r)
{
    const struct http1_field *type = http1_find(&r->head, HTTP_FIELD_CONTENT_TYPE);
    const char *bytes = r->head.bytes;
    copy_slice(call->query, sizeof(call->query), bytes + r->head.query.at, r->head.query.len);
    call->boundary[0] = '\0';
    if (call->route->body == FORM && type &&
        !form_boundary(bytes + type->value.at, type->value.len, call->boundary))
        call->boundary[0] = '\0';
}

static void
begin_call(struct sim *sim, struct http_request *r, const struct route *route, const char *name,
           size_t name_len)
{
    struct call *call = open_call(sim, r, route);
    keep_head(call, r);
    copy_slice(call->name, sizeof(call->name), name, name_len);
    r->user = call;
    r->ops = &call_request_ops;
    if (faults_hold(&sim->faults, FAULT_FREEZE)) {
        r->ops = &frozen_request_ops;
        return;
    }
    if (text_starts(route->path, "/v1") && !may_ask(sim, r)) {
        r->ops = &idle_request_ops;
        call_answer(call, 401, "application/json", "{\"error\":\"Unauthorized\"}",
                    strlen("{\"error\":\"Unauthorized\"}"));
    } else if (!can_do(sim, route->need)) {
        r->ops = &idle_request_ops;
        call_fail(call, 400, "BadRequestError", NULL, "The model does not support %s", route->name);
    } else if (route->body == JSON && !is_json(r)) {
        r->ops = &idle_request_ops;
        call_fail(call, 415, "Unsupported Media Type", NULL,
                  "Unsupported Media Type: Only 'application/json' is allowed");
    } else if (route->body == NONE) {
        r->ops = &idle_request_ops;
        route->answer(call, NULL);
    }
}

static void
answer_no_route(struct sim *sim, struct http_request *r, const struct route *same_path)
{
    static const char absent[] = "{\"detail\":\"Not Found\"}";
    static const char other_method[] = "{\"detail\":\"Method Not Allowed\"}";
    const char *body = same_path ? other_method : absent;
    unsigned status = same_path ? 405 : 404;
    char method[16], target[256];
    (void)snprintf(method, sizeof(method), "%.*s", (int)MIN(r->head.method_name.len, 15u),
                   r->head.bytes + r->head.method_name.at);
    (void)snprintf(target, sizeof(target), "%.*s", (int)MIN(r->head.target.len, 255u),
                   r->head.bytes + r->head.target.at);
    const struct traffic_event event = {
        .row = TRAFFIC_NONE,
        .path = "none",
        .method = same_path ? http_method_name(same_path->method) : "GET",
        .status = status,
        .response_bytes = strlen(body),
    };
    traffic_count(&sim->traffic, &event);
    say_access(sim, r, method, target, status);
    http_answer_begin(r, status);
    if (same_path)
        http_answer_field(r, "Allow", http_method_name(same_path->method));
    http_answer_field(r, "Content-Type", "application/json");
    http_answer_whole(r, body, strlen(body));
}

/* {name} in it stands for what is between its two ends: *ret_name. */
static bool
matches(const struct route *route, const char *path, size_t len, const char **ret_name,
        size_t *ret_len)
{
    const char *open = strchr(route->path, '{');
    *ret_name = path;
    *ret_len = 0;
    if (!open)
        return len == route->path_len && memcmp(path, route->path, len) == 0;
    const char *end = strchr(open, '}') + 1;
    size_t before = (size_t)(open - route->path), after = strlen(end);
    if (len <= before + after || memcmp(path, route->path, before) != 0 ||
        memcmp(path + len - after, end, after) != 0)
        return false;
    *ret_name = path + before;
    *ret_len = len - before - after;
    return !memchr(*ret_name, '/', *ret_len);
}

void
call_take(struct http_request *r)
{
    struct sim *sim = r->arg;
    const struct route *same_path = NULL;
    const char *path = r->head.bytes + r->head.path.at;
    for (const struct route *route = routes; route < routes + ARRAY_SIZE(routes); route++) {
        const char *name;
        size_t len;
        if (!matches(route, path, r->head.path.len, &name, &len) || !is_there(sim, route))
            continue;
        same_path = route;
        if (r->head.method == route->method) {
            begin_call(sim, r, route, name, len);
            return;
        }
    }
    answer_no_route(sim, r, same_path);
}

/* ---- small things ---- */

const char *
call_query(const struct call *call, const char *name, char *value, size_t room)
{
    size_t name_len = strlen(name);
    for (const char *p = call->query; *p;) {
        size_t len = strcspn(p, "&");
        if (len > name_len && memcmp(p, name, name_len) == 0 && p[name_len] == '=') {
            (void)snprintf(value, room, "%.*s", (int)(len - name_len - 1), p + name_len + 1);
            return value;
        }
        p += len;
        p += *p == '&';
    }
    return NULL;
}

void
call_make_id(struct sim *sim, const char *prefix, char id[CALL_ID_MAX])
{
    (void)snprintf(id, CALL_ID_MAX, sim->settings.release < 15 ? "%s%032" PRIx64 : "%s%016" PRIx64,
                   prefix, ++sim->ids);
}

uint64_t
call_wall_s(const struct call *call unused_arg)
{
    return clock_wall_us() / 1000000;
}
