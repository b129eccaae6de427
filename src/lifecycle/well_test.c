#include "lifecycle/well.h"

#include "lifecycle/lifecycle.h"
#include "tap.h"

#include <stdio.h>

#define S UINT64_C(1000000)
#define NOW (1000000 * S)

static const struct budget budget = {.burst = 3, .delay_us = 10 * S};

static void
hold(struct run_record *record, const char *by)
{
    record->hold.set = true;
    record->hold.since_us = NOW;
    (void)snprintf(record->hold.by, sizeof(record->hold.by), "%s", by);
    record->hold.kind = text_eq(by, RUN_BREAKER) ? RUN_HOLD_BREAKER : RUN_HOLD_PERSON;
    (void)snprintf(record->hold.why, sizeof(record->hold.why), "it failed");
}

TEST(what_is_wanted_works_and_nothing_else_need)
{
    static const struct {
        enum service_state state;
        const char *reason, *status, *held_by;
        enum run_wanted wanted;
        const char *why; /* NULL: all is well */
    } rows[] = {
        {SERVICE_READY, "", "ready", NULL, 0, NULL},
        {SERVICE_READY, "", "ready", "anna", 0, NULL},
        {SERVICE_READY, "", "ready", RUN_BREAKER, 0, "it failed"},
        {SERVICE_STOPPED, "", "", NULL, 0, NULL},
        {SERVICE_STOPPED, "", "", "anna", 0, NULL},
        {SERVICE_STOPPED, "", "", RUN_BREAKER, 0, "it failed"},
        {SERVICE_STOPPED, "", "", RUN_BREAKER, RUN_WANTED_STOPPED, NULL},
        {SERVICE_FAILED, "no such file", "ended", NULL, 0, "no such file"},
        {SERVICE_FAILED, "no such file", "ended", "anna", 0, NULL},
        {SERVICE_FAILED, "no such file", "ended", NULL, RUN_WANTED_STOPPED, NULL},
        {SERVICE_FAILED, "no such file", "ended", NULL, RUN_WANTED_STARTED, "no such file"},
        {SERVICE_NOT_NOW, "held", "", "anna", 0, NULL},
        {SERVICE_NOT_NOW, "its port is taken", "", NULL, 0, "its port is taken"},
        {SERVICE_STARTING, "", "loading", NULL, 0, "loading"},
        {SERVICE_STARTING, "it crashed before", "loading", NULL, 0, "it crashed before"},
        {SERVICE_STARTING, "", "loading", NULL, RUN_WANTED_STOPPED, "loading"},
        {SERVICE_STOPPING, "", "finishing 2 requests", NULL, RUN_WANTED_STOPPED, NULL},
        {SERVICE_STOPPING, "", "finishing 2 requests", NULL, 0, "finishing 2 requests"},
        {SERVICE_WAITING, "waits for b, which is failed", "", NULL, 0,
         "waits for b, which is failed"},
        {SERVICE_BACKING_OFF, "", "", NULL, 0, "backing-off"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct service_status status = {.state = rows[i].state};
        struct run_record record = {.wanted.state = rows[i].wanted};
        const struct lifecycle_known known = {.status = &status, .record = &record};
        const char *why;
        tap_note("row %zu", i);
        (void)snprintf(status.reason, sizeof(status.reason), "%s", rows[i].reason);
        (void)snprintf(status.status, sizeof(status.status), "%s", rows[i].status);
        if (rows[i].held_by)
            hold(&record, rows[i].held_by);
        CHECK_EQ(lifecycle_is_well(&known, &why), rows[i].why == NULL);
        CHECK_STR(why ? why : "", rows[i].why ? rows[i].why : "");
    }
}

TEST(what_runs_says_how_it_is)
{
    static const struct {
        enum run_phase phase;
        bool is_silent, was_asked;
        const char *status, *because;
        const char *why; /* NULL: all is well */
    } rows[] = {
        {RUN_READY, false, true, "ready", NULL, NULL},
        {RUN_SLEEPING, false, true, "asleep", NULL, NULL},
        {RUN_DEGRADED, false, true, "degraded", "it is slow", "it is slow"},
        {RUN_DRAINING, false, true, "finishing 2 requests", NULL, "finishing 2 requests"},
        {RUN_DRAINING, false, true, "", NULL, "draining"},
        {RUN_READY, false, false, "ready", NULL, NULL},
        {RUN_READY, true, false, "ready", NULL, LIFECYCLE_SILENT},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct service_status status = {.state = SERVICE_READY};
        struct run_state run = {.phase = rows[i].phase};
        const struct lifecycle_known known = {.status = &status,
                                              .run = rows[i].was_asked ? &run : NULL,
                                              .is_silent = rows[i].is_silent};
        const char *why;
        tap_note("row %zu", i);
        (void)snprintf(status.status, sizeof(status.status), "%s", rows[i].status);
        if (rows[i].because)
            (void)err_set(&run.why, ERR_ENGINE_SLOW, "%s", rows[i].because);
        CHECK_EQ(lifecycle_is_well(&known, &why), rows[i].why == NULL);
        CHECK_STR(why ? why : "", rows[i].why ? rows[i].why : "");
    }
}

TEST(the_next_attempt_is_that_of_who_makes_it)
{
    struct service_status status = {.state = SERVICE_BACKING_OFF, .next_us = NOW + 20 * S};
    struct run_record record = {.failures = 4};
    const struct lifecycle_known known = {.status = &status, .record = &record};
    CHECK_EQ(lifecycle_next_attempt(&known, &budget), NOW + 20 * S);
    status = (struct service_status){.state = SERVICE_STOPPED};
    CHECK_EQ(lifecycle_next_attempt(&known, &budget), 0);
    hold(&record, RUN_BREAKER);
    CHECK_EQ(lifecycle_next_attempt(&known, &budget), NOW + 600 * S);
    record.wanted.state = RUN_WANTED_STOPPED;
    CHECK_EQ(lifecycle_next_attempt(&known, &budget), 0);
    record.wanted.state = RUN_WANTED_UNSAID;
    hold(&record, "anna");
    CHECK_EQ(lifecycle_next_attempt(&known, &budget), 0);
}
