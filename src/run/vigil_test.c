/* A made-up engine answers at once what the vigil asks, or not at all; a row is what becomes of it
 * then, and when. */

#include "run/vigil.h"

#include "tap.h"

#define S UINT64_C(1000000)
#define STALL (120 * S)
#define NEVER 0

enum { WELL, SILENT, REFUSES, SICK };           /* of /health */
enum { IDLE, WORKS, STUCK, MUTE, UNTOLD };      /* of /metrics */
enum { ANSWERS, UNANSWERED, BREAKS, BREAKS_1 }; /* of canaries */

struct made_up {
    int health, load, canary;
};

struct watch {
    struct vigil vigil;
    struct made_up engine;
    uint64_t now_us;
    double steps;
    unsigned canaries, pages;
};

static const struct err made_up = {.id = ERR_ENGINE_CRASHED, .what = "made up"};

static void
answer_page(struct watch *w)
{
    struct engine_load load = {.told = true, .sleep = ENGINE_AWAKE};
    w->pages++;
    if (w->engine.load == UNTOLD)
        vigil_no_load(&w->vigil);
    if (w->engine.load == MUTE || w->engine.load == UNTOLD)
        return;
    w->steps += w->engine.load == WORKS;
    load.steps = w->steps;
    load.running = w->engine.load == IDLE ? 0 : 2;
    vigil_load(&w->vigil, w->now_us, &load);
}

static void
answer_canary(struct watch *w)
{
    w->canaries++;
    if (w->engine.canary == UNANSWERED)
        return;
    bool broken = w->engine.canary != ANSWERS;
    if (w->engine.canary == BREAKS_1)
        w->engine.canary = ANSWERS;
    vigil_canary(&w->vigil, w->now_us, broken ? &made_up : NULL);
}

static void
beat(struct watch *w)
{
    static const enum vigil_answer answers[] = {
        [WELL] = VIGIL_ANSWERED, [REFUSES] = VIGIL_REFUSED, [SICK] = VIGIL_UNWELL};
    unsigned questions = vigil_questions(&w->vigil, w->now_us);
    if (questions & VIGIL_HEALTH && w->engine.health != SILENT)
        vigil_health(&w->vigil, w->now_us, answers[w->engine.health], &made_up);
    if (questions & VIGIL_METRICS)
        answer_page(w);
    if (questions & VIGIL_CANARY)
        answer_canary(w);
}

/* Goes on for so long; returns what is thought at the end of it, or when it is given up. */
static enum vigil_verdict
go_on(struct watch *w, unsigned seconds, struct err *reterr)
{
    enum vigil_verdict verdict = VIGIL_ALIVE;
    for (uint64_t end_us = w->now_us + seconds * S; w->now_us < end_us;) {
        w->now_us += VIGIL_BEAT_US;
        beat(w);
        verdict = vigil_judge(&w->vigil, w->now_us, reterr);
        if (verdict >= VIGIL_HUNG)
            break;
    }
    return verdict;
}

static void
begin(struct watch *w, int load)
{
    *w = (struct watch){.now_us = 1000 * S, .engine = {.load = load}};
    vigil_init(&w->vigil, STALL, true, w->now_us);
    CHECK_EQ(go_on(w, 20, NULL), VIGIL_ALIVE);
}

