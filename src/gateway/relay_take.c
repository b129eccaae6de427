/* What a request says, from its head to the end of its body, until it claims what it
 * may take; and how it ends. */

#include "config/config.h"
#include "gateway/exporter.h"
#include "gateway/header.h"
#include "gateway/multipart.h"
#include "gateway/peer.h"
#include "gateway/problem.h"
#include "gateway/relay_int.h"
#include "sys/log.h"

#include <stdlib.h>
#include <string.h>

#define CHANGES_BYTES_MAX (64 * KIB) /* of a request, beside its head */
/* Of a client that names its talk there. */
#define SESSION_FIELD "X-Session-Id"

/* ---- the end ---- */

void
passage_drop_question(struct passage *p)
{
    struct question *q = p->question;
    if (!q)
        return;
    passage_drop_room(p);
    p->question = NULL;
    body_finish(&q->body);
    free(q->form);
    ask_finish(&q->ask);
    arena_finish(&q->arena);
    free(q);
}

/* What this host could not do, or did not wait for, is no fault of the engine that was asked; nor
 * is it that the client was refused behind it: for a key that has ended, or a queue that is full.
 */
enum ledger_end
passage_blames(const struct passage *p, const struct err *error)
{
    bool is_ours = error->id == ERR_SPOOL || error->id == ERR_SYSTEM ||
                   error->id == ERR_KEYS_UNWRITTEN || error->id == ERR_GATEWAY_STOPPED;
    if (is_ours)
        return LEDGER_GATEWAY;
    bool is_engines =
        error->id == ERR_ENGINE_LOST || error->id == ERR_ENGINE_LATE || error->id == ERR_MODEL_AWAY;
    return is_engines && p->account.row.backend[0] ? LEDGER_ENGINE : LEDGER_REFUSED;
}

#define DISK_AGAIN_S 5 /* when to come again with a body that the disk did not take */

void
passage_fail(struct passage *p, const struct err *error)
{
    if (error->id == ERR_SPOOL)
        p->retry_after_s = DISK_AGAIN_S;
    else if (error->id == ERR_GATEWAY_STOPPED)
        p->retry_after_s = REPLY_NEXT_S;
    bool is_told = p->state == PASSAGE_TOLD;
    assert(p->state <= PASSAGE_TOLD);
    p->state = PASSAGE_FAILED;
    p->account.row.status = problem_status(error);
    p->account.row.end = passage_blames(p, error);
    passage_progress_stop(p);
    if (is_told)
        passage_told_fail(p, error);
    else
        reply_problem(p->request, p->route->dialect, error, &p->reply, p->retry_after_s, NULL);
    passage_drop_question(p); /* which may have the error */
}

/* The gateway ends: its client hears so as of an engine that died. All hear it in one pass, so that
 * no engine is asked for who comes after whom. */
static void
on_dismissed(struct http_request *r)
{
    struct passage *p = r->user;
    struct err error;
    if (p->state == PASSAGE_FAILED || p->state >= PASSAGE_OWES)
        return;
    (void)err_set(&error, ERR_GATEWAY_STOPPED, "the gateway was stopped before %s",
                  passage_has_begun(p) ? "the answer was complete" : "the request was answered");
    err_fix(&error, "ask again in a few seconds: it may only be started anew");
    passage_break_off(p, &error);
}

static void
on_finished(struct http_request *r, bool answered)
{
    struct passage *p = r->user;
    passage_progress_stop(p);
    passage_account_end(p, answered);
    visit_end(&p->visit, p->reads ? &p->usage.usage : NULL, passage_took(p));
    passage_drop_question(p);
    passage_leave(p);
    if (p->reads)
        usage_finish(&p->usage);
    buf_finish(&p->refusal);
    arena_finish(&p->arena);
    free(p->traced);
    routing_drop(p->routing);
    relay_leave(p->relay);
    free(p);
}

/* ---- what is asked for ---- */

static int
read_ask(struct question *q, struct err *reterr)
{
    if (!q->form)
        return ask_end(&q->ask, reterr);
    int r = multipart_end(q->form, reterr);
    return r < 0 ? r : ask_read_form(&q->ask, q->form, reterr);
}

/* Chunks with usage are asked for where an engine is known to take the option. */
static bool
lacks_usage(const struct passage *p)
{
    bool knows = p->route->id == ROUTE_CHAT || p->route->id == ROUTE_COMPLETIONS;
    return knows && p->question->ask.stream && !p->question->ask.include_usage;
}

static void
note_ask(struct traced *t, const struct ask *ask)
{
    memcpy(t->model, ask->model, sizeof(t->model));
    t->max_tokens = ask->max_tokens;
}

