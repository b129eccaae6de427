/* What holds for whatever machine, models and wishes: on many of each that were made up, always the
 * same ones. */

#include "base/text.h"
#include "gpu/memory.h"
#include "plan/test_int.h"

#define ROUNDS 1000
#define PAIRS 250 /* of plans that are held against each other */
#define MODELS_MOST 8
#define ROOM (256 * KIB)

/* A sequence that is the same everywhere. */
static uint64_t
draw(uint64_t *state, uint64_t below)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state % below;
}

static void
draw_model(uint64_t *state, unsigned i, struct buf *out)
{
    static const char *const residencies[] = {"auto",   "auto",      "auto",
                                              "always", "on-demand", "manual"};
    static const char *const engines[] = {"vllm", "vllm", "vllm", "vllm", "llama-server", "sim"};
    buf_printf(out, "  m%u: {path: /m/%u, residency: %s, engine: %s, priority: %u", i,
               (unsigned)draw(state, 12) * 8, residencies[draw(state, ARRAY_SIZE(residencies))],
               engines[draw(state, ARRAY_SIZE(engines))], 49 + (unsigned)draw(state, 3));
    unsigned tensor = 1U << draw(state, 3), pipeline = 1 + (draw(state, 8) == 0);
    buf_printf(out, ", tensor_parallel: %u, pipeline_parallel: %u, gpu_memory_fraction: 0.%02u",
               tensor, pipeline, 10 + (unsigned)draw(state, 89));
    if (draw(state, 8) == 0)
        buf_printf(out, ", kv_cache_memory: %uGiB", 1 + (unsigned)draw(state, 40));
    unsigned first = (unsigned)draw(state, 8);
    bool named = draw(state, 8) == 0;
    for (unsigned gpu = 0; named && gpu < tensor * pipeline; gpu++)
        buf_printf(out, "%s%u", gpu ? ", " : ", gpus: [", (first + gpu) % 8);
    if (named)
        buf_add_char(out, ']');
    if (draw(state, 16) == 0)
        buf_printf(out, ", enabled: false");
    buf_add_str(out, "}\n");
}

static void
draw_gpus(uint64_t *state, struct bench *b)
{
    static const unsigned sizes[] = {24, 48, 80, 80, 141};
    unsigned count = (unsigned)draw(state, 9), size = sizes[draw(state, ARRAY_SIZE(sizes))];
    for (unsigned i = 0; i < count; i++) {
        if (draw(state, 6) == 0)
            size = sizes[draw(state, ARRAY_SIZE(sizes))];
        if (draw(state, 16) == 0)
            bench_add_gpu(b, size * GIB)->trouble = NVML_ERROR_GPU_IS_LOST;
        else
            bench_add_gpu(b, size * GIB);
    }
    bench_link(b, draw(state, 2) ? "0-1 2-3 4-5 6-7" : "");
}

static bool
draw_bench(uint64_t *state, struct bench *b)
{
    _cleanup_buf_ struct buf text = BUF_INIT(16 * KIB);
    unsigned count = 1 + (unsigned)draw(state, MODELS_MOST);
    buf_add_str(&text, "models:\n");
    for (unsigned i = 0; i < count; i++)
        draw_model(state, i, &text);
    tap_note("%s", text.data);
    if (!bench_open(b, text.data))
        return false;
    for (unsigned i = 0; i < count; i++) {
        const char *dir = b->config->models.items[i].path;
        unsigned gib = (unsigned)strtoul(dir + strlen("/m/"), NULL, 10);
        if (gib) /* of the others nothing is known */
            bench_add_model(b, dir, gib);
    }
    draw_gpus(state, b);
    return bench_plan(b);
}

/* ---- what holds of one plan ---- */

static uint64_t
sum_promises(const struct plan *plan, const struct plan_gpu *gpu)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < plan->model_count; i++)
        for (size_t k = 0; k < plan->models[i].part_count; k++)
            if (plan->models[i].fate == PLAN_RESIDENT && plan->models[i].parts[k].gpu == gpu)
                sum += plan->models[i].parts[k].bytes;
    return sum;
}

static void
check_gpus(const struct plan *plan)
{
    for (size_t i = 0; i < plan->gpu_count; i++) {
        const struct plan_gpu *gpu = &plan->gpus[i];
        CHECK_EQ(sum_promises(plan, gpu), gpu->promised_bytes);
        CHECK(gpu->promised_bytes == 0 ||
              gpu->promised_bytes + GPU_MEMORY_SLACK_BYTES <= gpu->total_bytes);
        CHECK(!gpu->trouble[0] || gpu->promised_bytes == 0);
    }
}

/* Each model has as many GPUs as it wants, all different, and what it is known to need of each. */
static void
check_model(const struct plan_model *m, const struct config_model *c)
{
    uint64_t parts[] = {m->weights_bytes, m->kv_bytes, m->overhead_bytes}, need = 0;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        need += parts[i] == PLAN_UNKNOWN ? 0 : parts[i];
    CHECK(m->part_count == 0 || m->part_count == plan_gpu_count(c));
    CHECK(m->part_count == 0 || plan_fate_is_possible(m->fate));
    for (size_t i = 0; i < m->part_count; i++) {
        CHECK(!m->parts[i].gpu->trouble[0]);
        CHECK(m->parts[i].bytes >= m->claim_bytes && m->claim_bytes >= need);
        for (size_t k = 0; k < i; k++)
            CHECK(m->parts[k].gpu != m->parts[i].gpu);
    }
    CHECK(m->conflict ==
          (c->enabled && c->residency == CONFIG_RESIDENCY_ALWAYS && m->fate != PLAN_RESIDENT));
    CHECK(m->fate != PLAN_RESIDENT || m->held_by_count == 0);
    CHECK(m->reason[0]);
}

