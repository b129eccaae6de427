#include "gateway/background.h"

#include "base/mem.h"

#include <stdlib.h>

struct background {
    struct backgrounds *all;
    struct background *next, *previous;
    struct holder *holder;
    bool counts; /* as one of its requests at a time: */
    struct loop_timer limit;
    struct allowance_estimate estimate; /* that it was settled by; of 0 tokens: it was heard */
    bool is_dropped;
};

static void
free_background(struct background *b)
{
    *(b->previous ? &b->previous->next : &b->all->first) = b->next;
    if (b->next)
        b->next->previous = b->previous;
    loop_timer_stop(&b->limit);
    free(b);
}

void
backgrounds_finish(struct backgrounds *all)
{
    for (struct background *b; (b = all->first);) {
        assert(b->is_dropped);
        background_end(b);
    }
}

static void
on_limit(struct loop_timer *timer)
{
    background_end(container_of(timer, struct background, limit));
}

struct background *
background_begin(struct backgrounds *all, struct loop *loop, struct holder *holder, uint64_t tokens,
                 uint64_t limit_us)
{
    struct background *b = mem_new(struct background);
    b->all = all;
    b->holder = holder;
    b->estimate = holder_estimated(holder, tokens);
    b->counts = holder_background_begin(holder);
    b->limit.expired = on_limit;
    if (b->counts)
        loop_timer_start(loop, &b->limit, limit_us, 0);
    b->next = all->first;
    if (b->next)
        b->next->previous = b;
    all->first = b;
    return b;
}

void
background_end(struct background *b)
{
    if (b->counts)
        holder_background_end(b->holder);
    b->counts = false;
    loop_timer_stop(&b->limit);
    if (b->is_dropped)
        free_background(b);
}

void
background_took(struct background *b, uint64_t tokens)
{
    const struct allowance_estimate estimate = b->estimate;
    b->estimate.tokens = 0;
    if (estimate.tokens)
        holder_correct(b->holder, &estimate, tokens);
    background_end(b);
}

void
background_drop(struct background *b)
{
    if (!b)
        return;
    b->is_dropped = true;
    if (!b->counts)
        free_background(b);
}
