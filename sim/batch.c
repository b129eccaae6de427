#include "sim/batch.h"

static void on_timer(struct loop_timer *timer);

void
batch_init(struct batch *b, struct loop *loop, struct metrics *metrics)
{
    *b = (struct batch){.loop = loop, .metrics = metrics, .timer.expired = on_timer};
}

void
batch_finish(struct batch *b)
{
    loop_timer_stop(&b->timer);
}

/* ---- lists ---- */

static void
unlink_seq(struct seq *seq)
{
    struct seq_list *list = seq->list;
    *(seq->previous ? &seq->previous->next : &list->first) = seq->next;
    *(seq->next ? &seq->next->previous : &list->last) = seq->previous;
    list->count--;
    seq->list = NULL;
}

static void
link_last(struct seq_list *list, struct seq *seq)
{
    seq->next = NULL;
    seq->previous = list->last;
    *(list->last ? &list->last->next : &list->first) = seq;
    list->last = seq;
    seq->list = list;
    list->count++;
}

static void
link_first(struct seq_list *list, struct seq *seq)
{
    seq->previous = NULL;
    seq->next = list->first;
    *(list->first ? &list->first->previous : &list->last) = seq;
    list->first = seq;
    seq->list = list;
    list->count++;
}

/* ---- what is counted of a sequence ---- */

static double
seconds(uint64_t from_us, uint64_t to_us)
{
    return to_us > from_us ? (double)(to_us - from_us) / 1e6 : 0;
}

static void
count_first(struct batch *b, const struct seq *seq)
{
    metrics_add(b->metrics, METRIC_PROMPT_TOKENS, seq->prompt_tokens);
    metrics_add(b->metrics, METRIC_CACHED_TOKENS, seq->cached_tokens);
    metrics_observe(b->metrics, METRIC_FIRST_TOKEN, seconds(seq->arrived_us, seq->first_us), 1);
}

static void
count_between(struct batch *b, double between_s, uint64_t times)
{
    metrics_observe(b->metrics, METRIC_BETWEEN_TOKENS, between_s, times);
    metrics_observe(b->metrics, METRIC_BETWEEN_OLD, between_s, times);
}

static void
count_end(struct batch *b, const struct seq *seq, uint64_t now_us)
{
    struct metrics *m = b->metrics;
    uint64_t scheduled_us = seq->scheduled_us ? seq->scheduled_us : now_us;
    uint64_t first_us = seq->first_us ? seq->first_us : now_us;
    double decode_s = seconds(first_us, now_us);
    m->finished[seq->finish]++;
    metrics_observe(m, METRIC_LATENCY, seconds(seq->arrived_us, now_us), 1);
    metrics_observe(m, METRIC_QUEUE_TIME, seconds(seq->arrived_us, scheduled_us), 1);
    metrics_observe(m, METRIC_INFERENCE_TIME, seconds(scheduled_us, now_us), 1);
    metrics_observe(m, METRIC_PREFILL_TIME, seconds(scheduled_us, first_us), 1);
    metrics_observe(m, METRIC_DECODE_TIME, decode_s, 1);
    metrics_observe(m, METRIC_PER_TOKEN,
                    seq->made_tokens > 1 ? decode_s / (double)(seq->made_tokens - 1) : 0, 1);
    metrics_observe(m, METRIC_REQUEST_PROMPT, (double)seq->prompt_tokens, 1);
    metrics_observe(m, METRIC_PREFILL_COMPUTED, (double)(seq->prompt_tokens - seq->cached_tokens),
                    1);
    metrics_observe(m, METRIC_REQUEST_GENERATION, (double)seq->made_tokens, 1);
    metrics_observe(m, METRIC_REQUEST_MAX, (double)seq->made_tokens, 1);
    metrics_observe(m, METRIC_PARAMS_N, (double)seq->n, 1);
    metrics_observe(m, METRIC_PARAMS_MAX, (double)seq->max_tokens, 1);
}

/* ---- blocks ---- */

uint64_t
batch_blocks_for(const struct batch *b, uint64_t tokens)
{
    return (tokens + b->block_tokens - 1) / b->block_tokens;
}

double
batch_usage(const struct batch *b)
{
    return b->blocks ? (double)(b->blocks - b->free_blocks) / (double)b->blocks : 0;
}

