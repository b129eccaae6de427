#include "gateway/breaker.h"

static bool
is_open(const struct breaker *b)
{
    return b->failures >= BREAKER_FAILURES;
}

bool
breaker_is_tried(const struct breaker *b)
{
    return is_open(b) && b->trial;
}

bool
breaker_admits(const struct breaker *b, uint64_t now_us)
{
    return !is_open(b) || (!b->trial && now_us >= b->open_until_us);
}

uint64_t
breaker_opens_us(const struct breaker *b, uint64_t now_us)
{
    return is_open(b) ? MAX(b->open_until_us, now_us) : now_us;
}

static bool
is_trial(const struct breaker *b, uint64_t trial)
{
    return trial && trial == b->trial;
}

bool
breaker_begin(struct breaker *b, uint64_t now_us, uint64_t *ret_trial)
{
    if (!breaker_admits(b, now_us))
        return false;
    b->trial = is_open(b) ? ++b->trials : 0;
    if (b->trial)
        b->open_until_us = now_us + BREAKER_TRIAL_US;
    *ret_trial = b->trial;
    return true;
}

void
breaker_succeed(struct breaker *b)
{
    *b = (struct breaker){.trials = b->trials};
}

void
breaker_last(struct breaker *b)
{
    if (!breaker_is_tried(b))
        return;
    b->failures = BREAKER_FAILURES - 1;
    b->trial = 0;
}

/* Those that were on their way when it opened fail, too: they are no
 * trials, and prolong nothing. */
void
breaker_fail(struct breaker *b, uint64_t trial, uint64_t now_us)
{
    bool was_open = is_open(b);
    if (was_open && !is_trial(b, trial))
        return;
    b->failures++;
    b->trial = 0;
    if (!is_open(b))
        return;
    b->pause_us = b->pause_us ? MIN(2 * b->pause_us, BREAKER_PAUSE_MAX_US) : BREAKER_PAUSE_US;
    b->open_until_us = now_us + b->pause_us;
}

void
breaker_cut(struct breaker *b, uint64_t trial, uint64_t since_us, uint64_t now_us)
{
    bool is_known = b->failures > 0 && b->cut_us && since_us <= b->cut_us;
    if (is_known && !is_trial(b, trial))
        return;
    b->cut_us = now_us;
    breaker_fail(b, trial, now_us);
}

void
breaker_pass(struct breaker *b, uint64_t trial)
{
    if (!is_trial(b, trial))
        return;
    b->trial = 0;
    b->open_until_us = 0;
}
