#include "lifecycle/why.h"

#include "tap.h"

#include <stdio.h>

#define S UINT64_C(1000000)
#define NOW (1000000 * S)

static struct service_status status;
static struct run_record record;
static struct run_state run;
static struct lifecycle_decision decision;

static struct why_known
begin(enum service_state state)
{
    status = (struct service_status){.state = state, .last_exit = -1, .status = "loading"};
    record = (struct run_record){0};
    run = (struct run_state){.phase = RUN_READY};
    decision = (struct lifecycle_decision){.next_us = UINT64_MAX};
    return (struct why_known){.name = "phi3",
                              .model = {.status = &status, .record = &record},
                              .decision = &decision,
                              .no_status = "no supervisor answers",
                              .monitor_runs = true,
                              .times.budget = {.burst = 5, .start_us = 7200 * S}};
}

static void
check(const struct why_known *known, bool well, const char *wrong, const char *next,
      const char *fix)
{
    struct why_told told;
    lifecycle_why(known, NOW, &told);
    CHECK_EQ(told.well, well);
    CHECK_STR(told.wrong, wrong);
    CHECK_STR(told.next, next);
    CHECK_STR(told.fix, fix);
}

TEST(each_state_has_its_three_sentences)
{
    struct why_known k = begin(SERVICE_READY);
    check(&k, true, "nothing: loading", "nothing", "");
    k = begin(SERVICE_STARTING);
    check(&k, false, "it is not ready yet: loading",
          "it is ready when it answers; it is ended when it makes no progress, or after 2h",
          "citadel logs phi3");
    k = begin(SERVICE_BACKING_OFF);
    status.next_us = NOW + 20 * S;
    (void)snprintf(status.reason, sizeof(status.reason), "it crashed");
    check(&k, false, "it failed: it crashed",
          "it is started again in 20s; after 5 failures in a row the breaker opens",
          "citadel logs phi3");
    (void)err_set(&record.last.err, ERR_ENGINE_CRASHED, "it crashed");
    err_fix(&record.last.err, "set max_model_len");
    status.state = SERVICE_FAILED;
    status.last_exit = EXIT_CODE_USAGE;
    check(&k, false, "it will never work as it is: it crashed",
          "nothing, until a person does something", "set max_model_len");
}

TEST(what_the_monitor_would_do_is_told_only_where_it_runs)
{
    struct why_known k = begin(SERVICE_NOT_NOW);
    (void)snprintf(status.reason, sizeof(status.reason), "GPU 0 is full");
    decision.next_us = NOW + 30 * S;
    check(&k, false, "GPU 0 is full", "it is started when that is there, or tried in 30s",
          "citadel start phi3");
    k.monitor_runs = false;
    check(&k, false, "GPU 0 is full", "nothing: the monitor does not run, which would try it again",
          "citadel start phi3");
    status.next_us = NOW; /* by citadel up, which needs no monitor */
    check(&k, false, "GPU 0 is full", "it is started when that is there, or tried now",
          "citadel start phi3");
}

TEST(wishes_and_holds_come_before_states)
{
    struct why_known k = begin(SERVICE_STOPPED);
    record.hold.set = true;
    record.hold.kind = RUN_HOLD_BREAKER;
    (void)snprintf(record.hold.why, sizeof(record.hold.why), "it failed 5 times");
    decision.next_us = NOW + 300 * S;
    check(&k, false, "it failed 5 times", "it is tried once in 5m",
          "citadel logs phi3; when it is mended: citadel start phi3");
    record.hold.kind = RUN_HOLD_PERSON;
    (void)snprintf(record.hold.by, sizeof(record.hold.by), "anna");
    check(&k, true, "it is held by anna: it failed 5 times",
          "nothing, until a person does something", "citadel start phi3");
    record.hold.kind = RUN_HOLD_BREAKER;
    record.wanted.state = RUN_WANTED_STOPPED;
    (void)snprintf(record.wanted.by, sizeof(record.wanted.by), "anna");
    check(&k, true, "anna has stopped it", "nothing, until a person does something",
          "citadel start phi3");
    record.hold.set = false;
    check(&k, true, "anna has stopped it", "nothing, until a person does something",
          "citadel start phi3");
}

TEST(what_is_not_known_is_said_to_be)
{
    struct why_known k = begin(SERVICE_READY);
    k.model.status = NULL;
    k.monitor_runs = false;
    check(&k, false, "whether it runs is not known (no supervisor answers); it has never ended",
          "nothing: nobody runs the services", "citadel up, or systemctl start citadel-ai.target");
    record.last.at_us = 1;
    (void)err_set(&record.last.err, ERR_ENGINE_CRASHED, "it crashed");
    check(&k, false,
          "whether it runs is not known (no supervisor answers); the last time it ended because: "
          "it crashed",
          "nothing: nobody runs the services", "citadel up, or systemctl start citadel-ai.target");
}

TEST(what_is_remembered_may_be_lost)
{
    struct why_known k = begin(SERVICE_READY);
    k.model.lost = "cannot read /x: Input/output error";
    check(&k, false, "cannot read /x: Input/output error",
          "nothing: nobody knows whether a person has stopped or holds it",
          "citadel storage verify");
}

TEST(every_state_says_something)
{
    for (unsigned i = 0; i < SERVICE_STATE_COUNT; i++) {
        struct why_known k = begin((enum service_state)i);
        struct why_told told;
        lifecycle_why(&k, NOW, &told);
        CHECK(told.wrong[0] && told.next[0]);
    }
}

TEST(of_a_service_that_is_no_model_its_state_is_told)
{
    static const struct {
        enum service_state state;
        bool well;
        const char *reason, *wrong, *next, *fix;
    } rows[] = {
        {SERVICE_READY, true, "", "nothing", "nothing", ""},
        {SERVICE_STARTING, true, "", "nothing", "nothing", ""},
        {SERVICE_STOPPED, false, "", "stopped", "nothing, until a person does something",
         "citadel start monitor"},
        {SERVICE_BACKING_OFF, false, "the port is taken", "the port is taken",
         "it is started again", "citadel logs monitor; then citadel start monitor"},
        {SERVICE_FAILED, false, "it crashed", "it crashed",
         "nothing, until a person does something",
         "citadel logs monitor; then citadel start monitor"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct service_status s = {.state = rows[i].state};
        struct why_known k = {.name = "monitor", .model.status = &s};
        struct why_told told;
        (void)snprintf(s.reason, sizeof(s.reason), "%s", rows[i].reason);
        tap_note("row %zu", i);
        lifecycle_why_keeper(&k, &told);
        CHECK_EQ(told.well, rows[i].well);
        CHECK_STR(told.wrong, rows[i].wrong);
        CHECK_STR(told.next, rows[i].next);
        CHECK_STR(told.fix, rows[i].fix);
    }
}
