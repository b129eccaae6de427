#pragma once

/* The engine's scheduler: sequences wait until one of max_seqs places and blocks of KV cache for
 * their prompt are free; then each step computes a piece of their prompts or a token for each. When
 * blocks run out, the sequence that came last gives its own back and starts again later.
 *
 * A step takes 1/token_rate, and 1/prefill_rate for each token of a prompt in it; with both 0 it takes no
 * time, and a sequence may be done before batch_add() returns. */

#include "sim/metrics.h"
#include "sys/loop.h"

struct seq_list;

/* The owner sets the first part and answers for the memory until the sequence has ended. */
struct seq {
    void (*moved)(struct seq *seq); /* made has grown; or it has ended: list is NULL */
    uint64_t prompt_tokens;         /* at least 1; with the wanted ones, no more than fit */
    uint64_t cached_tokens;         /* of these, in the prefix cache */
    uint64_t wanted_tokens;         /* to make; 0: only the prompt is computed */
    enum finish finish;             /* how it will end when all are made; then how it did end */
    uint64_t max_tokens, n;         /* as asked for, for the metrics */

    /* the batch's */
    struct seq *next, *previous;
    struct seq_list *list;
    uint64_t computed_tokens, made_tokens, blocks;
    uint64_t chunk_tokens; /* of this step */
    uint64_t arrived_us, scheduled_us, first_us, last_us;
};

struct seq_list {
    struct seq *first, *last;
    uint64_t count;
};

struct batch {
    struct loop *loop;
    struct metrics *metrics;
    uint64_t max_seqs, max_step_tokens, block_tokens, blocks, free_blocks;
    double token_us, prefill_us; /* that one takes */
    struct seq_list running, waiting;
    struct loop_timer timer;
    uint64_t due_us; /* of the step under way */
    bool stepping, in_step;
    unsigned held; /* by so many reasons: nothing moves */
};

void batch_init(struct batch *b, struct loop *loop, struct metrics *metrics);
void batch_finish(struct batch *b);

void batch_add(struct batch *b, struct seq *seq);
/* Takes it out as aborted; it is not told. Nothing happens when it has ended. */
void batch_remove(struct batch *b, struct seq *seq);
/* All end as aborted or failed, and are told. */
void batch_clear(struct batch *b, enum finish finish);

void batch_hold(struct batch *b); /* steps stop, until as many batch_release() */
void batch_release(struct batch *b);

double batch_usage(const struct batch *b); /* of the KV cache: from 0 to 1 */
uint64_t batch_blocks_for(const struct batch *b, uint64_t tokens);
