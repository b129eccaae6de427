#include "lifecycle/ensure.h"

#include "config/config.h"
#include "lifecycle/fit.h"

/* What keeps it from being started, whatever room there is. */
static int
check_wishes(const struct lifecycle_need *need, struct err *reterr)
{
    const struct lifecycle_known *k = &need->known;
    const struct run_record *record = k->record;
    const char *name = need->model->name, *fix = "start";
    int r = 0;
    if (k->lost) {
        r = err_set(reterr, ERR_RUN_HELD,
                    "%s may be held: what is remembered of it cannot be read: %s", name, k->lost);
        fix = "why";
    } else if (k->status->state == SERVICE_FAILED && k->status->last_exit == EXIT_CODE_USAGE) {
        r = err_set(reterr, ERR_SERVICE_FAILED, "%s will never work as it is: %s", name,
                    k->status->reason);
        fix = "why";
    } else if (record->hold.set) {
        r = err_set(reterr, ERR_RUN_HELD, "%s is held by %s: %s", name, record->hold.by,
                    record->hold.why);
    } else if (record->wanted.state == RUN_WANTED_STOPPED) {
        r = err_set(reterr, ERR_RUN_HELD, "%s was stopped by %s", name, record->wanted.by);
    }
    if (r < 0)
        err_fix(reterr, "citadel %s %s", fix, name);
    return r;
}

int
lifecycle_ensure(const struct lifecycle_need *need, struct err *reterr)
{
    enum service_state state = need->known.status->state;
    bool is_idle = state == SERVICE_STOPPED || state == SERVICE_FAILED || state == SERVICE_NOT_NOW;
    if (!is_idle || need->asked_to)
        return 0;
    int r = check_wishes(need, reterr);
    if (r == 0)
        r = lifecycle_fit(need->model, need->inventory, need->leases, need->fake_driver, reterr);
    return r < 0 ? r : 1;
}
