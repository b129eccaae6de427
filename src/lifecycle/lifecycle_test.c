#include "lifecycle/lifecycle.h"

#include "tap.h"

#include <stdio.h>

#define S UINT64_C(1000000)
#define NOW (1000000 * S)

static const struct budget budget = {
    .burst = 3, .delay_us = 10 * S, .forgive_us = 600 * S, .start_us = 60 * S};

/* A model as a test tells it; the rest is as it mostly is. */
struct scene {
    struct service_status status;
    struct run_record record;
    struct run_state run;
    struct lifecycle memory;
    struct lifecycle_seen seen;
};

static void
set(struct scene *m, enum service_state state, uint64_t age_s)
{
    *m = (struct scene){.status = {.state = state,
                                   .since_us = NOW - age_s * S,
                                   .last_exit = -1,
                                   .reason = "a reason"},
                        .seen = {.budget = budget, .restart_unhealthy = true, .stall_us = 120 * S}};
    m->seen.status = &m->status;
    m->seen.record = &m->record;
}

static void
hold(struct scene *m, const char *by, uint64_t age_s)
{
    m->record.hold.set = true;
    m->record.hold.since_us = NOW - age_s * S;
    (void)snprintf(m->record.hold.by, sizeof(m->record.hold.by), "%s", by);
    m->record.hold.kind = text_eq(by, RUN_BREAKER) ? RUN_HOLD_BREAKER : RUN_HOLD_PERSON;
}

static struct lifecycle_decision
look_at(struct scene *m, uint64_t now_us)
{
    struct lifecycle_decision d;
    lifecycle_look(&m->memory, &m->seen, now_us, &d);
    return d;
}

