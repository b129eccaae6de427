#include "gateway/span.h"

#include "base/buf.h"
#include "fmt/json.h"
#include "gateway/ledger.h"

#include <inttypes.h>
#include <stdio.h>

/* As OTLP numbers them. */
enum span_kind { SPAN_INTERNAL = 1, SPAN_SERVER = 2, SPAN_CLIENT = 3 };
enum { STATUS_ERROR = 2 };

struct span {
    struct json_writer w;
    const struct span_request *request;
};

/* ---- attributes ---- */

static void
open_attribute(struct span *s, const char *name)
{
    json_open_map(&s->w, NULL);
    json_str(&s->w, "key", name);
    json_open_map(&s->w, "value");
}

static void
close_attribute(struct span *s)
{
    json_close_map(&s->w);
    json_close_map(&s->w);
}

static void
add_text(struct span *s, const char *name, const char *value)
{
    if (!value || !value[0])
        return;
    open_attribute(s, name);
    json_str(&s->w, "stringValue", value);
    close_attribute(s);
}

/* Numbers of 64 bits are texts there. */
static void
print_u64(struct json_writer *w, const char *name, uint64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    json_str(w, name, text);
}

static void
add_u64(struct span *s, const char *name, uint64_t value)
{
    open_attribute(s, name);
    print_u64(&s->w, "intValue", value);
    close_attribute(s);
}

static void
add_bool(struct span *s, const char *name, bool value)
{
    open_attribute(s, name);
    json_bool(&s->w, "boolValue", value);
    close_attribute(s);
}

/* ---- one span ---- */

static void
open_span(struct span *s, const char *id, const char *parent, enum span_kind kind, const char *name)
{
    json_open_map(&s->w, NULL);
    json_str(&s->w, "traceId", s->request->trace->id);
    json_str(&s->w, "spanId", id);
    if (parent[0])
        json_str(&s->w, "parentSpanId", parent);
    json_u64(&s->w, "kind", kind);
    json_str(&s->w, "name", name);
}

/* Both since the head came. */
static void
add_times(struct span *s, uint64_t begin_us, uint64_t end_us)
{
    uint64_t since_us = s->request->row->time_us;
    print_u64(&s->w, "startTimeUnixNano", (since_us + begin_us) * 1000);
    print_u64(&s->w, "endTimeUnixNano", (since_us + MAX(begin_us, end_us)) * 1000);
}

/* A client that leaves is no error of ours, nor is one that asks for what cannot be. */
static bool
has_failed(const struct ledger_row *row)
{
    return row->end == LEDGER_ENGINE || row->status >= 500;
}

static void
close_span(struct span *s, bool failed)
{
    if (failed) {
        json_open_map(&s->w, "status");
        json_u64(&s->w, "code", STATUS_ERROR);
        json_close_map(&s->w);
    }
    json_close_map(&s->w);
}

/* ---- those of a request ---- */

static void
add_error(struct span *s)
{
    const struct ledger_row *row = s->request->row;
    char status[8];
    (void)snprintf(status, sizeof(status), "%u", row->status);
    if (row->end == LEDGER_ENGINE && row->status < 400)
        add_text(s, "error.type", "engine");
    else if (row->end == LEDGER_CLIENT || row->end == LEDGER_GATEWAY)
        add_text(s, "error.type", ledger_end_word(row->end));
    else if (row->status >= 400)
        add_text(s, "error.type", status);
}

static void
print_request(struct span *s)
{
    const struct span_request *r = s->request;
    const struct ledger_row *row = r->row;
    char name[128];
    (void)snprintf(name, sizeof(name), "%s %s", http_method_name(r->route->method), r->route->path);
    open_span(s, r->trace->span, r->trace->parent, SPAN_SERVER, name);
    add_times(s, 0, row->duration_us);
    json_open_list(&s->w, "attributes");
    add_text(s, "http.request.method", http_method_name(r->route->method));
    add_text(s, "http.route", r->route->path);
    if (row->status)
        add_u64(s, "http.response.status_code", row->status);
    add_text(s, "citadel.request.id", r->id);
    add_text(s, "citadel.request.end", ledger_end_word(row->end));
    add_text(s, "citadel.key.name", row->key ? row->key_name : NULL);
    add_text(s, "citadel.model", row->model);
    add_error(s);
    json_close_list(&s->w);
    close_span(s, has_failed(row));
}

