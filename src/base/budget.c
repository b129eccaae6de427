#include "base/budget.h"

unsigned
budget_count(const struct budget *budget, unsigned failures, uint64_t ready_at_us, uint64_t now_us)
{
    bool forgiven = ready_at_us && now_us - ready_at_us >= budget->forgive_us;
    return forgiven ? 1 : failures + 1;
}

uint64_t
budget_delay(const struct budget *budget, unsigned failures)
{
    uint64_t delay = budget->delay_us, most = MAX(delay, BUDGET_DELAY_MAX_US);
    if (failures >= budget->burst)
        return UINT64_MAX;
    for (unsigned i = 1; i < failures && delay < most; i++)
        delay *= 2;
    return failures ? MIN(delay, most) : 0;
}

uint64_t
budget_bound(const struct budget *budget)
{
    uint64_t sum = 0;
    for (unsigned failures = 0; failures < budget->burst; failures++)
        sum += budget_delay(budget, failures) + budget->start_us;
    return sum;
}
