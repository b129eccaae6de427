/* From the slot to the last byte: the request goes out, the answer goes through. */

#include "config/config.h"
#include "gateway/header.h"
#include "gateway/problem.h"
#include "gateway/relay_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#define SEND_BYTES (256 * KIB) /* of a body at a time, so that it is not held twice */
#define LOSSES_MAX 1           /* of servers that had a request, before it goes to no other */

static void end_answer(struct passage *p, const struct err *error);

/* ---- out ---- */

void
passage_break_off(struct passage *p, const struct err *error)
{
    visit_end(&p->visit, NULL, 0);
    if (passage_has_begun(p))
        end_answer(p, error);
    else
        passage_fail(p, error);
}

/* What the disk has to fetch is sent when it is there. The last bytes are taken whatever waits
 * before them: so that they are the last is said at once, and once. */
void
passage_send(struct passage *p)
{
    struct question *q = p->question;
    struct sending *s = q ? q->sending : NULL;
    struct http_call *call = p->visit.call;
    if (!s || !call || s->is_ended)
        return;
    for (bool goes_on = true; s->piece < s->count;) {
        const struct patch_piece *piece = &s->pieces[s->piece];
        size_t len = MIN(piece->len - s->at, (size_t)SEND_BYTES);
        const char *bytes = piece->put ? piece->put + s->at : "";
        if (!goes_on)
            return;
        if (!piece->put && len > 0)
            bytes = body_look(&q->body, piece->at + s->at, len, &len);
        if (!bytes)
            return;
        goes_on = http_call_write(call, bytes, len);
        s->at += len;
        if (s->at == piece->len) {
            s->piece++;
            s->at = 0;
        }
    }
    s->is_ended = true;
    http_call_end(call);
    if (passage_has_begun(p))
        passage_drop_question(p);
}

static void
on_call_writable(struct http_call *call)
{
    struct visit *v = call->user;
    passage_send(v->user);
}

/* ---- the head of the answer ---- */

static bool
is_type(const struct http1_head *head, const char *type)
{
    const struct http1_field *field = http1_find(head, HTTP_FIELD_CONTENT_TYPE);
    size_t len = strlen(type);
    return field && field->value.len >= len &&
           strncasecmp(head->bytes + field->value.at, type, len) == 0;
}

/* What is no number of seconds says nothing, as where we try again ourselves. */
static void
pass_retry_after(struct passage *p, const struct http1_head *head)
{
    uint64_t seconds = http1_retry_after_s(head);
    char text[24];
    if (seconds == 0)
        return;
    (void)snprintf(text, sizeof(text), "%" PRIu64, seconds);
    http_answer_field(p->request, "Retry-After", text);
}

static void
begin_answer(struct passage *p, const struct http1_head *head)
{
    p->account.row.status = head->status;
    reply_begin(p->request, head->status, &p->reply);
    if (p->target != p->asked)
        http_answer_field(p->request, "X-Citadel-Fallback", p->target->name);
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct http1_field *f = &head->fields[i];
        char name[64];
        if (f->name.len >= sizeof(name) ||
            !header_passes(HEADER_TO_CLIENT, head->bytes + f->name.at, f->name.len) ||
            http1_is_hop(head, f))
            continue;
        memcpy(name, head->bytes + f->name.at, f->name.len);
        name[f->name.len] = '\0';
        http_answer_field_n(p->request, name, head->bytes + f->value.at, f->value.len);
    }
    pass_retry_after(p, head);
    if (head->framing == HTTP1_LENGTH && !p->is_stream)
        http_answer_length(p->request, head->content_length);
    else
        http_answer_stream(p->request);
}

/* What another host does not serve, though its peers say so. */
static bool
is_unknown_there(const struct passage *p, unsigned status)
{
    return status == 404 && !p->stored_id && backend_is_peer(p->visit.backend);
}

/* Who says 503 has not begun on the request; 502: it ended somebody behind him, and behind another
 * gateway as many as may be. With 504, somebody may still be at it. */
static bool
goes_on_to_another(struct passage *p, const struct http_call *call)
{
    unsigned status = call->head.status;
    p->question->losses += call->sent_anew;
    if (status == 502)
        p->question->losses += backend_is_peer(p->visit.backend) ? LOSSES_MAX + 1 : 1;
    bool may_go_on = status == 502 || status == 503 || is_unknown_there(p, status);
    return may_go_on && p->question->losses <= LOSSES_MAX && passage_has_other(p);
}

/* It is our key that the server does not take, or no key of ours: nothing that the client has
 * shown. Nobody has worked on the request. */
static bool
is_refused_to_us(unsigned status)
{
    return status == 401 || status == 403;
}

static void
end_refused_to_us(struct passage *p, unsigned status)
{
    visit_refuses_us(&p->visit, status, &p->question->why);
    p->retry_after_s = 0;
    visit_end(&p->visit, NULL, 0);
    passage_try(p);
}

/* Nor does it know of any limit of the client's: it has too much to do, or
 * waited for the body too long. */
