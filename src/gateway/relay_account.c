/* What a request may take, what it has taken, and what is told of it. */

#include "gateway/relay_int.h"

#include "sys/clock.h"

#include <stdio.h>

/* What a request takes when it does not say: some prompts are longer, most answers shorter. */
#define ANSWER_TOKENS 512
#define BYTES_A_TOKEN 4
/* A body that is longer has mostly pictures in it, whose bytes say nothing about tokens. */
#define PROMPT_TOKENS_MAX UINT64_C(32768)

void
passage_account_begin(struct passage *p)
{
    const struct holder *caller = p->reply.caller;
    p->since_us = loop_now_us(p->relay->loop);
    p->row.time_us = clock_wall_us();
    if (!caller)
        return;
    p->key = p->row.key = holder_key(caller)->id;
    (void)snprintf(p->row.key_name, sizeof(p->row.key_name), "%s", holder_key(caller)->name);
}

/* ---- before ---- */

uint64_t
passage_tokens(const struct passage *p)
{
    uint64_t sum, out = p->ask.max_tokens ? p->ask.max_tokens : ANSWER_TOKENS;
    if (__builtin_mul_overflow(out, p->ask.answers, &out) ||
        __builtin_add_overflow(p->prompt_tokens, out, &sum))
        return UINT32_MAX;
    return MIN(sum, (uint64_t)UINT32_MAX);
}

static void
on_granted(struct claim *claim)
{
    passage_seek(container_of(claim, struct passage, claim));
}

static void
on_refused(struct claim *claim, const struct err *error, uint64_t retry_after_s)
{
    struct passage *p = container_of(claim, struct passage, claim);
    p->retry_after_s = retry_after_s;
    passage_fail(p, error);
}

/* Under the name that was asked for, or the one that this stands for. Fallbacks are what the
 * configuration gives instead: they need no leave of their own. A response is found by its key alone. */
static bool
may_ask_for(const struct passage *p)
{
    const struct holder *caller = p->reply.caller;
    return !caller || p->stored_id || key_allows(holder_key(caller), p->asked->name) ||
           key_allows(holder_key(caller), p->ask.model);
}

void
passage_claim(struct passage *p)
{
    static const struct claim_ops ops = {.granted = on_granted, .refused = on_refused};
    struct err error;
    (void)snprintf(p->row.model, sizeof(p->row.model), "%s", p->asked->name);
    if (!may_ask_for(p)) {
        (void)err_set(&error, ERR_NO_MODEL, "there is no model '%s' for the key '%s'",
                      p->ask.model[0] ? p->ask.model : p->asked->name, p->row.key_name);
        passage_fail(p, &error);
        return;
    }
    if (!p->form) /* which has sound or pictures in it */
        p->prompt_tokens = MIN(p->body.len / BYTES_A_TOKEN, PROMPT_TOKENS_MAX);
    p->claim.ops = &ops;
    claim_begin(&p->claim, p->reply.caller, passage_tokens(p));
}

void
passage_goes(struct passage *p)
{
    const struct visit *v = &p->visit;
    (void)snprintf(p->row.backend, sizeof(p->row.backend), "%s", backend_name(v->backend));
    p->row.queue_us += v->ask.started_us - v->ask.arrived_us;
}

/* ---- after ---- */

/* As the engine has told it. Else, of a stream, by what went through: an event has a token, or little
 * more; and what it was thought to take where nobody can say: of JSON that its client did not wait for,
 * and of sounds and pictures, which engines tell in seconds or not at all. */
static void
count_tokens(struct passage *p)
{
    const struct usage *told = p->reads ? &p->usage.usage : NULL;
    struct ledger_row *row = &p->row;
    if (p->stored_id) /* it was counted when it was made */
        return;
    row->is_estimate = !told || !told->told;
    row->tokens_in = row->is_estimate ? p->prompt_tokens : told->in;
    row->tokens_out = told ? told->out : 0;
    row->tokens_cached = told ? told->cached : 0;
    bool is_form = p->route->body == ROUTE_BODY_FORM;
    bool is_part = p->is_stream && (row->is_estimate || !p->usage.complete);
    if (is_part && p->usage.events > row->tokens_out) {
        row->tokens_out = p->usage.events;
        row->is_estimate = true;
    }
    if (!p->is_stream && row->is_estimate && (is_form || row->end == LEDGER_CLIENT))
        row->tokens_out = passage_tokens(p) - row->tokens_in;
}

/* Who leaves while an engine works on his answer, of which nothing is known yet, has taken what he might
 * have. What an engine refuses costs nothing, nor what none has answered. */
static void
settle(struct passage *p)
{
    struct ledger_row *row = &p->row;
    bool has_left = row->end == LEDGER_CLIENT;
    if (p->is_begun && row->status < 400) {
        count_tokens(p);
        claim_settle(&p->claim, row->tokens_in + row->tokens_out);
    } else if (p->is_begun) {
        claim_settle(&p->claim, 0);
    } else if (has_left && p->visit.backend && p->visit.has_called) {
        row->is_estimate = true;
        row->tokens_in = p->prompt_tokens;
        row->tokens_out = passage_tokens(p) - row->tokens_in;
        claim_settle(&p->claim, passage_tokens(p));
    } else {
        claim_end(&p->claim);
    }
}

void
passage_account_end(struct passage *p, bool answered)
{
    if (p->state != PASSAGE_OVER || (p->row.end == LEDGER_WHOLE && !answered))
        p->row.end = LEDGER_CLIENT;
    p->row.duration_us = loop_now_us(p->relay->loop) - p->since_us;
    settle(p);
    if (p->relay->over)
        p->relay->over(&p->row, &p->reply, p->relay->over_arg);
}
