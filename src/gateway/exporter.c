#include "gateway/exporter.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "fmt/json.h"
#include "gateway/papers.h"
#include "gateway/peer.h"
#include "gateway/span.h"
#include "http/client.h"
#include "http/tls.h"
#include "sys/loop.h"
#include "sys/resolve.h"
#include "sys/sock.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DELAY_US UINT64_C(1000000)
#define MANY_BYTES (128 * KIB)
#define TIMEOUT_US UINT64_C(10000000)
#define ANSWER_BYTES_MAX (64 * KIB)
#define HEAD_BYTES_MAX (4 * KIB)
#define HOST_NAME_BYTES 256

/* What goes into one request; so many spans. */
struct batch {
    struct buf spans; /* with commas between them */
    unsigned count;
};

struct exporter {
    struct loop *loop;
    void (*told)(void *arg, const struct err *trouble);
    void *arg;
    bool is_sick; /* and that was told */
    struct exporter_counts counts;
    struct buf head; /* of each request: before its spans */

    /* where they go */
    char *url; /* NULL: nowhere */
    struct peer_url at;
    char *path;
    char *authorization;
    struct tls_context *tls;
    struct http_client *client; /* NULL: its address is not known yet */
    bool must_resolve;
    struct resolve *resolve;

    struct batch next, sending;
    bool is_again; /* it is sent once more */
    struct http_call *call;
    uint64_t retry_after_s;  /* as the answer says; 0: it does not */
    struct loop_timer delay; /* for more to come */
    struct loop_timer again; /* for the collector */
    struct loop_timer limit; /* of a flush */
    bool is_flushing;
};

/* ---- the request ---- */

static void
add_text(struct json_writer *w, const char *name, const char *value)
{
    json_open_map(w, NULL);
    json_str(w, "key", name);
    json_open_map(w, "value");
    json_str(w, "stringValue", value);
    json_close_map(w);
    json_close_map(w);
}

/* Up to the list of spans, which `tail` closes with all around it. */
static const char tail[] = "]}]}]}";

static void
print_head(struct buf *head)
{
    char host[HOST_NAME_BYTES] = "";
    struct json_writer w;
    if (gethostname(host, sizeof(host) - 1) < 0)
        host[0] = '\0';
    json_init(&w, head, false);
    json_open_map(&w, NULL);
    json_open_list(&w, "resourceSpans");
    json_open_map(&w, NULL);
    json_open_map(&w, "resource");
    json_open_list(&w, "attributes");
    add_text(&w, "service.name", "citadel-gateway");
    add_text(&w, "service.version", CITADEL_VERSION);
    add_text(&w, "host.name", host);
    json_close_list(&w);
    json_close_map(&w);
    json_open_list(&w, "scopeSpans");
    json_open_map(&w, NULL);
    json_open_map(&w, "scope");
    json_str(&w, "name", "citadel.gateway");
    json_str(&w, "version", CITADEL_VERSION);
    json_close_map(&w);
    json_open_list(&w, "spans");
}

/* ---- what has come of it ---- */

static void send_next(struct exporter *e);

static void
tell(struct exporter *e, const struct err *trouble)
{
    if (e->is_sick == (trouble != NULL))
        return;
    e->is_sick = trouble;
    e->told(e->arg, trouble);
}

static void
forget(struct exporter *e, struct batch *batch, uint64_t *counter)
{
    *counter += batch->count;
    batch->count = 0;
    buf_finish(&batch->spans);
    e->is_again = false;
}

static void
give_up(struct exporter *e, const struct err *why)
{
    forget(e, &e->sending, &e->counts.lost);
    tell(e, why);
    send_next(e);
}

/* It may be taken later. */
static void
try_again(struct exporter *e, const struct err *why)
{
    uint64_t asked_us = MIN(e->retry_after_s, (uint64_t)EXPORTER_AGAIN_MAX_S) * 1000000;
    if (e->is_again || e->is_flushing) {
        give_up(e, why);
        return;
    }
    e->is_again = true;
    loop_timer_start(e->loop, &e->again, MAX(asked_us, EXPORTER_AGAIN_US), 0);
}

/* {"partialSuccess": {"rejectedSpans": "3"}}: numbers of 64 bits are texts, or not. */
static unsigned
read_rejected(const struct buf *answer, unsigned most)
{
    _cleanup_arena_ struct arena arena;
    struct value *tree = NULL;
    uint64_t count = 0;
    arena_init(&arena, 4 * ANSWER_BYTES_MAX);
    if (json_parse(&arena, answer->data, answer->len, JSON_STRICT, &tree, NULL, NULL) < 0)
        return 0;
    const struct value *partial = value_get(tree, "partialSuccess");
    const struct value *rejected = partial ? value_get(partial, "rejectedSpans") : NULL;
    if (rejected && (rejected->type == VALUE_STRING || rejected->type == VALUE_NUMBER))
        count = strtoull(rejected->text, NULL, 10);
    return (unsigned)MIN(count, (uint64_t)most);
}