static void
print_wait(struct span *s)
{
    const struct span_request *r = s->request;
    open_span(s, r->trace->wait, r->trace->span, SPAN_INTERNAL, "queue");
    bool was_asked = r->row->backend[0] && r->call_us >= r->wait_us;
    add_times(s, r->wait_us, was_asked ? r->call_us : r->row->duration_us);
    json_open_list(&s->w, "attributes");
    add_text(s, "citadel.backend", r->row->backend);
    json_close_list(&s->w);
    close_span(s, false);
}

/* In the words of the conventions; NULL: they have none for it. */
static const char *
operation_of(enum route_id id)
{
    static const char *const words[ROUTE_COUNT] = {
        [ROUTE_CHAT] = "chat",
        [ROUTE_RESPONSES] = "chat",
        [ROUTE_MESSAGES] = "chat",
        [ROUTE_COMPLETIONS] = "text_completion",
        [ROUTE_EMBEDDINGS] = "embeddings",
        [ROUTE_EMBED] = "embeddings",
    };
    return words[id];
}

static void
add_generation(struct span *s, const char *operation)
{
    const struct span_request *r = s->request;
    const struct ledger_row *row = r->row;
    add_text(s, "gen_ai.operation.name", operation);
    add_text(s, "gen_ai.provider.name", r->engine ? r->engine : "citadel");
    add_text(s, "gen_ai.request.model", r->model[0] ? r->model : row->model);
    add_text(s, "gen_ai.response.model", row->model);
    if (r->max_tokens)
        add_u64(s, "gen_ai.request.max_tokens", r->max_tokens);
    add_u64(s, "gen_ai.usage.input_tokens", row->tokens_in);
    add_u64(s, "gen_ai.usage.output_tokens", row->tokens_out);
    if (row->tokens_cached)
        add_u64(s, "gen_ai.usage.cache_read.input_tokens", row->tokens_cached);
}

static uint64_t
answer_end_of(const struct span_request *r)
{
    return r->answer_end_us ? r->answer_end_us : r->row->duration_us;
}

static void
print_call(struct span *s)
{
    const struct span_request *r = s->request;
    const char *operation = operation_of(r->route->id);
    char name[ASK_MODEL_MAX + 64];
    (void)snprintf(name, sizeof(name), "%s %s", operation ? operation : r->route->path,
                   r->row->model);
    open_span(s, r->trace->call, r->trace->span, SPAN_CLIENT, name);
    add_times(s, r->call_us, answer_end_of(r));
    json_open_list(&s->w, "attributes");
    if (operation)
        add_generation(s, operation);
    add_text(s, "citadel.backend", r->row->backend);
    add_bool(s, "citadel.usage.estimate", r->row->is_estimate);
    add_error(s);
    json_close_list(&s->w);
    close_span(s, has_failed(r->row));
}

static void
print_stream(struct span *s)
{
    const struct span_request *r = s->request;
    open_span(s, r->trace->stream, r->trace->call, SPAN_INTERNAL, "stream");
    add_times(s, r->row->first_us, answer_end_of(r));
    json_open_list(&s->w, "attributes");
    json_close_list(&s->w);
    close_span(s, false);
}

unsigned
span_print(const struct span_request *r, struct buf *out)
{
    const struct {
        void (*print)(struct span *s);
        bool is_there;
    } spans[SPANS_OF_REQUEST] = {
        {print_request, true},
        {print_wait, r->has_waited},
        {print_call, r->row->backend[0]},
        {print_stream, r->is_stream && r->row->first_us},
    };
    unsigned count = 0;
    for (size_t i = 0; i < ARRAY_SIZE(spans); i++) {
        struct span s = {.request = r};
        if (!spans[i].is_there)
            continue;
        if (count++ > 0)
            buf_add_char(out, ',');
        json_init(&s.w, out, false);
        spans[i].print(&s);
    }
    return count;
}