static bool
is_too_much_for_it(unsigned status)
{
    return status == 429 || status == 408;
}

static void
end_too_much_for_it(struct passage *p, const struct http1_head *head)
{
    const char *name = backend_name(p->visit.backend);
    (void)err_set(&p->question->why, ERR_MODEL_AWAY,
                  "%s takes no more from this gateway now: it answered %u", name, head->status);
    p->retry_after_s = http1_retry_after_s(head);
    visit_end(&p->visit, NULL, 0);
    passage_try(p);
}

static bool
is_all_sent(const struct passage *p)
{
    const struct sending *s = p->question->sending;
    return !s || s->is_ended;
}

static void
take_head(struct passage *p, struct http_call *call)
{
    struct visit *v = &p->visit;
    visit_heard(v);
    if (is_refused_to_us(call->head.status)) {
        end_refused_to_us(p, call->head.status);
        return;
    }
    if (is_too_much_for_it(call->head.status)) {
        end_too_much_for_it(p, &call->head);
        return;
    }
    if (goes_on_to_another(p, call)) {
        (void)err_set(&p->question->why, ERR_MODEL_AWAY, "%s cannot answer now", p->target->name);
        p->retry_after_s = 0;
        visit_end(v, NULL, 0);
        passage_try(p);
        return;
    }
    bool is_told = p->state == PASSAGE_TOLD;
    p->state = PASSAGE_PASSES;
    passage_progress_stop(p);
    p->relay->counts.fallbacks += p->target != p->asked;
    p->is_stream = is_type(&call->head, "text/event-stream");
    if (is_told)
        passage_told_head(p, &call->head);
    p->reads = p->is_stream || (!is_told && is_type(&call->head, "application/json"));
    if (p->reads) {
        usage_init(&p->usage, p->route->dialect, p->is_stream ? USAGE_EVENTS : USAGE_JSON,
                   p->question->adds_usage);
        passage_bound_usage(p);
    }
    p->reads_id = p->route->id == ROUTE_RESPONSES && call->head.status == 200;
    if (p->route->id == ROUTE_RESPONSE_DELETE && call->head.status / 100 == 2)
        passage_forget(p);
    p->hears = p->transcript && (p->reads || is_type(&call->head, "text/"));
    if (is_all_sent(p)) /* some answer before they have read all */
        passage_drop_question(p);
    if (!is_told)
        begin_answer(p, &call->head);
}

static void
on_call_head(struct http_call *call)
{
    struct visit *v = call->user;
    passage_works(v->user);
    take_head(v->user, call);
    passage_waits(v->user);
}

/* ---- the bytes ---- */

static bool
pass(struct passage *p, const char *bytes, size_t len)
{
    if (p->hears && len > 0)
        transcript_hear(p->transcript, bytes, len);
    return len == 0 || http_answer_write(p->request, bytes, len);
}

/* Of what a key pays for the client has the whole when it is paid, and not before. */
static bool
pass_but_last(struct passage *p, const char *bytes, size_t len)
{
    if (len == 0 || p->is_stream || !p->reply.caller)
        return pass(p, bytes, len);
    bool goes_on = pass(p, &p->last, p->has_last);
    goes_on &= pass(p, bytes, len - 1);
    p->last = bytes[len - 1];
    p->has_last = true;
    return goes_on;
}

/* However often it does. */
static void
note_held(struct passage *p)
{
    p->relay->counts.held += !p->is_held;
    p->is_held = true;
}

static void
on_call_body(struct http_call *call, const char *bytes, size_t len)
{
    struct visit *v = call->user;
    struct passage *p = v->user;
    if (p->reads_id && stored_read(&p->id_reader, bytes, len))
        passage_store(p);
    visit_passes(v, p->is_stream);
    if (p->state == PASSAGE_REFUSED) {
        buf_add(&p->refusal, bytes, len);
        return;
    }
    if (!p->account.row.first_us)
        passage_works(p);
    p->unread_bytes += p->reads ? 0 : len;
    bool goes_on = p->reads || pass(p, bytes, len);
    if (!p->account.row.first_us)
        p->account.row.first_us = loop_now_us(p->relay->loop) - p->account.since_us;
    for (size_t used; p->reads && len > 0; bytes += used, len -= used) {
        struct usage_piece piece;
        usage_read(&p->usage, bytes, len, &used, &piece);
        goes_on &= pass_but_last(p, piece.bytes, piece.len);
    }
    passage_waits(p);
    if (!goes_on)
        note_held(p);
    goes_on &= !p->is_stream || passage_pays(p);
    if (!goes_on)
        http_call_pause(call);
}

static void
end_whole(struct passage *p)
{
    (void)pass(p, &p->last, p->has_last);
    p->has_last = false;
    http_answer_end(p->request);
}

/* It is over for its client when it is paid for. */
static void
end_paid(struct passage *p)
{
    if (passage_pays(p))
        end_whole(p);
    else
        p->state = PASSAGE_OWES;
}