/* What goes wrong with one that was idle, and with one that was busy. */
static const struct row {
    const char *name;
    int before;
    struct made_up then;
    enum vigil_verdict verdict; /* at last */
    enum err_id id;
    unsigned degraded_s, given_up_s; /* when, at the latest; NEVER */
} rows[] = {
    {"idle", IDLE, {WELL, IDLE, ANSWERS}, VIGIL_ALIVE, ERR_NONE, NEVER, NEVER},
    {"busy", WORKS, {WELL, WORKS, UNANSWERED}, VIGIL_ALIVE, ERR_NONE, NEVER, NEVER},
    {"idle: hangs with the next request",
     IDLE,
     {WELL, STUCK, UNANSWERED},
     VIGIL_HUNG,
     ERR_ENGINE_HUNG,
     10,
     130},
    {"busy: hangs", WORKS, {WELL, STUCK, UNANSWERED}, VIGIL_HUNG, ERR_ENGINE_HUNG, 10, 130},
    {"idle: hangs, which only a canary shows",
     IDLE,
     {WELL, IDLE, UNANSWERED},
     VIGIL_HUNG,
     ERR_ENGINE_HUNG,
     72,
     182},
    {"idle: is deaf", IDLE, {REFUSES, MUTE, UNANSWERED}, VIGIL_DEAD, ERR_ENGINE_CRASHED, NEVER, 4},
    {"busy: is deaf", WORKS, {REFUSES, MUTE, UNANSWERED}, VIGIL_DEAD, ERR_ENGINE_CRASHED, NEVER, 4},
    {"idle: says it is broken", IDLE, {SICK, IDLE, ANSWERS}, VIGIL_DEAD, ERR_ENGINE_CRASHED, 2, 32},
    {"busy: says it is broken",
     WORKS,
     {SICK, WORKS, ANSWERS},
     VIGIL_DEAD,
     ERR_ENGINE_CRASHED,
     2,
     32},
    {"idle: /health is late",
     IDLE,
     {SILENT, IDLE, ANSWERS},
     VIGIL_DEGRADED,
     ERR_ENGINE_SLOW,
     8,
     NEVER},
    {"busy: /health is late",
     WORKS,
     {SILENT, WORKS, UNANSWERED},
     VIGIL_DEGRADED,
     ERR_ENGINE_SLOW,
     8,
     NEVER},
    {"idle: /metrics is late",
     IDLE,
     {WELL, MUTE, ANSWERS},
     VIGIL_DEGRADED,
     ERR_ENGINE_SLOW,
     10,
     NEVER},
    {"idle: answers nothing any more",
     IDLE,
     {SILENT, MUTE, UNANSWERED},
     VIGIL_HUNG,
     ERR_ENGINE_HUNG,
     8,
     190},
    {"busy: answers nothing any more",
     WORKS,
     {SILENT, MUTE, UNANSWERED},
     VIGIL_HUNG,
     ERR_ENGINE_HUNG,
     8,
     190},
    {"idle: fails each request",
     IDLE,
     {WELL, IDLE, BREAKS},
     VIGIL_DEAD,
     ERR_ENGINE_CRASHED,
     62,
     90},
    {"idle: fails one request", IDLE, {WELL, IDLE, BREAKS_1}, VIGIL_ALIVE, ERR_NONE, 62, NEVER},
    {"tells nothing of its work",
     IDLE,
     {WELL, UNTOLD, ANSWERS},
     VIGIL_ALIVE,
     ERR_NONE,
     NEVER,
     NEVER},
    {"tells nothing of its work, and hangs",
     IDLE,
     {WELL, UNTOLD, UNANSWERED},
     VIGIL_HUNG,
     ERR_ENGINE_HUNG,
     72,
     1262},
};

static void
check_row(const struct row *row)
{
    struct watch w;
    struct err err = {0};
    enum vigil_verdict verdict = VIGIL_ALIVE;
    unsigned degraded_s = NEVER, s;
    begin(&w, row->before);
    w.engine = row->then;
    for (s = 0; s < 1400 && verdict < VIGIL_HUNG; s += 2) {
        err = (struct err){0};
        verdict = go_on(&w, 2, &err);
        if (verdict == VIGIL_DEGRADED && degraded_s == NEVER)
            degraded_s = s + 2;
    }
    CHECK_EQ(verdict, row->verdict);
    CHECK_EQ(err.id, row->id);
    CHECK((degraded_s == NEVER) == (row->degraded_s == NEVER) && degraded_s <= row->degraded_s);
    CHECK(verdict < VIGIL_HUNG || s <= row->given_up_s);
}

TEST(each_failure_of_one_that_serves)
{
    for (const struct row *row = rows; row < rows + ARRAY_SIZE(rows); row++) {
        tap_note("%s", row->name);
        check_row(row);
    }
}

/* Of one that sleeps, only the death counts: its requests wait, and that is as it should be. */
TEST(each_failure_of_one_that_sleeps)
{
    for (const struct row *row = rows; row < rows + ARRAY_SIZE(rows); row++) {
        struct watch w;
        bool deaf = row->then.health == REFUSES;
        tap_note("%s", row->name);
        begin(&w, IDLE);
        vigil_sleep(&w.vigil, true, w.now_us);
        w.engine = row->then;
        w.canaries = w.pages = 0;
        CHECK_EQ(go_on(&w, 1000, NULL), deaf ? VIGIL_DEAD : VIGIL_ALIVE);
        CHECK_EQ(w.canaries + w.pages, 0);
    }
}