static void
give_blocks(struct batch *b, struct seq *seq)
{
    b->free_blocks += seq->blocks;
    seq->blocks = 0;
}

static void
preempt(struct batch *b, struct seq *seq)
{
    give_blocks(b, seq);
    seq->computed_tokens = 0;
    unlink_seq(seq);
    link_first(&b->waiting, seq);
    metrics_add(b->metrics, METRIC_PREEMPTIONS, 1);
}

/* Blocks for so many tokens, taken from those who came later if need be; false: it had to give up
 * its own. */
static bool
take_blocks(struct batch *b, struct seq *seq, uint64_t tokens)
{
    uint64_t need = batch_blocks_for(b, tokens);
    if (need <= seq->blocks)
        return true;
    while (need - seq->blocks > b->free_blocks) {
        struct seq *victim = b->running.last;
        preempt(b, victim);
        if (victim == seq)
            return false;
    }
    b->free_blocks -= need - seq->blocks;
    seq->blocks = need;
    return true;
}

/* ---- steps ---- */

/* What has to be computed before the next token: the prompt, and after a preemption also what was
 * made. */
static uint64_t
tokens_before_next(const struct seq *seq)
{
    return seq->prompt_tokens + seq->made_tokens;
}

static uint64_t
tokens_after_next(const struct seq *seq)
{
    return tokens_before_next(seq) + (seq->made_tokens < seq->wanted_tokens);
}

static void
admit(struct batch *b, uint64_t now_us)
{
    while (b->waiting.first && b->running.count < b->max_seqs) {
        struct seq *seq = b->waiting.first;
        uint64_t need = batch_blocks_for(b, tokens_after_next(seq));
        if (need > b->free_blocks)
            return;
        unlink_seq(seq);
        link_last(&b->running, seq);
        seq->blocks = need;
        b->free_blocks -= need;
        seq->computed_tokens = seq->made_tokens ? 0 : seq->cached_tokens;
        if (!seq->scheduled_us)
            seq->scheduled_us = now_us;
    }
}

/* Shares out the tokens of a step; returns how many of them are of prompts. */
static uint64_t
share_out(struct batch *b)
{
    uint64_t left = b->max_step_tokens, of_prompts = 0;
    for (struct seq *seq = b->running.first, *next; seq; seq = next) {
        uint64_t rest = tokens_before_next(seq) - seq->computed_tokens;
        seq->chunk_tokens = MIN(MAX(rest, 1), left);
        left -= seq->chunk_tokens;
        of_prompts += rest > 1 || seq->made_tokens == 0 ? seq->chunk_tokens : 0;
        bool holds = take_blocks(b, seq, tokens_after_next(seq));
        next = holds ? seq->next : NULL; /* it was the last */
    }
    return of_prompts;
}

static bool
begin_step(struct batch *b, uint64_t now_us)
{
    if (b->held || b->stepping)
        return false;
    admit(b, now_us);
    if (!b->running.first)
        return false;
    uint64_t of_prompts = share_out(b);
    b->due_us = now_us + (uint64_t)(b->token_us + b->prefill_us * (double)of_prompts);
    b->stepping = true;
    return true;
}

static void
end_seq(struct batch *b, struct seq *seq, uint64_t now_us)
{
    give_blocks(b, seq);
    unlink_seq(seq);
    count_end(b, seq, now_us);
}

static void
advance(struct batch *b, struct seq *seq, uint64_t now_us)
{
    seq->computed_tokens += seq->chunk_tokens;
    if (seq->computed_tokens < tokens_before_next(seq))
        return; /* more of the prompt is to come */
    if (!seq->first_us) {
        seq->first_us = now_us;
        count_first(b, seq);
    } else {
        count_between(b, seconds(seq->last_us, now_us), 1);
    }
    seq->last_us = now_us;
    if (seq->made_tokens < seq->wanted_tokens) {
        seq->made_tokens++;
        metrics_add(b->metrics, METRIC_GENERATION_TOKENS, 1);
    }
    if (seq->made_tokens == seq->wanted_tokens)
        end_seq(b, seq, now_us);
    seq->moved(seq);
}

