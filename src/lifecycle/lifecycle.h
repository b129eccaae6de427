#pragma once

/* What is to be done about a model, and when: decided from what is durable (run/record.h), from what
 * runs it (service/service.h) and from how it says that it is (run/state.h). Pure: the clock is an
 * argument, and nothing is done here. Whoever takes over from a monitor that was killed decides the
 * same from the same.
 *
 * A model that fails is started again by who runs it, within a budget. When that is spent, a breaker
 * opens: a hold in the record, so that nobody starts it, and the model is stopped. After a while it
 * is tried once (half-open), with the hold lifted; a failure opens it again, for twice as long; ten
 * minutes of health close it. Failures are counted in the record, so the breaker needs no state of
 * its own:
 *
 *     a hold that is ours                               open
 *     none, and as many failures as the budget has      half-open, if it runs
 *     fewer failures                                    closed
 *
 * What a person has stopped, or holds, is left alone, whatever it does. So is what goes down without
 * a word of ours, which a person has done then, unless all models stop, or a deployment is under way:
 * what that stops, and does not start again because it is killed, is nobody's wish. */

#include "base/budget.h"
#include "lifecycle/event.h"
#include "run/record.h"
#include "run/state.h"
#include "service/service.h"

bool lifecycle_is_breakers(const struct run_record *record); /* the hold in it */

/* Of one that is ready, and does not say so when it is asked. */
#define LIFECYCLE_SILENT "nobody answers at its control socket"

/* ACT(NAME, event, "what is done") */
#define LIFECYCLE_ACTS(ACT)                                                                  \
    ACT(OPEN, BREAKER_OPEN, "a hold is set, then it is stopped")                             \
    ACT(STOP, BREAKER_OPEN, "it is held, and stopped once more")                             \
    ACT(TRY, BREAKER_TRIAL, "the hold is lifted, then it is started")                        \
    ACT(AGAIN, AGAIN, "it is started, and nothing is forgotten")                             \
    ACT(RESTART, RESTARTED, "it counts as a failure, then it is restarted")                  \
    ACT(FORGIVE, FORGIVEN, "who runs it forgets its failures, which else count for hours")   \
    ACT(LEAVE, LEFT_ALONE, "that it is to be stopped is remembered as the wish of a person") \
    ACT(TAKE_UP, TAKEN_UP, "that it is to run is remembered likewise")

enum lifecycle_act {
    LIFECYCLE_NOTHING,
#define ACT(name, event, help) LIFECYCLE_##name,
    LIFECYCLE_ACTS(ACT)
#undef ACT
        LIFECYCLE_ACT_COUNT
};
enum event_kind lifecycle_act_event(enum lifecycle_act act); /* not of LIFECYCLE_NOTHING */

enum lifecycle_breaker { LIFECYCLE_CLOSED, LIFECYCLE_OPENED, LIFECYCLE_HALF_OPEN };

/* A model as it is seen. */
struct lifecycle_seen {
    const struct service_status *status;
    const struct run_record *record;
    const struct run_state *run; /* NULL: its shim was not asked, or has not answered */
    unsigned silent_looks;       /* times in a row that it was asked, ready, and did not answer */
    bool asked_to;               /* what it is on its way to was our order */
    bool is_stopping_with_all;   /* all models are: nobody meant this one */
    bool is_deploying;           /* if lifecycle_has_turned(): a deployment may have done it */
    bool has_room;               /* what it lacked may be there: memory, its port, space */
    bool restart_unhealthy;      /* monitor.restart_unhealthy */
    uint64_t stall_us;           /* its stall_limit */
    struct budget budget;
};

/* What is remembered of a model from one look to the next; zeroed at first. */
struct lifecycle {
    bool looked;
    bool was_up; /* it ran when it was last seen to settle, if looked */
    bool was_held;
    unsigned again;       /* times in a row that it was started again */
    uint64_t forgiven_us; /* the `since` of what was forgiven last */
};

struct lifecycle_decision {
    enum lifecycle_act act;
    uint64_t next_us; /* since 1970: when to look again if nothing changes; UINT64_MAX: never */
    char why[400];    /* of the act, or of what is waited for; "" */
};

/* Whether it has gone down, or come up, since it was looked at last. */
bool lifecycle_has_turned(const struct lifecycle *l, const struct service_status *status);

/* Looks at a model: to be called whenever something has changed, and at next_us. Who decides that
 * something is done must do it: it is not decided twice. */
void lifecycle_look(struct lifecycle *l, const struct lifecycle_seen *seen, uint64_t now_us,
                    struct lifecycle_decision *ret_decision);

enum lifecycle_breaker lifecycle_breaker(const struct run_record *record,
                                         const struct budget *budget);

/* How long the breaker stays open after so many failures: thirty times the budget's first delay,
 * doubled with each trial that has failed, an hour at most. */
uint64_t lifecycle_rest_us(const struct budget *budget, unsigned failures);

/* Changes, for run_record_change(). */
struct lifecycle_change {
    const char *why;
    uint64_t at_us;
    unsigned burst;
};
void lifecycle_open(struct run_record *record, const void *arg);   /* struct lifecycle_change */
void lifecycle_try(struct run_record *record, const void *arg);    /* likewise */
void lifecycle_unwell(struct run_record *record, const void *arg); /* likewise */