void
passage_go_on(struct passage *p)
{
    if (claim_owes(&p->account.claim))
        return;
    if (p->visit.call) {
        http_call_resume(p->visit.call);
    } else if (p->state == PASSAGE_OWES) {
        p->state = PASSAGE_OVER;
        end_whole(p);
    }
}

/* ---- the end ---- */

/* Whole as HTTP has it, and yet not: a stream that lacks what ends it. */
static bool
is_cut(const struct passage *p)
{
    return p->is_stream && !p->usage.complete && !p->usage.failed;
}

/* An answer has no end. */
static void
blame(struct passage *p, const struct err *error)
{
    p->account.row.end = passage_blames(p, error);
    p->relay->counts.cut += p->account.row.end == LEDGER_ENGINE;
}

static void
end_stream(struct passage *p, const struct err *error)
{
    _cleanup_buf_ struct buf event = BUF_INIT(PROBLEM_MAX);
    struct usage_piece rest;
    usage_end(&p->usage, &rest);
    (void)pass(p, rest.bytes, rest.len);
    if (error || is_cut(p)) {
        struct err lost;
        (void)err_set(&lost, ERR_ENGINE_LOST, "%s ended before its answer was complete",
                      p->target->name);
        blame(p, error ? error : &lost);
        problem_write_event(&event, p->route->dialect, error ? error : &lost, p->reply.id,
                            p->usage.events);
        (void)pass(p, event.data, event.len);
    }
    end_paid(p);
}

static void
end_answer(struct passage *p, const struct err *error)
{
    bool is_refused = p->state == PASSAGE_REFUSED;
    p->state = PASSAGE_OVER;
    if (p->traced)
        p->traced->answer_end_us = loop_now_us(p->relay->loop) - p->account.since_us;
    if (is_refused) {
        if (error)
            p->account.row.end = passage_blames(p, error);
        passage_told_end(p, error);
    } else if (p->is_stream) {
        end_stream(p, error);
    } else if (error) {
        blame(p, error);
        http_answer_cut(p->request);
    } else {
        end_paid(p);
    }
}

/* Whether the request may be asked for once more. Of a call that was sent anew, either time may
 * have been the end of who had it. */
static bool
may_ask_again(struct passage *p, enum visit_outcome outcome, const struct http_call *call)
{
    if (outcome == VISIT_LOST)
        p->question->losses += call->sent_anew && call->phase != HTTP_PHASE_CONNECT ? 2 : 1;
    return outcome == VISIT_NOT_BEGUN ||
           (outcome == VISIT_LOST && p->question->losses <= LOSSES_MAX);
}

static void
on_call_finished(struct http_call *call, const struct err *error)
{
    struct visit *v = call->user;
    struct passage *p = v->user;
    struct err told;
    enum visit_outcome outcome = visit_told(v, error, &told);
    if (passage_has_begun(p)) {
        end_answer(p, error ? &told : NULL);
        visit_end(v, p->reads ? &p->usage.usage : NULL, passage_took(p));
        return;
    }
    assert(error); /* no answer is whole that has not begun */
    p->question->why = told;
    p->retry_after_s = 0;
    visit_end(v, NULL, 0);
    passage_works(p);
    if (may_ask_again(p, outcome, call))
        passage_try(p);
    else
        passage_fail(p, &p->question->why);
    passage_waits(p);
}

/* ---- the visit ---- */

static void
tell_trace(struct trace *trace, struct http_call *call)
{
    trace_parent text;
    trace_call(trace);
    http_call_field(call, "traceparent", trace_print(trace, text));
}

static void
on_go(struct visit *v)
{
    static const struct http_call_ops ops = {.head = on_call_head,
                                             .body = on_call_body,
                                             .writable = on_call_writable,
                                             .finished = on_call_finished};
    struct passage *p = v->user;
    const struct question *q = p->question;
    struct err gone;
    passage_works(p);
    if (p->reply.caller && holder_check(p->reply.caller, &gone) < 0) { /* while it waited */
        visit_end(v, NULL, 0);
        passage_fail(p, &gone);
        return;
    }
    struct http_call *call = visit_call(v, http_method_name(p->route->method), q->path, &ops);
    passage_goes(p);
    for (const struct carried *c = q->carried; c; c = c->next)
        http_call_field(call, c->name, c->value);
    http_call_field(call, "X-Request-Id", p->reply.own_id);
    if (p->traced)
        tell_trace(&p->traced->trace, call);
    if (!q->sending) {
        http_call_whole(call, "", 0);
    } else {
        http_call_length(call, q->sending->length);
        passage_send(p);
    }
    passage_waits(p);
}

static void
on_refused(struct visit *v, const struct err *error)
{
    struct passage *p = v->user;
    p->question->why = *error;
    p->retry_after_s = v->ask.retry_after_s;
    passage_works(p);
    passage_try(p);
    passage_waits(p);
}

const struct visit_ops passage_visit_ops = {.go = on_go, .refused = on_refused};