static void
end_step(struct batch *b, uint64_t now_us)
{
    uint64_t tokens = 0;
    b->stepping = false;
    for (const struct seq *seq = b->running.first; seq; seq = seq->next)
        tokens += seq->chunk_tokens;
    metrics_observe(b->metrics, METRIC_STEP_TOKENS, (double)tokens, 1);
    /* Who is told may take others out, but does so in a later pass of the loop. */
    for (struct seq *seq = b->running.first, *next; seq; seq = next) {
        next = seq->next;
        if (seq->chunk_tokens)
            advance(b, seq, now_us);
    }
}

/* Ends the steps that are due and begins the next; a step begins when the one before it ended, so
 * that a late timer costs no rate. */
static void
run_steps(struct batch *b)
{
    uint64_t now_us = loop_now_us(b->loop);
    if (b->in_step)
        return;
    b->in_step = true;
    (void)begin_step(b, now_us);
    while (b->stepping && b->due_us <= now_us && !b->held) {
        end_step(b, b->due_us);
        (void)begin_step(b, b->due_us);
    }
    b->in_step = false;
    if (b->stepping && !b->held)
        loop_timer_start(b->loop, &b->timer, b->due_us - now_us, 0);
    else
        loop_timer_stop(&b->timer);
}

static void
on_timer(struct loop_timer *timer)
{
    run_steps(container_of(timer, struct batch, timer));
}

/* Alone, and in no time: all its steps at once, and not through lists and timers. */
static void
run_at_once(struct batch *b, struct seq *seq)
{
    uint64_t now_us = seq->arrived_us, more = seq->wanted_tokens ? seq->wanted_tokens - 1 : 0;
    seq->scheduled_us = seq->first_us = seq->last_us = now_us;
    seq->made_tokens = seq->wanted_tokens;
    count_first(b, seq);
    metrics_add(b->metrics, METRIC_GENERATION_TOKENS, seq->made_tokens);
    metrics_observe(b->metrics, METRIC_STEP_TOKENS,
                    (double)(seq->prompt_tokens - seq->cached_tokens), 1);
    if (more) {
        metrics_observe(b->metrics, METRIC_STEP_TOKENS, 1, more);
        count_between(b, 0, more);
    }
    count_end(b, seq, now_us);
    seq->moved(seq);
}

static bool
may_run_at_once(const struct batch *b, const struct seq *seq)
{
    uint64_t tokens = seq->prompt_tokens + seq->wanted_tokens;
    return !b->held && !b->running.first && !b->waiting.first && !b->in_step && b->token_us == 0 &&
           b->prefill_us == 0 && seq->prompt_tokens <= b->max_step_tokens &&
           batch_blocks_for(b, tokens) <= b->free_blocks;
}

void
batch_add(struct batch *b, struct seq *seq)
{
    assert(seq->prompt_tokens > seq->cached_tokens &&
           batch_blocks_for(b, seq->prompt_tokens + seq->wanted_tokens) <= b->blocks);
    seq->arrived_us = loop_now_us(b->loop);
    metrics_add(b->metrics, METRIC_PREFIX_QUERIES, seq->prompt_tokens);
    metrics_add(b->metrics, METRIC_PREFIX_HITS, seq->cached_tokens);
    if (may_run_at_once(b, seq)) {
        run_at_once(b, seq);
        return;
    }
    link_last(&b->waiting, seq);
    run_steps(b);
}

void
batch_remove(struct batch *b, struct seq *seq)
{
    if (!seq->list)
        return;
    seq->finish = FINISH_ABORT;
    end_seq(b, seq, loop_now_us(b->loop));
    run_steps(b);
}

void
batch_clear(struct batch *b, enum finish finish)
{
    uint64_t now_us = loop_now_us(b->loop);
    for (struct seq *seq; (seq = b->running.first ? b->running.first : b->waiting.first);) {
        seq->finish = finish;
        end_seq(b, seq, now_us);
        seq->moved(seq);
    }
    b->stepping = false;
    loop_timer_stop(&b->timer);
}

void
batch_hold(struct batch *b)
{
    b->held++;
    loop_timer_stop(&b->timer);
}

void
batch_release(struct batch *b)
{
    assert(b->held > 0);
    if (--b->held > 0)
        return;
    if (b->stepping) /* the time that it was held does not count */
        b->due_us = MAX(b->due_us, loop_now_us(b->loop));
    run_steps(b);
}