/* Once until it does something again. Where it is, no client has to know. */
static void
tell_disk(struct passage *p, const struct err *error)
{
    bool was_sick = p->relay->is_disk_sick;
    if (error && error->id != ERR_SPOOL)
        return;
    p->relay->is_disk_sick = error;
    if (error && !was_sick)
        log_error("%s; `df %s` shows what is free there", error->what, p->routing->spool);
}

static const struct key *
key_of(const struct passage *p)
{
    return p->reply.caller ? holder_key(p->reply.caller) : NULL;
}

static void
on_complete(struct http_request *r)
{
    struct passage *p = r->user;
    struct question *q = p->question;
    struct err error;
    passage_works(p);
    if (read_ask(q, &error) < 0 || passage_check_previous(p, &error) < 0 ||
        target_find(p->routing->targets, key_of(p), q->ask.model, &p->asked, &error) < 0) {
        passage_fail(p, &error);
        return;
    }
    q->adds_usage = lacks_usage(p);
    p->asks_background = p->route->id == ROUTE_RESPONSES && q->ask.background;
    p->transcript = transcript_begin(p->relay->transcripts, q->form ? NULL : &q->body);
    if (p->traced)
        note_ask(p->traced, &q->ask);
    passage_claim(p);
    passage_waits(p);
}

static void
on_complete_stored(struct http_request *r)
{
    struct passage *p = r->user;
    struct err error;
    passage_works(p);
    if (passage_find_stored(p, &error) < 0) {
        passage_fail(p, &error);
        return;
    }
    passage_claim(p);
    passage_waits(p);
}

/* ---- the body ---- */

static void
on_body(struct http_request *r, const char *bytes, size_t len)
{
    struct passage *p = r->user;
    struct question *q = p->question;
    struct err error;
    int e = passage_reserve(p, q->body.len + len, &error);
    if (e == 0 && q->form)
        e = multipart_read(q->form, bytes, len, &error);
    if (e == 0 && q->ask.places)
        e = ask_read(&q->ask, bytes, len, &error);
    if (e == 0)
        e = body_add(&q->body, bytes, len, &error);
    if (e < 0) {
        tell_disk(p, &error);
        passage_fail(p, &error);
    } else if (body_is_ahead(&q->body)) {
        http_request_pause(r);
    }
}

/* The disk has done something for the body, or cannot. */
static void
on_body_ready(struct body *body, const struct err *error)
{
    struct passage *p = body->user;
    tell_disk(p, error);
    if (p->state >= PASSAGE_OWES) /* the answer has ended before all was sent */
        return;
    passage_works(p);
    if (error)
        passage_break_off(p, error);
    else if (p->state == PASSAGE_COLLECTS)
        passage_kept(p);
    else
        passage_send(p);
    passage_waits(p);
}

static void
on_writable(struct http_request *r)
{
    passage_go_on(r->user);
}

/* ---- the head ---- */

static void
carry(struct question *q, const char *name, size_t name_len, const char *value, size_t value_len)
{
    struct carried *c = arena_new(&q->arena, struct carried);
    if (!c)
        return;
    c->name = arena_strndup(&q->arena, name, name_len);
    c->value = arena_strndup(&q->arena, value, value_len);
    c->next = q->carried;
    q->carried = c;
}

/* The client's trace goes on as it came; or with our part in it, where somebody is told of that. */
static void
carry_trace(struct passage *p, const struct http1_head *head)
{
    static const char name[] = "traceparent", state_name[] = "tracestate";
    const struct http1_field *field = http1_find(head, HTTP_FIELD_TRACEPARENT);
    const struct http1_field *state = http1_find_other(head, state_name);
    const char *bytes = head->bytes, *parent = NULL;
    if (field && trace_is_parent(bytes + field->value.at, field->value.len))
        parent = bytes + field->value.at;
    if (exporter_is_on(p->relay->exporter) && (!parent || trace_is_sampled(parent)))
        p->traced = mem_new(struct traced);
    if (p->traced)
        trace_begin(&p->traced->trace, parent);
    else if (parent)
        carry(p->question, name, sizeof(name) - 1, parent, field->value.len);
    if (parent && state)
        carry(p->question, state_name, sizeof(state_name) - 1, bytes + state->value.at,
              state->value.len);
}

/* A body that was read as JSON is told to be that, whatever the client calls it: some say
 * nothing. An engine may keep pages of browsers out by that type; here who may ask is known by
 * the key, or without keys by the page itself (role/gateway_http.c). */
