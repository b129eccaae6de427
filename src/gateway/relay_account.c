/* What a request may take, what it has taken, and what is told of it. */

#include "base/text.h"
#include "config/config.h"
#include "gateway/exporter.h"
#include "gateway/params.h"
#include "gateway/relay_int.h"
#include "gateway/span.h"
#include "sys/clock.h"

#include <string.h>

/* What a request takes when it does not say: some prompts are longer, most answers shorter. */
#define ANSWER_TOKENS 512
/* Of a model whose context the configuration does not have: few have a longer one. */
#define CONTEXT_TOKENS (UINT64_C(1) << 20)

void
passage_account_begin(struct passage *p)
{
    const struct holder *caller = p->reply.caller;
    struct account *a = &p->account;
    a->since_us = loop_now_us(p->relay->loop);
    a->row.time_us = loop_wall_us(p->relay->loop);
    if (!caller)
        return;
    p->key = a->row.key = holder_key(caller)->id;
    a->tally = tally_begin(&p->relay->tallies, holder_key(caller));
    text_copy(a->row.key_name, sizeof(a->row.key_name), holder_key(caller)->name);
}

void
passage_works(struct passage *p)
{
    if (!p->account.works_us)
        p->account.works_us = clock_now_us(); /* others may have had the pass until now */
}

void
passage_waits(struct passage *p)
{
    struct account *a = &p->account;
    if (a->works_us)
        a->own_us += clock_now_us() - a->works_us;
    a->works_us = 0;
}

/* ---- before ---- */

/* Of what servers and clients tell. */
static uint64_t
times(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? ALLOWANCE_MAX : MIN(product, ALLOWANCE_MAX);
}

/* The longest of those that may answer. */
static uint64_t
context_of(const struct target *target)
{
    uint64_t longest = 0;
    for (size_t i = 0; i < target->back_count; i++) {
        const struct config_model *model = target->backs[i].model;
        uint64_t context = model ? model->max_model_len : 0;
        longest = MAX(longest, context ? context : CONTEXT_TOKENS);
    }
    return longest;
}

/* As the configuration of that one would have it; the answers to all prompts. */
static struct ask_size
size_by(const struct passage *p, const struct target_back *back)
{
    const struct question *q = p->question;
    bool generates = route_generates(p->route);
    const struct params *params = generates ? routing_params_of(p->routing, back) : NULL;
    struct ask_size size = {q->ask.max_tokens, q->ask.answers};
    if (params && !q->form)
        size = ask_size(&q->ask, params->items, params->count);
    size.answers = times(size.answers, generates ? ask_prompts(&q->ask) : 1);
    return size;
}

static uint64_t
answer_tokens(const struct passage *p, const struct target *target, const struct target_back *back)
{
    const struct ask_size size = size_by(p, back);
    return times(MIN(size.max_tokens ? size.max_tokens : ANSWER_TOKENS, context_of(target)),
                 size.answers);
}

/* Whatever a client asks for, an answer is no longer than a model can make it; but there is one to
 * each prompt, as often as it is wanted. */
static uint64_t
estimate_answers(const struct passage *p, const struct target *target)
{
    uint64_t most = 0;
    for (size_t i = 0; i < target->back_count; i++)
        most = MAX(most, answer_tokens(p, target, &target->backs[i]));
    return most;
}

/* A prompt is no longer than a model can read it. A form has sound or pictures in it. */
static uint64_t
estimate_prompt(const struct passage *p, const struct target *target)
{
    const struct question *q = p->question;
    bool generates = route_generates(p->route);
    bool is_talk = generates && p->route->id != ROUTE_COMPLETIONS;
    if (q->form)
        return 0;
    uint64_t tokens = ask_prompt_tokens(&q->ask, q->body.len, is_talk);
    uint64_t most = times(context_of(target), is_talk ? 1 : ask_prompts(&q->ask));
    return generates ? MIN(tokens, most) : tokens;
}

static uint64_t
estimate(const struct passage *p, const struct target *target)
{
    uint64_t tokens = allowance_sum(estimate_prompt(p, target), estimate_answers(p, target));
    return MIN(tokens, ALLOWANCE_CLAIM_MAX);
}