/* An `auto` model that waits would not have fitted: it waits for somebody. */
static void
check_wait(const struct plan_model *m, const struct config_model *c)
{
    bool may = c->residency == CONFIG_RESIDENCY_AUTO || c->residency == CONFIG_RESIDENCY_ALWAYS;
    if (m->fate == PLAN_ON_DEMAND && may)
        CHECK(m->held_by_count > 0);
}

static void
check_bytes(struct bench *b)
{
    _cleanup_buf_ struct buf first = BUF_INIT(ROOM), second = BUF_INIT(ROOM);
    bench_print(&b->plan, &first);
    CHECK(bench_plan(b));
    bench_print(&b->plan, &second);
    CHECK_STR(second.data, first.data);
}

TEST(promises_hold)
{
    uint64_t state = 88172645463325252;
    for (unsigned round = 0; round < ROUNDS; round++) {
        _cleanup_bench_ struct bench b;
        REQUIRE(draw_bench(&state, &b));
        check_gpus(&b.plan);
        for (size_t i = 0; i < b.plan.model_count; i++) {
            check_model(&b.plan.models[i], &b.config->models.items[i]);
            check_wait(&b.plan.models[i], &b.config->models.items[i]);
        }
        check_bytes(&b);
    }
}

/* ---- what holds between plans ---- */

TEST(a_gpu_more_makes_nothing_impossible)
{
    uint64_t state = 362436069362436069;
    for (unsigned round = 0; round < PAIRS; round++) {
        _cleanup_bench_ struct bench b;
        enum plan_fate before[MODELS_MOST];
        REQUIRE(draw_bench(&state, &b));
        for (size_t i = 0; i < b.plan.model_count; i++)
            before[i] = b.plan.models[i].fate;
        /* One more of those that are there: of another size it could be one that `gpus` names. */
        bench_add_gpu(&b, b.inventory.count ? b.gpus[0].memory_total_bytes.n : 80 * GIB);
        REQUIRE(bench_plan(&b));
        for (size_t i = 0; i < b.plan.model_count; i++)
            CHECK(plan_fate_is_possible(b.plan.models[i].fate) ||
                  !plan_fate_is_possible(before[i]) ||
                  /* What makes do without a GPU wants all of its own where there is one. */
                  plan_gpus_of(&b.config->models.items[i], false) == PLAN_GPUS_IF_THERE);
    }
}

/* With priorities that all differ, the order of the file says nothing. */
TEST(the_order_of_the_file_only_breaks_ties)
{
    uint64_t state = 521288629521288629;
    for (unsigned round = 0; round < PAIRS; round++) {
        _cleanup_bench_ struct bench b;
        enum plan_fate before[MODELS_MOST];
        REQUIRE(draw_bench(&state, &b));
        size_t count = b.plan.model_count;
        for (size_t i = 0; i < count; i++)
            b.config->models.items[i].priority = (uint32_t)(i * 7 % 11);
        REQUIRE(bench_plan(&b));
        for (size_t i = 0; i < count; i++)
            before[i] = b.plan.models[i].fate;
        for (size_t i = 0; i < count / 2; i++) {
            struct config_model kept = b.config->models.items[i];
            b.config->models.items[i] = b.config->models.items[count - 1 - i];
            b.config->models.items[count - 1 - i] = kept;
        }
        REQUIRE(bench_plan(&b));
        for (size_t i = 0; i < count; i++)
            CHECK_EQ(b.plan.models[count - 1 - i].fate, before[i]);
    }
}

/* What a sentence advises makes the model possible, where it names a number. */
static bool
follow(struct config_model *c, const char *fix)
{
    const char *raise = strstr(fix, "raise gpu_memory_fraction to ");
    const char *length = strstr(fix, "lower max_model_len to ");
    const char *lower = strstr(fix, "lower gpu_memory_fraction to ");
    if (raise)
        c->gpu_memory_fraction = strtod(raise + strlen("raise gpu_memory_fraction to "), NULL);
    else if (length)
        c->max_model_len = (uint32_t)strtoul(length + strlen("lower max_model_len to "), NULL, 10);
    else if (lower)
        c->gpu_memory_fraction = strtod(lower + strlen("lower gpu_memory_fraction to "), NULL);
    return raise || length || lower;
}

TEST(what_a_sentence_advises_helps)
{
    uint64_t state = 123456789123456789;
    unsigned followed = 0;
    for (unsigned round = 0; round < PAIRS; round++) {
        _cleanup_bench_ struct bench b;
        REQUIRE(draw_bench(&state, &b));
        for (size_t i = 0; i < b.plan.model_count; i++) {
            struct config_model *c = &b.config->models.items[i], kept = *c;
            const char *fix = b.plan.models[i].fix, *reason = b.plan.models[i].reason;
            if (b.plan.models[i].fate != PLAN_IMPOSSIBLE || !follow(c, fix))
                continue;
            struct plan before = b.plan;
            REQUIRE(bench_plan(&b));
            tap_note("%s: %s: %s", b.plan.models[i].name, reason, fix);
            /* A second thing that was in the way may be left. */
            CHECK(b.plan.models[i].fate != PLAN_IMPOSSIBLE ||
                  (c->kv_cache_memory_bytes && !text_eq(b.plan.models[i].reason, reason)));
            b.plan = before;
            *c = kept;
            followed++;
        }
    }
    CHECK(followed > PAIRS / 10);
}