static void
take_answer(struct exporter *e, const struct http_call *call)
{
    unsigned rejected = read_rejected(&call->content, e->sending.count);
    struct err why;
    e->sending.count -= rejected;
    e->counts.lost += rejected;
    forget(e, &e->sending, &e->counts.sent);
    (void)err_set(&why, ERR_HTTP_ANSWER, "%s has refused %u spans", e->at.authority, rejected);
    tell(e, rejected ? &why : NULL);
    send_next(e);
}

static void
on_head(struct http_call *call)
{
    struct exporter *e = call->user;
    e->retry_after_s = http1_retry_after_s(&call->head);
}

static void
on_finished(struct http_call *call, const struct err *error)
{
    struct exporter *e = call->user;
    unsigned status = call->head.status;
    bool is_later = status == 429 || status == 502 || status == 503 || status == 504;
    struct err why;
    e->call = NULL;
    e->must_resolve = error && error->id == ERR_HTTP_CONNECT && !e->at.is_ip;
    if (error) {
        try_again(e, error);
        return;
    }
    if (status >= 200 && status < 300) {
        take_answer(e, call);
        return;
    }
    (void)err_set(&why, ERR_HTTP_ANSWER, "%s has answered with %u", e->at.authority, status);
    if (is_later)
        try_again(e, &why);
    else
        give_up(e, &why);
}

/* ---- sending ---- */

static void
call_it(struct exporter *e)
{
    static const struct http_call_ops ops = {.head = on_head, .finished = on_finished};
    e->retry_after_s = 0;
    e->call = http_call_new(e->client, "POST", e->path, &ops, e);
    http_call_field(e->call, "Content-Type", "application/json");
    if (e->authorization)
        http_call_field(e->call, "Authorization", e->authorization);
    http_call_length(e->call, e->head.len + e->sending.spans.len + sizeof(tail) - 1);
    (void)http_call_write(e->call, e->head.data, e->head.len);
    (void)http_call_write(e->call, e->sending.spans.data, e->sending.spans.len);
    (void)http_call_write(e->call, tail, sizeof(tail) - 1);
    http_call_end(e->call);
}

static int
find_client(struct exporter *e, const char *ip, struct err *reterr)
{
    struct http_client_config config = http_client_config_default;
    sock_addr_text address;
    (void)sock_ip_print(ip, e->at.port, address);
    if (e->client)
        return http_client_move(e->client, address, reterr);
    config.total_us = TIMEOUT_US;
    config.body_bytes_max = ANSWER_BYTES_MAX;
    config.request_bytes_max = EXPORTER_BYTES_MAX + 2 * HEAD_BYTES_MAX;
    config.idle_max = 1;
    int r = http_client_new(e->loop, address, e->at.authority, &config, &e->client, reterr);
    if (r == 0 && e->tls)
        http_client_speak_tls(e->client, e->tls, e->at.host);
    return r;
}

static void
on_resolved(void *arg, const char *ip, const char *why)
{
    struct exporter *e = arg;
    struct err error = {0};
    e->resolve = NULL;
    if (!ip)
        (void)err_set(&error, ERR_HTTP_CONNECT, "there is no address of %s: %s", e->at.host, why);
    else if (find_client(e, ip, &error) == 0)
        e->must_resolve = false;
    if (error.id == ERR_NONE)
        call_it(e);
    else
        try_again(e, &error);
}

static void
set_out(struct exporter *e)
{
    if (e->must_resolve)
        e->resolve = resolve_begin(e->loop, e->at.host, on_resolved, e);
    else
        call_it(e);
}

static void
on_again(struct loop_timer *timer)
{
    set_out(container_of(timer, struct exporter, again));
}

static void
send_now(struct exporter *e)
{
    if (e->sending.count || !e->next.count)
        return;
    loop_timer_stop(&e->delay);
    e->sending = e->next;
    e->next = (struct batch){.spans = BUF_INIT(EXPORTER_BYTES_MAX)};
    set_out(e);
}

static void
on_delay(struct loop_timer *timer)
{
    send_now(container_of(timer, struct exporter, delay));
}

/* When there is enough for a request, or after a while. */
static void
send_next(struct exporter *e)
{
    if (e->is_flushing && !e->next.count)
        loop_stop(e->loop);
    else if (e->is_flushing || e->next.spans.len >= MANY_BYTES)
        send_now(e);
    else if (e->next.count && !loop_timer_is_set(&e->delay))
        loop_timer_start(e->loop, &e->delay, DELAY_US, 0);
}