/* Where nothing is in the way any more. */
static void
claim_all(struct passage *p)
{
    const struct question *q = p->question;
    if (q->is_let_in && q->is_whole && body_is_kept(&q->body))
        claim_tokens(&p->account.claim, estimate(p, p->asked));
}

void
passage_estimate(struct passage *p)
{
    p->account.tokens = estimate(p, p->target);
    p->account.prompt_tokens = MIN(estimate_prompt(p, p->target), p->account.tokens);
}

bool
passage_has_claimed(const struct passage *p)
{
    return p->account.tokens <= p->account.claimed;
}

bool
passage_could_claim(const struct passage *p, const struct target *target)
{
    uint64_t tokens = estimate(p, target);
    return tokens <= p->account.claimed || claim_could(&p->account.claim, tokens);
}

void
passage_claim_anew(struct passage *p)
{
    claim_tokens(&p->account.claim, p->account.tokens);
}

/* First that it may come at all, while its body is on its way; then its tokens; then those that a
 * fallback may take. */
static void
on_granted(struct claim *claim)
{
    struct passage *p = container_of(claim, struct passage, account.claim);
    struct question *q = p->question;
    if (p->state == PASSAGE_FAILED) /* it was refused for something else */
        return;
    bool was_let_in = q->is_let_in;
    q->is_let_in = true;
    p->account.claimed = claim->tokens;
    passage_works(p);
    if (!was_let_in)
        claim_all(p);
    else if (p->state == PASSAGE_COLLECTS)
        passage_seek(p);
    else
        passage_try(p);
    passage_waits(p);
}

static void
on_refused(struct claim *claim, const struct err *error, uint64_t retry_after_s)
{
    struct passage *p = container_of(claim, struct passage, account.claim);
    if (p->state == PASSAGE_FAILED)
        return;
    bool is_limit = error->id == ERR_KEY_LIMIT;
    if (is_limit && p->state != PASSAGE_COLLECTS) { /* only this fallback is too much for it */
        passage_works(p);
        passage_fall_back(p);
        passage_waits(p);
        return;
    }
    p->retry_after_s = retry_after_s;
    passage_fail(p, error);
}

static void
on_paid(struct claim *claim)
{
    passage_go_on(container_of(claim, struct passage, account.claim));
}

void
passage_begin_claim(struct passage *p)
{
    static const struct claim_ops ops = {
        .granted = on_granted, .refused = on_refused, .paid = on_paid};
    p->account.claim.ops = &ops;
    claim_begin(&p->account.claim, p->reply.caller, !p->stored_id);
}

void
passage_claim(struct passage *p)
{
    text_copy(p->account.row.model, sizeof(p->account.row.model), p->asked->name);
    p->question->is_whole = true;
    claim_all(p);
}

void
passage_kept(struct passage *p)
{
    if (!body_is_ahead(&p->question->body))
        http_request_resume(p->request);
    claim_all(p);
}

void
passage_goes(struct passage *p)
{
    const struct visit *v = &p->visit;
    struct ledger_row *row = &p->account.row;
    text_copy(row->backend, sizeof(row->backend), backend_name(v->backend));
    row->queue_us += v->ask.started_us - v->ask.arrived_us;
    if (p->traced)
        p->traced->call_us = loop_now_us(p->relay->loop) - p->account.since_us;
}

/* ---- after ---- */

/* An engine that calls tools itself reads all of a response again after each. */
#define TURNS_MAX 64

/* The texts are read one by one, and each answer is made in one context. A sound is cut into as
 * many as it needs. */
