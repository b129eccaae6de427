#pragma once

/* How often something that fails is started again. */

#include "base/util.h"

struct budget {
    unsigned burst;    /* failures in a row */
    uint64_t delay_us; /* before the second start; doubled after each failure, up to ten minutes */
    uint64_t forgive_us; /* ready for so long, and failures are forgotten */
    uint64_t start_us;   /* the longest start */
};
#define BUDGET_DELAY_MAX_US (600 * UINT64_C(1000000)) /* where the first is not longer already */

/* How many failures in a row there are with one more. ready_at_us: since when it was ready before; 0: it
 * was not. */
unsigned budget_count(const struct budget *budget, unsigned failures, uint64_t ready_at_us,
                      uint64_t now_us);
/* Before the start that follows so many failures; UINT64_MAX: there is none. */
uint64_t budget_delay(const struct budget *budget, unsigned failures);
/* The longest that what always fails goes on, with starts as long as they may be. */
uint64_t budget_bound(const struct budget *budget);
