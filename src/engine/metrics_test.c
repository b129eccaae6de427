#include "engine/metrics.h"

#include "engine/test_int.h"
#include "tap.h"

#include <errno.h>
#include <math.h>

static bool
is_near(double got, double want)
{
    return fabs(got - want) <= 1e-9 * MAX(1.0, fabs(want));
}

#define CHECK_NEAR(got, want)                                                              \
    (is_near((got), (want)) ? (void)0                                                      \
                            : tap_fail(__FILE__, __LINE__, "%s is %.17g, not %.17g", #got, \
                                       (double)(got), (double)(want)))

/* The figures were taken from the files with grep and added by hand. */
static const struct {
    const char *file;
    struct engine_load want;
} pages[] = {
    {"vllm-0.5.0-v0-cpu.prom",
     {.told = true,
      .engines = 1,
      .kv_tokens = 7281 * 16,
      .steps = 12,
      .tokens_in = 5,
      .tokens_out = 7,
      .finished = {0, 1},
      .ttft = {0.31326723098754883, 1},
      .itl = {0.19016313552856445, 6},
      .e2e = {0.5034303665161133, 1}}},
    {"vllm-0.6.x-ray-2.32-excerpt.prom",
     {.told = true,
      .engines = 1,
      .kv_usage = 5.882698982295764e-05,
      .steps = 358,
      .tokens_in = 58,
      .tokens_out = 300,
      .itl = {16.178537607192993, 299}}},
    {"vllm-0.6.5-v0-reconstructed.prom",
     {.told = true,
      .engines = 1,
      .running = 17,
      .waiting = 3,
      .kv_usage = 0.4137449,
      .kv_tokens = 27894 * 16,
      .steps = 900,
      .tokens_in = 149893,
      .tokens_out = 40970,
      .preemptions = 2,
      .finished = {198, 41, 1},
      .ttft = {14.353787246, 240},
      .itl = {109.777203695, 3000},
      .e2e = {745.492120577, 240},
      .queue = {6.256141246, 240},
      .prefill = {8.097646, 240},
      .decode = {731.138333331, 240}}},
    {"vllm-0.7.3-v1-reconstructed.prom",
     {.told = true,
      .engines = 1,
      .running = 6,
      .kv_usage = 0.0731,
      .steps = 700,
      .tokens_in = 83844,
      .tokens_out = 19195,
      .prefix_queries = 5240,
      .prefix_hits = 1746,
      .finished = {101, 17, 2},
      .ttft = {6.890417321, 120},
      .itl = {28.597387924, 1500},
      .e2e = {344.00320528, 120},
      .queue = {2.645849321, 120},
      .prefill = {4.244568, 120},
      .decode = {337.11278796, 120}}},
    {"vllm-0.10.1-v1-dp2-reconstructed.prom",
     {.told = true,
      .engines = 2,
      .running = 15,
      .waiting = 2,
      .kv_usage = 0.3311,
      .kv_tokens = 2 * 31052 * 16,
      .steps = 1200,
      .tokens_in = 154400,
      .tokens_out = 40847,
      .prefix_queries = 154400,
      .prefix_hits = 47840,
      .preemptions = 1,
      .finished = {216, 20, 4},
      .ttft = {13.934600644, 240},
      .itl = {47.999172894, 1920},
      .e2e = {759.905337382, 240},
      .queue = {5.737800644, 240},
      .prefill = {8.1968, 240},
      .decode = {745.970736738, 240}}},
    {"vllm-0.11.0-idle.prom", {.told = true, .engines = 1, .kv_tokens = 2452 * 16}},
    {"vllm-0.11.0-active.prom",
     {.told = true,
      .engines = 1,
      .kv_tokens = 22538 * 16,
      .steps = 2187,
      .tokens_in = 195,
      .tokens_out = 2187,
      .prefix_queries = 195,
      .finished = {7, 14, 0},
      .ttft = {0.656686544418335, 21},
      .itl = {58.881193382998845, 2166},
      .e2e = {59.538848876953125, 21},
      .queue = {0.001480532000414314, 21},
      .prefill = {0.6250278730003629, 21},
      .decode = {58.881193382998845, 21}}},
    {"vllm-0.2x-2026-09-specdecode.prom",
     {.told = true,
      .engines = 1,
      .kv_tokens = 1428520,
      .steps = 17833,
      .tokens_in = 3675428,
      .tokens_out = 44995,
      .prefix_queries = 3675428,
      .prefix_hits = 3241216,
      .finished = {26},
      .sleep = ENGINE_AWAKE,
      .ttft = {417.90156173706055, 26},
      .itl = {1419.8547863351414, 17807},
      .e2e = {1837.7475888729095, 26},
      .queue = {0.006842203612904996, 26},
      .prefill = {406.85042542009614, 26},
      .decode = {1419.8547863351414, 26}}},
    {"vllm-0.2x-dp2-lora-nixl-reconstructed.prom",
     {.told = true,
      .engines = 2,
      .running = 15,
      .waiting = 2,
      .kv_usage = 0.3311,
      .kv_tokens = 2 * 496832,
      .steps = 1200,
      .tokens_in = 126994,
      .tokens_out = 39532,
      .prefix_queries = 126994,
      .prefix_hits = 39360,
      .preemptions = 1,
      .finished = {216, 20, 4},
      .sleep = ENGINE_AWAKE,
      .ttft = {13.37374329, 240},
      .itl = {47.818938682, 1920},
      .e2e = {720.592264793, 240},
      .queue = {5.77987529, 240},
      .prefill = {7.593868, 240},
      .decode = {707.218521503, 240}}},
};

