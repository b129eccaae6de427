#pragma once

/* Whether a service is as it should be, and why not: the same for a person who asks for its health, for
 * `/health` and for metrics. Pure. */

#include "run/record.h"
#include "run/state.h"
#include "service/service.h"

struct budget;
struct json_writer;

struct lifecycle_known {
    const struct service_status *status;
    const struct run_record *record; /* NULL: it is no model */
    const struct run_state *run;     /* NULL: its shim was not asked, or has not answered */
    bool is_silent;                  /* it runs, was asked, and has not answered */
    const char *lost;                /* why what is remembered cannot be read; NULL: it can */
};

/* What nobody wants now is as it should be: what a person has stopped or holds, and what was never started.
 * What is wanted is not until it is ready. *ret_why: a sentence when it is not, valid as long as what is
 * known; else NULL. */
bool lifecycle_is_well(const struct lifecycle_known *known, const char **ret_why);

/* When it is tried again by itself, since 1970; 0: it is not, or when nobody can tell. */
uint64_t lifecycle_next_attempt(const struct lifecycle_known *known, const struct budget *budget);

/* Members of a map that the caller opens and closes: whether it is well, and what is remembered. */
void lifecycle_print_health(const struct lifecycle_known *known, struct json_writer *w);
