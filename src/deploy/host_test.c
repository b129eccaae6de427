#include "deploy/host_int.h"

#include "config/config.h"
#include "run/record.h"
#include "tap.h"
#include "unit/rest.h"

#include <stdio.h>

/* A model may drain for longer than others may take to start. */
TEST(only_what_starts_has_the_deadline_of_a_deployment)
{
    static const struct {
        enum deploy_act act;
        uint64_t want_us;
    } rows[] = {{DEPLOY_STOP, 0}, {DEPLOY_START, 7}, {DEPLOY_RESTART, 7}, {DEPLOY_RELOAD, 7}};
    const struct deploy_machine machine = {.deadline_us = 7};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct deploy_order order = {.act = rows[i].act, .unit = "citadel-a.service"};
        CHECK_EQ(deploy_limit_us(&machine, &order), rows[i].want_us);
    }
    CHECK_EQ(deploy_limit_us(&machine, NULL), 7);
}

static void
hold(struct run_record *record, const void *by)
{
    record->hold.set = true;
    record->hold.kind = text_eq(by, RUN_BREAKER) ? RUN_HOLD_BREAKER : RUN_HOLD_PERSON;
    (void)snprintf(record->hold.by, sizeof(record->hold.by), "%s", (const char *)by);
}

/* A model that the configuration lacks, as after its line was deleted: its record tells, and where that has
 * nothing to say, what rests. */
TEST(what_a_person_stopped_is_shunned_whatever_the_configuration_has)
{
    static const struct {
        const char *note;
        enum run_wanted wanted;
        const char *held_by;
        bool rests;
        enum deploy_life want;
    } rows[] = {
        {"never touched", RUN_WANTED_UNSAID, NULL, false, DEPLOY_RESTS},
        {"stopped", RUN_WANTED_STOPPED, NULL, false, DEPLOY_SHUNNED},
        {"stopped, and the record could not be written", RUN_WANTED_UNSAID, NULL, true,
         DEPLOY_SHUNNED},
        {"started since", RUN_WANTED_STARTED, NULL, true, DEPLOY_RESTS},
        {"held", RUN_WANTED_STARTED, "anna", false, DEPLOY_SHUNNED},
        {"held by the breaker", RUN_WANTED_STARTED, RUN_BREAKER, false, DEPLOY_HELD},
        {"and stopped", RUN_WANTED_STOPPED, RUN_BREAKER, false, DEPLOY_SHUNNED},
    };
    const struct config config = {.paths = {.state = tap_dir(), .generations = tap_dir()}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char name[16], unit[64];
        const struct run_record_wish wish = {rows[i].wanted, "anna"};
        enum deploy_life life = DEPLOY_RUNS;
        (void)snprintf(name, sizeof(name), "m%zu", i);
        (void)snprintf(unit, sizeof(unit), "citadel-%s.service", name);
        tap_note("%s", rows[i].note);
        if (rows[i].wanted)
            REQUIRE(run_record_change(tap_dir(), name, run_record_wish, &wish, NULL, NULL) == 0);
        if (rows[i].held_by)
            REQUIRE(run_record_change(tap_dir(), name, hold, rows[i].held_by, NULL, NULL) == 0);
        if (rows[i].rests)
            REQUIRE(unit_rest_begin(tap_dir(), unit, NULL) == 0);
        CHECK_EQ(deploy_look_why(&config, unit, &life, NULL), 0);
        CHECK_EQ(life, rows[i].want);
    }
}

/* What is deployed anew is let go by the breaker, and what is no model gets no record. */
TEST(a_record_is_a_models_also_when_the_configuration_lacks_it)
{
    const struct config config = {.paths = {.state = tap_dir()}};
    struct deploy_order order = {
        .act = DEPLOY_START, .unit = "citadel-phi3.service", .changed = true};
    struct run_record record;
    CHECK_EQ(run_record_change(tap_dir(), "phi3", hold, RUN_BREAKER, NULL, NULL), 0);
    CHECK_EQ(deploy_forgive(&config, &order, NULL), 0);
    CHECK_EQ(run_record_load(tap_dir(), "phi3", &record, NULL), 0);
    CHECK(!record.hold.set);
    order.unit = "citadel-storage.service";
    CHECK_EQ(deploy_forgive(&config, &order, NULL), 0);
    CHECK(!run_record_has_place(tap_dir(), "storage"));
}