static void
check_sum(const char *what, const struct engine_sum *got, const struct engine_sum *want)
{
    if (!is_near(got->sum, want->sum) || !is_near(got->count, want->count))
        tap_fail(__FILE__, __LINE__, "%s is %.17g in %g, not %.17g in %g", what, got->sum,
                 got->count, want->sum, want->count);
}

static void
check_load(const struct engine_load *got, const struct engine_load *want)
{
    CHECK_EQ(got->told, want->told);
    CHECK_EQ(got->engines, want->engines);
    CHECK_NEAR(got->running, want->running);
    CHECK_NEAR(got->waiting, want->waiting);
    CHECK_NEAR(got->kv_usage, want->kv_usage);
    CHECK_NEAR(got->kv_tokens, want->kv_tokens);
    CHECK_NEAR(got->steps, want->steps);
    CHECK_NEAR(got->tokens_in, want->tokens_in);
    CHECK_NEAR(got->tokens_out, want->tokens_out);
    CHECK_NEAR(got->prefix_queries, want->prefix_queries);
    CHECK_NEAR(got->prefix_hits, want->prefix_hits);
    CHECK_NEAR(got->preemptions, want->preemptions);
    for (size_t i = 0; i < ENGINE_FINISH_COUNT; i++)
        CHECK_NEAR(got->finished[i], want->finished[i]);
    CHECK_EQ(got->sleep, want->sleep);
    check_sum("ttft", &got->ttft, &want->ttft);
    check_sum("itl", &got->itl, &want->itl);
    check_sum("e2e", &got->e2e, &want->e2e);
    check_sum("queue", &got->queue, &want->queue);
    check_sum("prefill", &got->prefill, &want->prefill);
    check_sum("decode", &got->decode, &want->decode);
}

TEST(every_recorded_page_gives_its_figures)
{
    CHECK_EQ(ARRAY_SIZE(pages), test_count("vllm-metrics", ".prom"));
    for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
        size_t len;
        struct engine_load load;
        _cleanup_free_ char *text = test_read("vllm-metrics", pages[i].file, &len);
        tap_note("%s", pages[i].file);
        REQUIRE(text != NULL);
        REQUIRE(engine_load_read(ENGINE_SAYS_VLLM, text, len, &load, NULL) == 0);
        check_load(&load, &pages[i].want);
    }
}

static struct engine_load
read_page(enum engine_dialect dialect, const char *text)
{
    struct engine_load load = {0};
    CHECK(engine_load_read(dialect, text, strlen(text), &load, NULL) == 0);
    return load;
}

