#include "lifecycle/well.h"

#include "fmt/json.h"
#include "lifecycle/lifecycle.h"

static bool
runs(const struct service_status *s)
{
    return s->state == SERVICE_STARTING || s->state == SERVICE_READY;
}

/* It does not run, or will not for long, and a person has seen to that. */
static bool
is_put_aside(const struct lifecycle_known *k)
{
    const struct run_record *r = k->record;
    bool is_held = r && r->hold.set && !lifecycle_is_breakers(r);
    bool is_stopped = r && r->wanted.state == RUN_WANTED_STOPPED;
    return !runs(k->status) && (is_held || is_stopped);
}

static const char *
explain_state(const struct service_status *s)
{
    return s->reason[0] ? s->reason : s->status[0] ? s->status : service_state_word(s->state);
}

static const char *
explain_phase(const struct lifecycle_known *k)
{
    const struct run_state *run = k->run;
    if (run->why.id != ERR_NONE)
        return run->why.what;
    return k->status->status[0] ? k->status->status : run_phase_word(run->phase);
}

/* NULL: nothing is. */
static const char *
what_is_wrong(const struct lifecycle_known *k)
{
    const struct service_status *s = k->status;
    if (k->lost)
        return k->lost;
    if (is_put_aside(k))
        return NULL;
    if (k->record && lifecycle_is_breakers(k->record))
        return k->record->hold.why;
    if (s->state == SERVICE_STOPPED)
        return NULL;
    if (s->state != SERVICE_READY)
        return explain_state(s);
    if (k->is_silent)
        return LIFECYCLE_SILENT;
    return k->run && !run_phase_is_healthy(k->run->phase) ? explain_phase(k) : NULL;
}

bool
lifecycle_is_well(const struct lifecycle_known *known, const char **ret_why)
{
    *ret_why = what_is_wrong(known);
    return *ret_why == NULL;
}

uint64_t
lifecycle_next_attempt(const struct lifecycle_known *known, const struct budget *budget)
{
    const struct run_record *r = known->record;
    if (is_put_aside(known))
        return 0;
    if (r && lifecycle_is_breakers(r))
        return r->hold.since_us + lifecycle_rest_us(budget, r->failures);
    return known->status->next_us;
}

static void
print_record(const struct run_record *record, struct json_writer *w)
{
    json_u64(w, "crashes", record->failures);
    if (record->hold.set) {
        json_open_map(w, "hold");
        json_str(w, "by", record->hold.by);
        json_str(w, "why", record->hold.why);
        json_u64(w, "since_us", record->hold.since_us);
        json_close_map(w);
    }
    json_str(w, "stopped_by",
             record->wanted.state == RUN_WANTED_STOPPED ? record->wanted.by : NULL);
}

void
lifecycle_print_health(const struct lifecycle_known *known, struct json_writer *w)
{
    const char *why;
    json_bool(w, "healthy", lifecycle_is_well(known, &why));
    json_str(w, "why", why);
    if (known->record)
        print_record(known->record, w);
}