TEST(each_state_leads_to_what_the_table_says)
{
    static const struct {
        const char *what;
        enum service_state state;
        unsigned age_s, failures, last_exit, hold_age_s;
        const char *held_by;
        enum run_wanted wanted;
        enum lifecycle_act want;
        int next_s; /* from now; -1: nothing is waited for */
    } rows[] = {
        {"all is well", SERVICE_READY, 60, 0, 0, 0, NULL, 0, LIFECYCLE_NOTHING, -1},
        {"it loads", SERVICE_STARTING, 9999, 2, 0, 0, NULL, 0, LIFECYCLE_NOTHING, -1},
        {"a crash within the budget", SERVICE_BACKING_OFF, 1, 2, 1, 0, NULL, 0, LIFECYCLE_NOTHING,
         -1},
        {"the budget is spent", SERVICE_BACKING_OFF, 1, 3, 1, 0, NULL, 0, LIFECYCLE_OPEN, -1},
        {"and given up", SERVICE_FAILED, 1, 3, 1, 0, NULL, 0, LIFECYCLE_OPEN, -1},
        {"killed before it could write", SERVICE_FAILED, 1, 0, 137, 0, NULL, 0, LIFECYCLE_OPEN, -1},
        {"it will never work", SERVICE_FAILED, 1, 0, 64, 0, NULL, 0, LIFECYCLE_NOTHING, -1},
        {"never, in a trial", SERVICE_FAILED, 1, 4, 64, 0, NULL, 0, LIFECYCLE_NOTHING, -1},
        {"held by us, and stopped", SERVICE_STOPPED, 1, 3, 1, 100, RUN_BREAKER, 0,
         LIFECYCLE_NOTHING, 200},
        {"rested for long enough", SERVICE_STOPPED, 1, 3, 1, 300, RUN_BREAKER, 0, LIFECYCLE_TRY,
         -1},
        {"after two trials, not yet", SERVICE_STOPPED, 1, 5, 1, 300, RUN_BREAKER, 0,
         LIFECYCLE_NOTHING, 900},
        {"held by us, and not stopped", SERVICE_READY, 1, 3, 1, 1, RUN_BREAKER, 0, LIFECYCLE_STOP,
         -1},
        {"the shim has seen the hold", SERVICE_NOT_NOW, 1, 3, 75, 1, RUN_BREAKER, 0,
         LIFECYCLE_NOTHING, 299},
        {"held by us, and ends", SERVICE_STOPPING, 1, 3, 1, 9999, RUN_BREAKER, 0, LIFECYCLE_NOTHING,
         -1},
        {"held by a person", SERVICE_FAILED, 1, 9, 1, 9999, "anna", 0, LIFECYCLE_NOTHING, -1},
        {"not now, a moment ago", SERVICE_NOT_NOW, 10, 0, 75, 0, NULL, 0, LIFECYCLE_NOTHING, 20},
        {"not now, for long", SERVICE_NOT_NOW, 30, 0, 75, 0, NULL, 0, LIFECYCLE_AGAIN, -1},
        {"not now, and stopped by a person", SERVICE_NOT_NOW, 9999, 0, 75, 0, NULL,
         RUN_WANTED_STOPPED, LIFECYCLE_NOTHING, -1},
        {"spent, and stopped by a person", SERVICE_FAILED, 9999, 9, 1, 0, NULL, RUN_WANTED_STOPPED,
         LIFECYCLE_NOTHING, -1},
        {"rested, and stopped by a person", SERVICE_STOPPED, 1, 3, 1, 9999, RUN_BREAKER,
         RUN_WANTED_STOPPED, LIFECYCLE_NOTHING, -1},
        {"stopped before we came", SERVICE_STOPPED, 9999, 0, 0, 0, NULL, 0, LIFECYCLE_NOTHING, -1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct scene m;
        tap_note("%s", rows[i].what);
        set(&m, rows[i].state, rows[i].age_s);
        m.status.last_exit = (int)rows[i].last_exit;
        m.record.failures = rows[i].failures;
        m.record.wanted.state = rows[i].wanted;
        m.record.wanted.since_us = NOW;
        if (rows[i].held_by)
            hold(&m, rows[i].held_by, rows[i].hold_age_s);
        struct lifecycle_decision d = look_at(&m, NOW);
        CHECK_EQ(d.act, rows[i].want);
        CHECK_EQ(d.next_us, rows[i].next_s < 0 ? UINT64_MAX : NOW + (unsigned)rows[i].next_s * S);
        CHECK(d.act == LIFECYCLE_NOTHING || d.why[0]);
    }
}

TEST(what_is_tried_by_who_runs_it_is_only_hurried)
{
    struct scene m;
    set(&m, SERVICE_NOT_NOW, 9999);
    m.status.next_us = NOW + 5 * S;
    CHECK_EQ(look_at(&m, NOW).act, LIFECYCLE_NOTHING);
    m.seen.has_room = true;
    CHECK_EQ(look_at(&m, NOW).act, LIFECYCLE_AGAIN);
}

TEST(a_lifted_hold_is_no_reason_to_wait)
{
    struct scene m;
    set(&m, SERVICE_NOT_NOW, 0);
    hold(&m, "anna", 0);
    CHECK_EQ(look_at(&m, NOW).act, LIFECYCLE_NOTHING);
    m.record.hold.set = false;
    CHECK_EQ(look_at(&m, NOW).act, LIFECYCLE_AGAIN);
    CHECK_EQ(look_at(&m, NOW).act, LIFECYCLE_NOTHING);
}

TEST(again_and_again_takes_longer_until_it_was_ready)
{
    struct scene m;
    uint64_t now = NOW;
    set(&m, SERVICE_NOT_NOW, 0);
    for (unsigned i = 0; i < 6; i++) {
        m.status.since_us = now;
        struct lifecycle_decision d = look_at(&m, now);
        CHECK_EQ(d.act, LIFECYCLE_NOTHING);
        CHECK_EQ(d.next_us, now + service_not_now_delay(i));
        CHECK_EQ(look_at(&m, d.next_us - 1).act, LIFECYCLE_NOTHING);
        now = d.next_us;
        CHECK_EQ(look_at(&m, now).act, LIFECYCLE_AGAIN);
    }
    m.status.state = SERVICE_READY;
    (void)look_at(&m, now);
    m.status.state = SERVICE_NOT_NOW;
    m.status.since_us = now;
    CHECK_EQ(look_at(&m, now).next_us, now + service_not_now_delay(0));
}

TEST(only_what_is_unwell_for_good_is_restarted_and_never_while_it_loads)
{
    static const struct {
        enum service_state state;
        unsigned silent_looks, degraded_s, failures;
        enum err_id why;
        bool may;
        enum lifecycle_act want;
    } rows[] = {
        {SERVICE_READY, 2, 0, 0, ERR_NONE, true, LIFECYCLE_NOTHING},
        {SERVICE_READY, 3, 0, 0, ERR_NONE, true, LIFECYCLE_RESTART},
        {SERVICE_READY, 3, 0, 0, ERR_NONE, false, LIFECYCLE_NOTHING},
        {SERVICE_READY, 3, 0, 2, ERR_NONE, true, LIFECYCLE_OPEN},
        {SERVICE_STARTING, 99, 0, 0, ERR_NONE, true, LIFECYCLE_NOTHING},
        {SERVICE_STARTING, 0, 99999, 0, ERR_ENGINE_HUNG, true, LIFECYCLE_NOTHING},
        {SERVICE_READY, 0, 299, 0, ERR_ENGINE_HUNG, true, LIFECYCLE_NOTHING},
        {SERVICE_READY, 0, 300, 0, ERR_ENGINE_HUNG, true, LIFECYCLE_RESTART},
        {SERVICE_READY, 0, 99999, 0, ERR_ENGINE_SLOW, true, LIFECYCLE_NOTHING},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct scene m;
        tap_note("row %zu", i);
        set(&m, rows[i].state, 99999);
        m.seen.silent_looks = rows[i].silent_looks;
        m.seen.restart_unhealthy = rows[i].may;
        m.record.failures = rows[i].failures;
        m.run.phase = rows[i].degraded_s ? RUN_DEGRADED : RUN_READY;
        m.run.since_us = NOW - rows[i].degraded_s * S;
        m.run.why.id = rows[i].why;
        m.seen.run = &m.run;
        CHECK_EQ(look_at(&m, NOW).act, rows[i].want);
    }
}

/* STARTING, READY, then STOPPED without our order: as phase 3 does with each that is loaded on demand. */
TEST(what_a_deployment_stops_and_starts_is_nobodys_wish)
{
    for (unsigned at_stopping = 0; at_stopping < 2; at_stopping++) {
        struct scene m;
        set(&m, SERVICE_READY, 60);
        CHECK_EQ(look_at(&m, NOW).act, LIFECYCLE_NOTHING);
        m.status.state = SERVICE_STOPPING;
        CHECK(lifecycle_has_turned(&m.memory, &m.status));
        m.seen.is_deploying = at_stopping;
        CHECK_EQ(look_at(&m, NOW).act, LIFECYCLE_NOTHING);
        m.status.state = SERVICE_STOPPED;
        m.status.since_us = NOW;
        m.seen.is_deploying = !at_stopping;
        CHECK_EQ(look_at(&m, NOW).act, LIFECYCLE_NOTHING);
        m.seen.is_deploying = false; /* it was killed, or has ended */
        CHECK(!lifecycle_has_turned(&m.memory, &m.status));
        CHECK_EQ(look_at(&m, NOW + 100 * S).act, LIFECYCLE_NOTHING);
    }
    struct scene m;
    set(&m, SERVICE_STOPPED, 60);
    m.record.wanted.state = RUN_WANTED_STOPPED;
    m.record.wanted.since_us = NOW - 30 * S;
    CHECK_EQ(look_at(&m, NOW).act, LIFECYCLE_NOTHING);
    m.status.state = SERVICE_STARTING;
    m.status.since_us = NOW;
    m.seen.is_deploying = true;
    CHECK_EQ(look_at(&m, NOW).act, LIFECYCLE_NOTHING);
    m.seen.is_deploying = false;
    CHECK_EQ(look_at(&m, NOW + S).act, LIFECYCLE_NOTHING);
}

TEST(what_others_stop_and_start_is_their_wish)
{
    struct scene m;
    set(&m, SERVICE_READY, 60);
    CHECK_EQ(look_at(&m, NOW).act, LIFECYCLE_NOTHING);
    m.status.state = SERVICE_STOPPING;
    CHECK_EQ(look_at(&m, NOW).act, LIFECYCLE_NOTHING);
    m.status.state = SERVICE_STOPPED;
    m.status.since_us = NOW;
    CHECK_EQ(look_at(&m, NOW + 3 * S - 1).act, LIFECYCLE_NOTHING); /* a restart stops, too */
    CHECK_EQ(look_at(&m, NOW + 3 * S).act, LIFECYCLE_LEAVE);
    CHECK_EQ(look_at(&m, NOW + 4 * S).act, LIFECYCLE_NOTHING);
    m.record.wanted.state = RUN_WANTED_STOPPED;
    m.record.wanted.since_us = NOW + 3 * S;
    CHECK_EQ(look_at(&m, NOW + 5 * S).act, LIFECYCLE_NOTHING);
    m.status.state = SERVICE_STARTING;
    m.status.since_us = NOW + 9 * S;
    CHECK_EQ(look_at(&m, NOW + 9 * S).act, LIFECYCLE_TAKE_UP);
}

TEST(what_stops_for_a_known_reason_is_nobodys_wish)
{
    static const struct {
        bool asked_to, with_all, ours, restarted;
    } rows[] = {{.asked_to = true}, {.with_all = true}, {.ours = true}, {.restarted = true}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct scene m;
        tap_note("row %zu", i);
        set(&m, SERVICE_READY, 60);
        (void)look_at(&m, NOW);
        m.status.state = SERVICE_STOPPED;
        m.status.since_us = NOW;
        m.seen.asked_to = rows[i].asked_to;
        m.seen.is_stopping_with_all = rows[i].with_all;
        if (rows[i].ours)
            hold(&m, RUN_BREAKER, 0);
        CHECK_EQ(look_at(&m, NOW + 1 * S).act, LIFECYCLE_NOTHING);
        m.seen.asked_to = m.seen.is_stopping_with_all = false;
        if (rows[i].restarted)
            m.status.state = SERVICE_STARTING;
        CHECK_EQ(look_at(&m, NOW + 9 * S).act, LIFECYCLE_NOTHING);
    }
}

TEST(health_is_rewarded_once)
{
    struct scene m;
    set(&m, SERVICE_READY, 599);
    m.status.restarts = 2;
    struct lifecycle_decision d = look_at(&m, NOW);
    CHECK_EQ(d.act, LIFECYCLE_NOTHING);
    CHECK_EQ(d.next_us, NOW + 1 * S);
    CHECK_EQ(look_at(&m, d.next_us).act, LIFECYCLE_FORGIVE);
    CHECK_EQ(look_at(&m, d.next_us + 9999 * S).act, LIFECYCLE_NOTHING);
}

TEST(a_person_who_is_called_as_the_breaker_is_a_person)
{
    struct scene m;
    set(&m, SERVICE_STOPPED, 9999);
    hold(&m, RUN_BREAKER, 9999);
    m.record.failures = 3;
    m.record.hold.kind = RUN_HOLD_PERSON;
    CHECK(!lifecycle_is_breakers(&m.record));
    struct lifecycle_decision d = look_at(&m, NOW);
    CHECK_EQ(d.act, LIFECYCLE_NOTHING);
    CHECK(strstr(d.why, "it is held by the breaker"));
}

TEST(a_trial_that_was_not_begun_is_begun_by_the_next)
{
    struct scene m;
    const struct lifecycle_change change = {.at_us = NOW - 300 * S};
    set(&m, SERVICE_STOPPED, 600);
    hold(&m, RUN_BREAKER, 600);
    m.record.failures = 3;
    m.record.last.at_us = NOW - 600 * S;
    lifecycle_try(&m.record, &change);
    CHECK_EQ(look_at(&m, NOW - 1).act, LIFECYCLE_NOTHING); /* it may just be on its way */
    CHECK_EQ(look_at(&m, NOW).act, LIFECYCLE_TRY);
    m.record.last.at_us = NOW - 200 * S; /* it has been, and somebody has stopped it */
    CHECK_EQ(look_at(&m, NOW).act, LIFECYCLE_NOTHING);
}

TEST(a_clock_that_is_set_back_delays_no_longer_than_from_now_on)
{
    struct scene m;
    set(&m, SERVICE_NOT_NOW, 0);
    m.status.since_us = NOW + 99999 * S;
    CHECK_EQ(look_at(&m, NOW).next_us, NOW + 30 * S);
}

/* ---- for long ---- */

static uint64_t seed;

static unsigned
draw(unsigned below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % below;
}

/* A model that never lasts, under one who starts it again as the budget allows, and us. */
struct world {
    struct scene m;
    uint64_t now_us, opened_us, start_at_us, end_at_us, rest_us;
    unsigned starts, opened;
};

static void
start(struct world *w)
{
    w->m.status.state = SERVICE_STARTING;
    w->m.status.since_us = w->now_us;
    w->end_at_us = w->now_us + (1 + draw(30)) * S;
    w->start_at_us = UINT64_MAX;
    w->starts++;
}

static void
end(struct world *w)
{
    struct err why = {.id = ERR_ENGINE_CRASHED, .what = "it crashed"};
    run_record_ended(&w->m.record, &(struct run_record_end){
                                       .at_us = w->now_us, .exit = EXIT_CODE_FAILED, .why = &why});
    w->m.status.failures++;
    uint64_t delay = budget_delay(&budget, w->m.status.failures);
    w->m.status.state = delay == UINT64_MAX ? SERVICE_FAILED : SERVICE_BACKING_OFF;
    w->m.status.since_us = w->now_us;
    w->m.status.last_exit = EXIT_CODE_FAILED;
    w->start_at_us = delay == UINT64_MAX ? UINT64_MAX : w->now_us + delay;
    w->end_at_us = UINT64_MAX;
}

static void
obey(struct world *w, const struct lifecycle_decision *d)
{
    const struct lifecycle_change change = {d->why, w->now_us, budget.burst};
    if (d->act == LIFECYCLE_OPEN) {
        uint64_t rest = lifecycle_rest_us(&budget, w->m.record.failures);
        CHECK(rest >= w->rest_us); /* never shorter than the one before */
        w->rest_us = rest;
        lifecycle_open(&w->m.record, &change);
        w->opened_us = w->now_us;
        w->opened++;
        w->m.status.state = SERVICE_STOPPED;
        w->start_at_us = w->end_at_us = UINT64_MAX;
    } else if (d->act == LIFECYCLE_TRY) {
        CHECK(w->now_us - w->opened_us >= w->rest_us);
        CHECK_EQ(lifecycle_breaker(&w->m.record, &budget), LIFECYCLE_OPENED);
        lifecycle_try(&w->m.record, &change);
        CHECK_EQ(lifecycle_breaker(&w->m.record, &budget), LIFECYCLE_HALF_OPEN);
        w->m.status.failures = 0;
        start(w);
    } else {
        CHECK_EQ(d->act, LIFECYCLE_NOTHING);
    }
}

TEST(what_always_fails_is_tried_ever_less_often_whoever_watches)
{
    for (unsigned run = 0; run < 50; run++) {
        struct world w = {.now_us = NOW, .start_at_us = UINT64_MAX};
        seed = run;
        tap_note("seed %u", run);
        set(&w.m, SERVICE_STOPPED, 0);
        start(&w);
        while (w.now_us < NOW + 24 * 3600 * S) {
            struct lifecycle_decision d;
            if (draw(4) == 0) /* the monitor was killed: another takes over */
                w.m.memory = (struct lifecycle){0};
            lifecycle_look(&w.m.memory, &w.m.seen, w.now_us, &d);
            if (d.act != LIFECYCLE_NOTHING) {
                obey(&w, &d);
                continue;
            }
            uint64_t next = MIN(MIN(w.start_at_us, w.end_at_us), d.next_us);
            REQUIRE(next != UINT64_MAX && next > w.now_us); /* never forgotten, never in a circle */
            w.now_us = next;
            if (next == w.end_at_us)
                end(&w);
            else if (next == w.start_at_us)
                start(&w);
        }
        /* The budget; then trials after 5, 10, 20, 40 minutes, and one an hour. */
        CHECK(w.starts >= 20 && w.starts <= 30);
        CHECK_EQ(w.opened, w.starts - budget.burst + 1);
    }
}

TEST(no_wish_of_a_person_is_ever_crossed)
{
    for (unsigned run = 0; run < 20000; run++) {
        struct scene m;
        seed = run;
        tap_note("seed %u", run);
        set(&m, (enum service_state)draw(SERVICE_STATE_COUNT), draw(20000));
        m.memory.looked = draw(2);
        m.memory.was_up = draw(2);
        m.status.last_exit = (int[]){-1, 0, 1, 64, 75, 137}[draw(6)];
        m.status.restarts = draw(3);
        m.status.next_us = draw(2) ? NOW + 1 : 0;
        m.record.failures = draw(6);
        m.record.trial_us = draw(2) ? NOW - draw(20000) * S : 0;
        m.record.last.at_us = draw(2) ? NOW - draw(20000) * S : 0;
        m.seen.has_room = draw(2);
        m.seen.silent_looks = draw(5);
        bool stopped = draw(2);
        m.record.wanted.state = stopped ? RUN_WANTED_STOPPED : RUN_WANTED_STARTED;
        m.record.wanted.since_us = NOW - draw(20000) * S;
        if (!stopped)
            hold(&m, "anna", draw(20000));
        struct lifecycle_decision d = look_at(&m, NOW);
        CHECK(d.act == LIFECYCLE_NOTHING || d.act == LIFECYCLE_LEAVE || d.act == LIFECYCLE_TAKE_UP);
    }
}
