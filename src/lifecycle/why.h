#pragma once

/* Why a model is as it is, in three sentences: what is wrong, what happens next, what to do. From what
 * is known; what is not known is said to be. Pure. */

#include "lifecycle/lifecycle.h"
#include "lifecycle/well.h"
#include "plan/plan.h"

struct why_known {
    const char *name;
    struct lifecycle_known model; /* status NULL: nobody tells; then, why: */
    const char *no_status;
    const struct plan_model *planned; /* NULL: there is no plan; then, why: */
    const char *no_plan;
    const struct lifecycle_decision *decision; /* of the monitor, or as it would be */
    bool monitor_runs;
    struct plan_times times;
};

struct why_told {
    bool well; /* as lifecycle_is_well() has it, and the plan */
    char wrong[700], next[500], fix[300];
};

void lifecycle_why(const struct why_known *known, uint64_t now_us, struct why_told *ret_told);
/* Of a service that is no model: what whoever runs it tells is all that is known. */
void lifecycle_why_keeper(const struct why_known *known, struct why_told *ret_told);