void
passage_bound_usage(struct passage *p)
{
    const struct question *q = p->question;
    const struct config_model *model = p->back && !q->form ? p->back->model : NULL;
    uint64_t each = model && model->max_model_len ? model->max_model_len : CONTEXT_TOKENS;
    if (p->stored_id || p->route->id == ROUTE_RESPONSES)
        each = times(each, TURNS_MAX);
    p->usage.most_in = p->usage.most_out = MIN(each, ALLOWANCE_CLAIM_MAX);
    if (p->stored_id)
        return;
    uint64_t texts = route_generates(p->route) ? ask_prompts(&q->ask) : ask_texts(&q->ask);
    uint64_t answers = p->back ? size_by(p, p->back).answers : 1;
    p->usage.most_in = MIN(times(each, texts), ALLOWANCE_CLAIM_MAX);
    p->usage.most_out = MIN(times(each, MAX(texts, answers)), ALLOWANCE_CLAIM_MAX);
}

/* What is worked on when its client has got his answer, or has left. */
static bool
is_in_background(const struct passage *p)
{
    bool is_pending = p->route->id == ROUTE_RESPONSES && p->reads && p->usage.pending;
    return p->asks_background || is_pending;
}

/* Of a response, which says so itself; perhaps without what it took. */
static bool
is_over(const struct passage *p)
{
    return p->reads && p->usage.complete && (p->is_stream || !p->usage.pending);
}

static bool
is_made(const struct passage *p)
{
    return is_over(p) && p->usage.usage.told;
}

static void
take_all(struct account *a)
{
    a->row.is_estimate = true;
    a->row.tokens_in = a->prompt_tokens;
    a->row.tokens_out = a->tokens - a->prompt_tokens;
}

/* Of English a token has some four and a half: who sends one in each event is
 * not told to have sent more. */
#define BYTES_A_TOKEN 5

/* By what went through: an event has a token or, where an engine sends several at a time, as
 * many as its text is long. */
static uint64_t
tokens_heard(const struct passage *p)
{
    uint64_t bytes = p->reads ? p->usage.text_bytes : p->unread_bytes;
    uint64_t tokens = (bytes + BYTES_A_TOKEN - 1) / BYTES_A_TOKEN;
    return p->is_stream ? MAX(tokens, p->usage.events) : tokens;
}

/* Of JSON that its client did not wait for, and of sounds and pictures, which engines tell in
 * seconds or not at all. What we cut ourselves costs no more than was heard. */
static bool
can_nobody_say(const struct passage *p)
{
    bool is_form = p->route->body == ROUTE_BODY_FORM;
    if (p->is_stream || p->account.row.end == LEDGER_GATEWAY)
        return false;
    return is_form || p->account.row.end == LEDGER_CLIENT;
}

/* As the engine has told it. Else by what was heard; and what it was thought to
 * take where nobody can say. */
static void
count_tokens(struct passage *p)
{
    const struct usage *told = p->reads ? &p->usage.usage : NULL;
    struct ledger_row *row = &p->account.row;
    if (p->stored_id) /* it was counted when it was asked for */
        return;
    if (is_in_background(p) && !is_made(p)) {
        take_all(&p->account);
        return;
    }
    row->is_estimate = !told || !told->told;
    row->tokens_in = row->is_estimate ? p->account.prompt_tokens : told->in;
    row->tokens_out = told ? told->out : 0;
    row->tokens_cached = told ? told->cached : 0;
    bool is_part = p->is_stream && !p->usage.complete;
    if (row->is_estimate && can_nobody_say(p)) {
        row->tokens_out = p->account.tokens - row->tokens_in;
    } else if ((row->is_estimate || is_part) && (p->is_stream || route_generates(p->route))) {
        uint64_t heard = tokens_heard(p);
        row->is_estimate = row->is_estimate || heard > row->tokens_out;
        row->tokens_out = MAX(row->tokens_out, heard);
    }
}

/* Who leaves, or does not read, while an engine works on his answer, of which nothing is known yet.
 * What we cut costs him nothing. */
static bool
has_left_work(const struct passage *p)
{
    return !passage_has_begun(p) && p->account.row.end == LEDGER_CLIENT && p->visit.backend &&
           p->visit.has_called;
}

/* He has taken what he might have. What an engine refuses costs nothing,
 * nor what none has answered. */