static void
carry_head(struct passage *p, const struct http1_head *head)
{
    static const char type[] = "Content-Type", json[] = "application/json";
    bool is_json = p->route->body == ROUTE_BODY_JSON;
    for (unsigned i = head->field_count; i-- > 0;) {
        const struct http1_field *f = &head->fields[i];
        const char *name = head->bytes + f->name.at;
        if (header_passes(HEADER_TO_ENGINE, name, f->name.len) && !http1_is_hop(head, f) &&
            !(is_json && f->id == HTTP_FIELD_CONTENT_TYPE))
            carry(p->question, name, f->name.len, head->bytes + f->value.at, f->value.len);
    }
    if (is_json)
        carry(p->question, type, sizeof(type) - 1, json, sizeof(json) - 1);
}

static int
open_form(struct question *q, const struct http1_head *head, struct err *reterr)
{
    const struct http1_field *type = http1_find(head, HTTP_FIELD_CONTENT_TYPE);
    q->form = mem_new(struct multipart);
    return multipart_init(q->form, type ? head->bytes + type->value.at : "",
                          type ? type->value.len : 0, reterr);
}

static int
read_head(struct passage *p, const struct http1_head *head, struct err *reterr)
{
    struct question *q = p->question;
    int r = passage_reserve(p, head->content_length, reterr);
    if (r == 0 && p->route->body == ROUTE_BODY_FORM)
        r = open_form(q, head, reterr);
    carry_head(p, head);
    carry_trace(p, head);
    p->is_from_peer = http1_find_other(head, PEER_FIELD) != NULL;
    const struct http1_field *session = http1_find_other(head, SESSION_FIELD);
    if (session)
        q->session = arena_strndup(&q->arena, head->bytes + session->value.at, session->value.len);
    if (r == 0 && (q->arena.full || p->arena.full))
        r = err_set(reterr, ERR_TOO_LARGE, "the headers are larger than may be passed on");
    return r;
}

static void
read_path(struct passage *p, const struct http1_head *head, const struct route_found *found)
{
    const char *bytes = head->bytes;
    p->question->path = found->route->path;
    if (found->route->answers != ROUTE_BY_STORED)
        return;
    p->stored_id = arena_strndup(&p->arena, found->part, found->part_len);
    p->question->path =
        arena_printf(&p->question->arena, "%.*s%s%.*s", (int)head->path.len, bytes + head->path.at,
                     head->query.len ? "?" : "", (int)head->query.len, bytes + head->query.at);
}

static struct question *
begin_question(struct passage *p)
{
    const struct routing *routing = p->routing;
    const struct config_gateway_limits *limits = &routing->config->gateway.limits;
    struct question *q = mem_new(struct question);
    arena_init(&q->arena, (size_t)limits->header_bytes + CHANGES_BYTES_MAX);
    body_init(&q->body, p->relay->spool, routing->spool, limits->body_bytes);
    q->body.ready = on_body_ready;
    q->body.user = p;
    if (p->route->body == ROUTE_BODY_JSON)
        ask_begin(&q->ask, routing->members.items, routing->members.count);
    return q;
}

void
relay_take(struct relay *relay, struct http_request *r, const struct route_found *found,
           const struct reply *reply)
{
    static const struct http_request_ops ops = {.body = on_body,
                                                .complete = on_complete,
                                                .writable = on_writable,
                                                .dismissed = on_dismissed,
                                                .finished = on_finished},
                                         stored_ops = {.body = on_body,
                                                       .complete = on_complete_stored,
                                                       .writable = on_writable,
                                                       .dismissed = on_dismissed,
                                                       .finished = on_finished};
    struct passage *p = mem_new(struct passage);
    struct err error;
    r->ops = found->route->answers == ROUTE_BY_STORED ? &stored_ops : &ops;
    r->user = p;
    r->body_bytes_max = UINT64_MAX; /* ours is smaller, and said in the shape of the API */
    p->relay = relay;
    p->routing = routing_hold(relay->routing);
    p->request = r;
    p->route = found->route;
    p->visit.ops = &passage_visit_ops;
    p->visit.user = p;
    p->reply = *reply;
    arena_init(&p->arena, p->routing->config->gateway.limits.header_bytes + KIB);
    p->question = begin_question(p);
    relay_enter(relay);
    read_path(p, &r->head, found);
    passage_account_begin(p);
    if (passage_enter(p, &error) < 0) {
        passage_fail(p, &error);
        return;
    }
    int e = read_head(p, &r->head, &error);
    passage_begin_claim(p); /* also of a head that is wrong: it counts */
    if (e < 0 && p->state != PASSAGE_FAILED)
        passage_fail(p, &error);
}