TEST(a_hang_is_suspected_within_ten_seconds)
{
    for (unsigned beats = 0; beats < 8; beats++)
        for (int busy = 0; busy < 2; busy++) {
            struct watch w;
            begin(&w, busy ? WORKS : IDLE);
            (void)go_on(&w, 2 * beats, NULL);
            w.engine = (struct made_up){WELL, STUCK, UNANSWERED};
            tap_note("%u beats, %s", beats, busy ? "busy" : "idle");
            CHECK_EQ(go_on(&w, 10, NULL), VIGIL_DEGRADED);
        }
}

TEST(a_hang_that_ends_is_forgiven)
{
    struct watch w;
    begin(&w, WORKS);
    for (int i = 0; i < 10; i++) {
        w.engine.load = STUCK;
        CHECK_EQ(go_on(&w, 110, NULL), VIGIL_DEGRADED);
        w.engine.load = WORKS;
        CHECK_EQ(go_on(&w, 4, NULL), VIGIL_ALIVE);
    }
}

TEST(one_refusal_is_forgiven)
{
    struct watch w;
    begin(&w, IDLE);
    w.engine.health = REFUSES;
    CHECK_EQ(go_on(&w, 2, NULL), VIGIL_ALIVE);
    w.engine.health = WELL;
    CHECK_EQ(go_on(&w, 2, NULL), VIGIL_ALIVE);
    w.engine.health = REFUSES;
    CHECK_EQ(go_on(&w, 2, NULL), VIGIL_ALIVE);
}

TEST(canaries_are_for_those_who_are_idle)
{
    struct watch w;
    begin(&w, IDLE);
    w.canaries = w.pages = 0;
    (void)go_on(&w, 3600, NULL);
    CHECK(w.canaries >= 58 && w.canaries <= 60);
    CHECK(w.pages <= 3600 / 4 + w.canaries + 1); /* every second beat */
    w.engine.load = WORKS;
    (void)go_on(&w, 2, NULL);
    w.canaries = 0;
    (void)go_on(&w, 3600, NULL);
    CHECK_EQ(w.canaries, 0);
}

/* It waits behind others, and these move: it may take as long as it takes. */
TEST(a_canary_may_wait_behind_others)
{
    struct watch w;
    begin(&w, IDLE);
    w.engine.canary = UNANSWERED;
    (void)go_on(&w, 64, NULL);
    CHECK_EQ(w.canaries, 1);
    w.engine.load = WORKS;
    CHECK_EQ(go_on(&w, 3600, NULL), VIGIL_ALIVE);
    w.engine.load = STUCK;
    CHECK_EQ(go_on(&w, 130, NULL), VIGIL_HUNG);
}

/* One that does one thing at a time and tells nothing of it cannot answer meanwhile. */
TEST(who_never_tells_its_load_has_ten_times_the_limit)
{
    struct watch w;
    struct err err = {0};
    begin(&w, UNTOLD);
    w.engine.canary = UNANSWERED;
    CHECK_EQ(go_on(&w, 60 + 600, &err), VIGIL_DEGRADED);
    CHECK_STR(err.fix, "it is ended after ten times stall_limit, 2m");
    CHECK_EQ(go_on(&w, 640, &err), VIGIL_HUNG);
    CHECK_STR(err.fix, "if it was only busy, raise stall_limit, 2m");
}

/* The beats of a drain are shorter: a moment is a moment all the same. */
TEST(refused_twice_in_a_moment_is_no_death)
{
    struct watch w;
    begin(&w, IDLE);
    vigil_health(&w.vigil, w.now_us, VIGIL_REFUSED, NULL);
    vigil_health(&w.vigil, w.now_us + S / 2, VIGIL_REFUSED, NULL);
    CHECK_EQ(vigil_judge(&w.vigil, w.now_us + S / 2, NULL), VIGIL_ALIVE);
    vigil_health(&w.vigil, w.now_us + 2 * S, VIGIL_REFUSED, NULL);
    CHECK_EQ(vigil_judge(&w.vigil, w.now_us + 2 * S, NULL), VIGIL_DEAD);
}

TEST(what_ran_before_a_drain_does_not_count)
{
    struct watch w;
    begin(&w, IDLE);
    CHECK(vigil_is_idle(&w.vigil));
    vigil_forget_load(&w.vigil);
    CHECK(!vigil_is_idle(&w.vigil));
    (void)go_on(&w, 2, NULL); /* whatever the beat */
    CHECK(vigil_is_idle(&w.vigil));
    w.engine.load = WORKS;
    (void)go_on(&w, 4, NULL);
    CHECK(!vigil_is_idle(&w.vigil));
}