uint64_t
passage_took(struct passage *p)
{
    struct ledger_row *row = &p->account.row;
    if (passage_has_begun(p) && row->status < 400) {
        count_tokens(p);
    } else if (has_left_work(p)) {
        take_all(&p->account);
    }
    return allowance_sum(row->tokens_in, row->tokens_out);
}

/* Of a stream, a little ahead: each event has a token, or little more. */
#define AHEAD_TOKENS 64

bool
passage_pays(struct passage *p)
{
    struct claim *claim = &p->account.claim;
    uint64_t took = passage_took(p);
    if (p->state == PASSAGE_PASSES && took > claim->own.tokens + claim->own.grown)
        took = allowance_sum(took, AHEAD_TOKENS);
    return claim_grow(claim, took);
}

/* Of a request that somebody may be at from here on. */
static bool
goes_on_without(const struct passage *p)
{
    bool was_begun = passage_has_begun(p) ? p->account.row.status < 400 : has_left_work(p);
    return is_in_background(p) && was_begun && !is_over(p);
}

/* Of a response that was made in the background, whatever was asked of it. One that is there no
 * more is over, too; but an engine that cancels none says 404 as well. */
static void
hear_of_background(struct passage *p)
{
    struct background *b = passage_left_behind(p);
    const struct usage *told = &p->usage.usage;
    unsigned status = p->account.row.status;
    if (b && status == 200 && is_made(p))
        background_took(b, allowance_sum(told->in, told->out));
    else if (b && ((status == 404 && p->request->head.method == HTTP_GET) ||
                   (status == 200 && is_over(p))))
        background_end(b);
}

/* What was wrong in itself was a request all the same, and so was one that its client gave up: else
 * there were no end of either. Who was sent away for a limit, or for what he could not help, has
 * had none. */
static bool
has_asked(const struct passage *p)
{
    const struct ledger_row *row = &p->account.row;
    bool is_wrong = row->end == LEDGER_REFUSED && row->status / 100 == 4 && row->status != 429;
    return passage_has_begun(p) || is_wrong || row->end == LEDGER_CLIENT;
}

static void
settle(struct passage *p)
{
    uint64_t took = passage_took(p);
    if (has_asked(p))
        claim_settle(&p->account.claim, took);
    else
        claim_end(&p->account.claim);
    if (p->stored_id && passage_has_begun(p))
        hear_of_background(p);
    else if (p->reply.caller && goes_on_without(p))
        passage_leave_behind(p, took);
}

static void
tell_spans(const struct passage *p)
{
    const struct config_model *model = p->back ? p->back->model : NULL;
    const struct traced *t = p->traced;
    uint64_t arrived_us = p->visit.ask.arrived_us;
    const struct span_request s = {
        .trace = &t->trace,
        .row = &p->account.row,
        .route = p->route,
        .id = p->reply.id,
        .model = t->model,
        .engine = model ? config_engine_word(model->engine) : NULL,
        .max_tokens = t->max_tokens,
        .is_stream = p->is_stream,
        .has_waited = arrived_us != 0,
        .wait_us = arrived_us ? arrived_us - p->account.since_us : 0,
        .call_us = t->call_us,
        .answer_end_us = t->answer_end_us,
    };
    exporter_add(p->relay->exporter, &s);
}

void
passage_account_end(struct passage *p, bool answered)
{
    struct account *a = &p->account;
    bool is_over = p->state == PASSAGE_FAILED || p->state >= PASSAGE_OWES;
    if (!is_over || (a->row.end == LEDGER_WHOLE && !answered))
        a->row.end = p->request->is_cut ? LEDGER_GATEWAY : LEDGER_CLIENT;
    a->row.duration_us = loop_now_us(p->relay->loop) - a->since_us;
    settle(p);
    if (passage_has_begun(p))
        histogram_add(&p->relay->counts.own, a->own_us);
    if (a->tally)
        tally_end(a->tally, &a->row, p->is_stream);
    transcript_end(take_ptr(p->transcript), &a->row, p->reply.id);
    if (p->traced)
        tell_spans(p);
    if (p->relay->over)
        p->relay->over(&a->row, &p->reply, p->relay->over_arg);
}