TEST(disabled_statistics_are_noticed)
{
    static const char text[] = "python_info{version=\"3.12.9\"} 1.0\n"
                               "process_resident_memory_bytes 1e9\n"
                               "http_requests_total{handler=\"/v1/models\"} 2.0\n";
    struct engine_load load = read_page(ENGINE_SAYS_VLLM, text);
    CHECK(!load.told && load.engines == 0);
    struct err err = {0};
    static const char page[] = "<html>\n";
    CHECK(engine_load_read(ENGINE_SAYS_VLLM, page, strlen(page), &load, &err) == -EBADMSG);
    CHECK_EQ(err.id, ERR_SYNTAX);
}

TEST(the_newer_of_two_names_counts_in_any_order)
{
    static const char *const texts[] = {
        "vllm:kv_cache_usage_perc 0.25\nvllm:gpu_cache_usage_perc 0.75\n",
        "vllm:gpu_cache_usage_perc 0.75\nvllm:kv_cache_usage_perc 0.25\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        CHECK_NEAR(read_page(ENGINE_SAYS_VLLM, texts[i]).kv_usage, 0.25);
}

TEST(sleep_is_told)
{
    struct engine_load load = read_page(
        ENGINE_SAYS_VLLM, "vllm:engine_sleep_state{engine=\"0\",sleep_state=\"awake\"} 0\n"
                          "vllm:engine_sleep_state{engine=\"0\",sleep_state=\"discard_all\"} 1\n"
                          "vllm:engine_sleep_state{engine=\"1\",sleep_state=\"awake\"} 1\n");
    CHECK_EQ(load.sleep, ENGINE_ASLEEP_2);
    load = read_page(ENGINE_SAYS_VLLM,
                     "vllm:engine_sleep_state{sleep_state=\"weights_offloaded\"} 1\n");
    CHECK_EQ(load.sleep, ENGINE_ASLEEP_1);
}

TEST(llama_server_is_understood)
{
    struct engine_load load =
        read_page(ENGINE_SAYS_LLAMA, "# TYPE llamacpp:prompt_tokens_total counter\n"
                                     "llamacpp:prompt_tokens_total 16185\n"
                                     "llamacpp:prompt_seconds_total 13.636\n"
                                     "llamacpp:tokens_predicted_total 394\n"
                                     "llamacpp:tokens_predicted_seconds_total 5.75\n"
                                     "llamacpp:n_decode_total 125\n"
                                     "llamacpp:kv_cache_usage_ratio 0.42\n"
                                     "llamacpp:requests_processing 1\n"
                                     "llamacpp:requests_deferred 3\n"
                                     "llamacpp:n_busy_slots_per_decode 1\n");
    CHECK(load.told);
    CHECK_NEAR(load.running, 1);
    CHECK_NEAR(load.waiting, 3);
    CHECK_NEAR(load.kv_usage, 0.42);
    CHECK_NEAR(load.steps, 125);
    CHECK_NEAR(load.tokens_in, 16185);
    CHECK_NEAR(load.tokens_out, 394);
    CHECK_NEAR(load.prefill.sum, 13.636);
    CHECK_NEAR(load.decode.sum, 5.75);
}

TEST(the_pulse_tells_working_from_hung)
{
    static const struct {
        struct engine_load before, now;
        enum engine_pulse want;
    } rows[] = {
        {{.running = 1, .steps = 5}, {.running = 1, .steps = 6}, ENGINE_WORKING},
        {{.running = 1, .steps = 5}, {.running = 1, .steps = 5}, ENGINE_STILL},
        {{.waiting = 2, .steps = 5}, {.waiting = 2, .steps = 5}, ENGINE_STILL},
        {{.steps = 5}, {.steps = 5}, ENGINE_IDLE},
        {{.running = 1, .steps = 5}, {.steps = 5}, ENGINE_IDLE},
        {{.steps = 5}, {.running = 1, .steps = 5}, ENGINE_WORKING}, /* only just arrived */
        {{.running = 1, .steps = 500}, {.running = 1, .steps = 0}, ENGINE_WORKING}, /* restarted */
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("row %zu", i);
        CHECK_EQ(engine_load_pulse(&rows[i].before, &rows[i].now), rows[i].want);
    }
}
