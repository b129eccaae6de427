#include "base/budget.h"

uint64_t
budget_delay(const struct budget *budget, unsigned failures)
{
    uint64_t delay = budget->delay_us;
    if (failures >= budget->burst)
        return UINT64_MAX;
    for (unsigned i = 1; i < failures && delay < BUDGET_DELAY_MAX_US; i++)
        delay *= 2;
    return failures ? MIN(delay, BUDGET_DELAY_MAX_US) : 0;
}

uint64_t
budget_bound(const struct budget *budget)
{
    uint64_t sum = 0;
    for (unsigned failures = 0; failures < budget->burst; failures++)
        sum += budget_delay(budget, failures) + budget->start_us;
    return sum;
}
