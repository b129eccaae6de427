#include "sim/faults.h"

#include "base/buf.h"
#include "fmt/json.h"
#include "tap.h"

/* Faults, and those that struck, in their order. */
struct bench {
    struct faults faults;
    struct loop *loop;
    enum fault struck[8];
    size_t struck_count;
    bool runs; /* the loop, until one strikes */
};

static void
on_strike(struct faults *faults, enum fault fault)
{
    struct bench *b = container_of(faults, struct bench, faults);
    assert(b->struck_count < ARRAY_SIZE(b->struck));
    b->struck[b->struck_count++] = fault;
    if (b->runs)
        loop_stop(b->loop);
}

static void
bench_init(struct bench *b)
{
    *b = (struct bench){0};
    int r = loop_new(&b->loop, NULL);
    assert(r == 0);
    faults_init(&b->faults);
    b->faults.strike = on_strike;
}

static void
bench_finish(struct bench *b)
{
    faults_finish(&b->faults);
    loop_free(b->loop);
}

static int
wish_for(struct faults *f, const char *text, struct err *reterr)
{
    struct fault_wish wish;
    int r = fault_parse(text, &wish, reterr);
    return r < 0 ? r : faults_add(f, &wish, reterr);
}

static void
want(struct bench *b, const char *text)
{
    struct err err;
    int r = wish_for(&b->faults, text, &err);
    if (r < 0)
        tap_note("%s", err.what);
    CHECK_EQ(r, 0);
    if (b->faults.loop)
        faults_look(&b->faults);
}

