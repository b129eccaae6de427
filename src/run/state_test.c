#include "run/state.h"

#include "base/buf.h"
#include "tap.h"

#include <stdio.h>

static void
fill(struct run_state *s)
{
    *s = (struct run_state){.phase = RUN_DEGRADED,
                            .since_us = 1234567890123456,
                            .pid = 4711,
                            .sleep_level = 2,
                            .failures = UINT32_MAX,
                            .slots = 256,
                            .running = 3,
                            .waiting = 0.1,
                            .kv_usage = 1.0 / 3,
                            .gpu_count = 3,
                            .gpus = {7, 0, UINT32_MAX}};
    (void)snprintf(s->name, sizeof(s->name), "phi3");
    (void)snprintf(s->status, sizeof(s->status), "degraded: \"späť\" \\ 5 s");
    (void)snprintf(s->engine, sizeof(s->engine), "vllm");
    (void)snprintf(s->version, sizeof(s->version), "0.19.0");
    (void)snprintf(s->address, sizeof(s->address), "127.0.0.1:11400");
    (void)snprintf(s->model, sizeof(s->model), "org/phi-3");
    (void)err_set(&s->why, ERR_ENGINE_SLOW, "it answers late");
    err_fix(&s->why, "wait");
}

static void
check_survives(const struct run_state *s)
{
    _cleanup_buf_ struct buf text = BUF_INIT(RUN_STATE_MAX);
    struct run_state back;
    struct err err;
    run_state_print(s, &text);
    CHECK_EQ(buf_error(&text), 0);
    int r = run_state_parse(text.data, text.len, &back, &err);
    if (r < 0)
        tap_note("%s: %s", err.what, text.data);
    REQUIRE(r == 0);
    CHECK_STR(back.name, s->name);
    CHECK_EQ(back.phase, s->phase);
    CHECK_EQ(back.since_us, s->since_us);
    CHECK_STR(back.status, s->status);
    CHECK_EQ(back.why.id, s->why.id);
    CHECK_STR(back.why.what, s->why.what);
    CHECK_STR(back.why.fix, s->why.fix);
    CHECK_STR(back.engine, s->engine);
    CHECK_STR(back.version, s->version);
    CHECK_STR(back.address, s->address);
    CHECK_STR(back.model, s->model);
    CHECK_EQ(back.pid, s->pid);
    CHECK_EQ(back.sleep_level, s->sleep_level);
    CHECK_EQ(back.failures, s->failures);
    CHECK_EQ(back.slots, s->slots);
    CHECK(back.running == s->running && back.waiting == s->waiting);
    CHECK(back.kv_usage == s->kv_usage);
    CHECK_EQ(back.gpu_count, s->gpu_count);
    for (size_t i = 0; i < s->gpu_count && i < back.gpu_count; i++)
        CHECK_EQ(back.gpus[i], s->gpus[i]);
}

TEST(a_state_survives_the_way_to_who_asks)
{
    struct run_state s = {.name = "x"};
    check_survives(&s);
    for (unsigned phase = 0; phase < RUN_PHASE_COUNT; phase++) {
        fill(&s);
        s.phase = (enum run_phase)phase;
        check_survives(&s);
    }
    for (enum err_id id = ERR_NONE; id < ERR_COUNT; id++) {
        fill(&s);
        s.why = (struct err){0};
        if (id != ERR_NONE)
            (void)err_set(&s.why, id, "why");
        check_survives(&s);
    }
    fill(&s);
    s.gpu_count = RUN_STATE_GPUS_MAX;
    check_survives(&s);
}

/* A byte printed as \u0001 is the longest that it can get. */
TEST(the_fullest_state_fits_its_ceiling)
{
    _cleanup_buf_ struct buf text = BUF_INIT(RUN_STATE_MAX);
    struct run_state s;
    fill(&s);
    memset(s.status, 1, sizeof(s.status) - 1);
    memset(s.why.what, 1, sizeof(s.why.what) - 1);
    memset(s.why.fix, 1, sizeof(s.why.fix) - 1);
    memset(s.engine, 1, sizeof(s.engine) - 1);
    memset(s.version, 1, sizeof(s.version) - 1);
    memset(s.address, 1, sizeof(s.address) - 1);
    memset(s.model, 1, sizeof(s.model) - 1);
    s.gpu_count = RUN_STATE_GPUS_MAX;
    memset(s.gpus, 0xff, sizeof(s.gpus));
    run_state_print(&s, &text);
    CHECK_EQ(buf_error(&text), 0);
}

TEST(phases_have_words_of_their_own)
{
    for (unsigned i = 0; i < RUN_PHASE_COUNT; i++)
        for (unsigned k = 0; k < i; k++)
            CHECK(!text_eq(run_phase_word((enum run_phase)i), run_phase_word((enum run_phase)k)));
    CHECK(run_phase_is_healthy(RUN_READY) && run_phase_is_healthy(RUN_SLEEPING));
    CHECK(!run_phase_is_healthy(RUN_DEGRADED) && !run_phase_is_healthy(RUN_ENDED));
}

TEST(what_is_no_state_is_refused)
{
    static const char *const rows[] = {
        "",
        "[]",
        "{}",
        "{\"name\": \"x\", \"since_us\": 1}",
        "{\"name\": \"x\", \"phase\": \"flying\", \"since_us\": 1}",
        "{\"name\": \"x\", \"phase\": 1, \"since_us\": 1}",
        "{\"name\": \"../x\", \"phase\": \"ready\", \"since_us\": 1}",
        "{\"name\": \"\", \"phase\": \"ready\", \"since_us\": 1}",
        "{\"name\": \"x\", \"phase\": \"ready\"}",
        "{\"name\": \"x\", \"phase\": \"ready\", \"since_us\": -1}",
        "{\"name\": \"x\", \"phase\": \"ready\", \"since_us\": 1}}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct run_state s = {.pid = 42};
        tap_note("%s", rows[i]);
        CHECK(run_state_parse(rows[i], strlen(rows[i]), &s, NULL) < 0);
        CHECK_EQ(s.pid, 42);
    }
}

TEST(a_state_beyond_its_ceilings_is_cut_or_refused)
{
    _cleanup_buf_ struct buf text = BUF_INIT(4 * RUN_STATE_MAX);
    struct run_state s;
    buf_add_str(&text, "{\"name\": \"x\", \"phase\": \"ready\", \"since_us\": 1, \"gpus\": [0");
    for (int i = 1; i < 100; i++)
        buf_printf(&text, ",%d", i);
    buf_printf(&text, "], \"running\": -1, \"waiting\": \"a\", \"status\": \"%0*d\"}", 600, 0);
    REQUIRE(run_state_parse(text.data, text.len, &s, NULL) == 0);
    CHECK_EQ(s.gpu_count, RUN_STATE_GPUS_MAX);
    CHECK_EQ(s.gpus[RUN_STATE_GPUS_MAX - 1], RUN_STATE_GPUS_MAX - 1);
    CHECK(s.running == 0 && s.waiting == 0);
    CHECK(strlen(s.status) < sizeof(s.status));
    while (text.len <= RUN_STATE_MAX)
        buf_add_char(&text, ' ');
    CHECK_EQ(run_state_parse(text.data, text.len, &s, NULL), -err_row(ERR_TOO_LARGE)->err);
}