static void
tell_full(struct exporter *e)
{
    struct err full;
    (void)err_set(&full, ERR_HTTP_ANSWER, "%s is too slow for as many spans as there are",
                  e->at.authority);
    tell(e, &full);
}

void
exporter_add(struct exporter *e, const struct span_request *request)
{
    struct buf *spans = &e->next.spans;
    size_t before = spans->len;
    if (!e->url)
        return;
    if (before)
        buf_add_char(spans, ',');
    unsigned count = span_print(request, spans);
    if (buf_error(spans) < 0) {
        buf_truncate(spans, before);
        e->counts.lost += count;
        tell_full(e);
    } else {
        e->next.count += count;
    }
    if (!e->sending.count)
        send_next(e);
}

/* ---- where ---- */

static void
stop_sending(struct exporter *e)
{
    loop_timer_stop(&e->delay);
    loop_timer_stop(&e->again);
    resolve_forget(take_ptr(e->resolve));
    if (e->call)
        http_call_cancel(take_ptr(e->call));
}

static void
leave_place(struct exporter *e)
{
    stop_sending(e);
    http_client_free(take_ptr(e->client));
    tls_context_free(take_ptr(e->tls));
    if (e->authorization)
        explicit_bzero(e->authorization, strlen(e->authorization));
    free(take_ptr(e->authorization));
    free(take_ptr(e->path));
    free(take_ptr(e->url));
}

static int
enter_place(struct exporter *e, const struct exporter_place *place, struct err *reterr)
{
    e->url = mem_strdup(place->url);
    int r = peer_read_url("gateway.trace_url", e->url, &e->at, reterr);
    if (r < 0)
        return r;
    e->path = e->at.base_len ? mem_strndup(e->at.base, e->at.base_len) : mem_strdup("/v1/traces");
    if (secret_is_set(&place->papers->key))
        e->authorization = mem_printf("Bearer %s", secret_reveal(&place->papers->key));
    e->tls = take_ptr(place->papers->tls);
    e->must_resolve = !e->at.is_ip;
    return e->at.is_ip ? find_client(e, e->at.host, reterr) : 0;
}

int
exporter_aim(struct exporter *e, const struct exporter_place *place, struct err *reterr)
{
    leave_place(e);
    e->is_sick = false;
    int r = place->url ? enter_place(e, place, reterr) : 0;
    if (r < 0)
        leave_place(e);
    if (!e->url) {
        forget(e, &e->sending, &e->counts.lost);
        forget(e, &e->next, &e->counts.lost);
    } else if (e->sending.count) {
        set_out(e);
    } else {
        send_next(e);
    }
    return r;
}

bool
exporter_is_on(const struct exporter *e)
{
    return e && e->url;
}

const char *
exporter_authority(const struct exporter *e)
{
    return e->at.authority;
}

/* ---- a life ---- */

struct exporter *
exporter_new(struct loop *loop, void (*told)(void *arg, const struct err *trouble), void *arg)
{
    struct exporter *e = mem_new(struct exporter);
    e->loop = loop;
    e->told = told;
    e->arg = arg;
    e->delay.expired = on_delay;
    e->again.expired = on_again;
    buf_init(&e->head, HEAD_BYTES_MAX);
    buf_init(&e->next.spans, EXPORTER_BYTES_MAX);
    buf_init(&e->sending.spans, EXPORTER_BYTES_MAX);
    print_head(&e->head);
    return e;
}

static void
on_limit(struct loop_timer *timer)
{
    loop_stop(container_of(timer, struct exporter, limit)->loop);
}

void
exporter_flush(struct exporter *e, uint64_t limit_us)
{
    if (!e || !e->url || (!e->sending.count && !e->next.count))
        return;
    e->is_flushing = true;
    e->limit.expired = on_limit;
    loop_timer_start(e->loop, &e->limit, limit_us, 0);
    if (loop_timer_is_set(&e->again)) { /* there is no time for that */
        loop_timer_stop(&e->again);
        set_out(e);
    } else {
        send_now(e);
    }
    loop_run(e->loop);
    loop_timer_stop(&e->limit);
    e->is_flushing = false;
}

void
exporter_free(struct exporter *e)
{
    if (!e)
        return;
    leave_place(e);
    buf_finish(&e->next.spans);
    buf_finish(&e->sending.spans);
    buf_finish(&e->head);
    free(e);
}

const struct exporter_counts *
exporter_counts(const struct exporter *e)
{
    return &e->counts;
}