TEST(faults_are_named_or_refused)
{
    static const struct {
        const char *text, *want; /* what the error says; NULL: taken */
    } rows[] = {
        {"hang", NULL},
        {"hang@starting", NULL},
        {"cut-stream@request:3*2", NULL},
        {"crash@after:90s", NULL},
        {"load-oom@loading", NULL},
        {"hangs", "there is no fault 'hangs'"},
        {"", "there is no fault ''"},
        {"hang@", "'' is no moment for a fault"},
        {"hang@noon", "'noon' is no moment for a fault"},
        {"hang@request:x", "'request:x' is no moment for a fault"},
        {"hang@after:", "'after:' is no moment for a fault"},
        {"cut-stream*", "'' is no number of times"},
        {"cut-stream*0", "'0' is no number of times"},
        {"cut-stream*2x", "'2x' is no number of times"},
        {"load-oom@ready", "load-oom happens while the engine starts, not 'ready'"},
        {"load-oom@request:1", "load-oom happens while the engine starts, not 'request:1'"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct faults f;
        struct err err;
        faults_init(&f);
        tap_note("%s", rows[i].text);
        int r = wish_for(&f, rows[i].text, &err);
        CHECK_EQ(r < 0, rows[i].want != NULL);
        if (r < 0 && rows[i].want)
            CHECK_STR(err.what, rows[i].want);
    }
}

TEST(a_name_nearly_right_is_answered_with_the_right_one)
{
    struct faults f;
    struct err err;
    faults_init(&f);
    CHECK(wish_for(&f, "cut-steam", &err) < 0);
    CHECK_STR(err.fix, "'cut-stream' is meant?");
}

TEST(faults_come_at_their_phase)
{
    struct bench b;
    bench_init(&b);
    want(&b, "crash");
    want(&b, "hang@sleeping");
    want(&b, "keep-memory");
    CHECK(!faults_hold(&b.faults, FAULT_KEEP_MEMORY));
    faults_enter(&b.faults, b.loop, PHASE_STARTING);
    CHECK(faults_hold(&b.faults, FAULT_KEEP_MEMORY));
    faults_enter(&b.faults, b.loop, PHASE_LOADING);
    faults_enter(&b.faults, b.loop, PHASE_READY);
    REQUIRE(b.struck_count == 2);
    CHECK_EQ(b.struck[0], FAULT_KEEP_MEMORY);
    CHECK_EQ(b.struck[1], FAULT_CRASH);
    CHECK(!faults_hold(&b.faults, FAULT_HANG));
    CHECK(!faults_hold(&b.faults, FAULT_CRASH)); /* it has happened */
    faults_enter(&b.faults, b.loop, PHASE_DRAINING);
    CHECK(!faults_hold(&b.faults, FAULT_HANG)); /* it never slept */
    faults_enter(&b.faults, b.loop, PHASE_SLEEPING);
    CHECK(faults_hold(&b.faults, FAULT_HANG));
    bench_finish(&b);
}

TEST(faults_come_at_their_request)
{
    struct bench b;
    bench_init(&b);
    want(&b, "error-500@request:3");
    faults_enter(&b.faults, b.loop, PHASE_READY);
    for (unsigned request = 1; request <= 4; request++) {
        tap_note("request %u", request);
        faults_count_request(&b.faults);
        CHECK_EQ(faults_take(&b.faults, FAULT_ERROR_500), request >= 3);
    }
    bench_finish(&b);
}

TEST(faults_strike_as_often_as_was_said)
{
    struct bench b;
    bench_init(&b);
    want(&b, "full-queue*2");
    want(&b, "cut-stream");
    CHECK(!faults_take(&b.faults, FAULT_FULL_QUEUE)); /* not ready yet */
    faults_enter(&b.faults, b.loop, PHASE_READY);
    CHECK(faults_take(&b.faults, FAULT_FULL_QUEUE));
    CHECK(faults_take(&b.faults, FAULT_FULL_QUEUE));
    CHECK(!faults_take(&b.faults, FAULT_FULL_QUEUE));
    for (int i = 0; i < 5; i++)
        CHECK(faults_take(&b.faults, FAULT_CUT));
    bench_finish(&b);
}

TEST(faults_come_when_their_time_has_come)
{
    struct bench b;
    bench_init(&b);
    want(&b, "crash@after:20ms");
    want(&b, "freeze@after:1ms");
    faults_enter(&b.faults, b.loop, PHASE_READY);
    CHECK_EQ(b.struck_count, 0);
    uint64_t begun_us = loop_now_us(b.loop);
    b.runs = true;
    while (b.faults.wish_count)
        loop_run(b.loop);
    CHECK(loop_now_us(b.loop) - begun_us >= 20000);
    CHECK(faults_hold(&b.faults, FAULT_FREEZE));
    REQUIRE(b.struck_count == 2);
    CHECK_EQ(b.struck[0], FAULT_FREEZE);
    CHECK_EQ(b.struck[1], FAULT_CRASH);
    bench_finish(&b);
}

TEST(what_is_wished_for_later_comes_at_once_when_its_moment_is_over)
{
    struct bench b;
    bench_init(&b);
    faults_enter(&b.faults, b.loop, PHASE_READY);
    want(&b, "hang@loading");
    CHECK(faults_hold(&b.faults, FAULT_HANG));
    want(&b, "hang"); /* holds already: it does not begin again */
    CHECK_EQ(b.struck_count, 1);
    bench_finish(&b);
}

TEST(mended_is_mended)
{
    struct bench b;
    struct json_writer w;
    _cleanup_buf_ struct buf out = BUF_INIT(4 * KIB);
    bench_init(&b);
    faults_enter(&b.faults, b.loop, PHASE_READY);
    want(&b, "slow-health");
    want(&b, "crash@after:1h");
    json_init(&w, &out, false);
    json_open_map(&w, NULL);
    faults_print(&b.faults, &w);
    json_close_map(&w);
    CHECK_STR(out.data, "{\"holding\":[\"slow-health\"],\"to_come\":[\"crash\"]}");
    faults_clear(&b.faults);
    CHECK(!faults_hold(&b.faults, FAULT_SLOW_HEALTH));
    CHECK_EQ(b.faults.wish_count, 0);
    loop_run(b.loop); /* nothing is waited for any more */
    CHECK_EQ(b.struck_count, 1);
    bench_finish(&b);
}

TEST(there_is_room_for_so_many_faults)
{
    struct faults f;
    struct err err;
    faults_init(&f);
    for (int i = 0; i < FAULTS_MAX; i++)
        CHECK_EQ(wish_for(&f, "hang", &err), 0);
    CHECK(wish_for(&f, "hang", &err) < 0);
    CHECK_STR(err.what, "more than 32 faults");
}
