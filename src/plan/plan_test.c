#include "base/text.h"
#include "gpu/memory.h"
#include "plan/test_int.h"

/* Models of so many GiB of weights, by their directories. */
static void
add_models(struct bench *b)
{
    bench_add_model(b, "/m/8", 8);
    bench_add_model(b, "/m/16", 16);
    bench_add_model(b, "/m/30", 30);
    bench_add_model(b, "/m/90", 90);
}

static void
add_torn_model(struct bench *b)
{
    static const struct model_problem problems[] = {
        {.id = MODEL_PROBLEM_PARTIAL_DOWNLOAD, .what = "a download was begun", .fix = ""},
        {.id = MODEL_PROBLEM_SHARD_CUT, .what = "model.safetensors is cut off", .fix = ""}};
    struct model *m = bench_add_model(b, "/m/torn", 8);
    m->problems = problems;
    m->problems_count = ARRAY_SIZE(problems);
}

/* "a resident 0 1; b on-demand 0 <a": who is where, and waits for whom. */
static void
print_outcome(const struct plan *plan, struct buf *out)
{
    for (size_t i = 0; i < plan->model_count; i++) {
        const struct plan_model *m = &plan->models[i];
        buf_printf(out, "%s%s %s%s", i ? "; " : "", m->name, plan_fate_word(m->fate),
                   m->conflict ? "!" : "");
        for (size_t k = 0; k < m->part_count; k++)
            buf_printf(out, " %u", m->parts[k].gpu->index);
        for (size_t k = 0; k < m->held_by_count; k++)
            buf_printf(out, " <%s", m->held_by[k]);
        CHECK(m->reason[0]);
    }
}

TEST(models_go_where_they_should)
{
    static const struct {
        const char *models, *gpus, *links, *want;
    } rows[] = {
        /* One after the other, as long as they fit; the rest wait for whom? */
        {"a: {path: /m/8, gpu_memory_fraction: 0.5}, b: {path: /m/8, gpu_memory_fraction: 0.4},"
         " c: {path: /m/8, gpu_memory_fraction: 0.3}",
         "80", "", "a resident 0; b resident 0; c on-demand 0 <a <b"},
        /* By priority first, then in the order of the file. */
        {"a: {path: /m/8}, b: {path: /m/8, priority: 60}", "80", "",
         "a on-demand 0 <b; b resident 0"},
        {"a: {path: /m/8}, b: {path: /m/8}", "80", "", "a resident 0; b on-demand 0 <a"},
        /* Those that must come before those that may, whatever their priority. */
        {"a: {path: /m/8, priority: 100}, b: {path: /m/8, residency: always, priority: 0}", "80",
         "", "a on-demand 0 <b; b resident 0"},
        /* Of those that must, the lower is a conflict. */
        {"a: {path: /m/8, residency: always}, b: {path: /m/8, residency: always, priority: 51}",
         "80", "", "a on-demand! 0 <b; b resident 0"},
        {"a: {path: /m/90, residency: always}", "80", "", "a impossible!"},
        /* What is loaded on demand is never resident, though there is room. */
        {"a: {path: /m/8, residency: on-demand}, b: {path: /m/8, residency: manual}", "80", "",
         "a on-demand 0; b manual 0"},
        {"a: {path: /m/8, residency: on-demand}, b: {path: /m/8}", "80", "",
         "a on-demand 0 <b; b resident 0"},
        {"a: {path: /m/8, residency: on-demand}, b: {path: /m/8}", "80 80", "",
         "a on-demand 1; b resident 0"},
        {"a: {path: /m/8, enabled: false, residency: always}", "80", "", "a disabled"},
        /* The GPU on which the least is left over; of equals, the first. */
        {"a: {path: /m/8}", "80 24 48", "", "a resident 1"},
        {"a: {path: /m/30}", "80 24 48", "", "a resident 2"},
        {"a: {path: /m/8}", "24 24", "", "a resident 0"},
        {"a: {path: /m/8, gpu_memory_fraction: 0.4}, b: {path: /m/8, gpu_memory_fraction: 0.4},"
         " c: {path: /m/8, gpu_memory_fraction: 0.9}",
         "80 80", "", "a resident 0; b resident 0; c resident 1"},
        /* Several: those that are linked; even ones before others. */
        {"a: {path: /m/90, tensor_parallel: 2}", "80 80 80 80", "0-2 1-3", "a resident 0 2"},
        {"a: {path: /m/90, tensor_parallel: 2}, b: {path: /m/90, tensor_parallel: 2}",
         "80 80 80 80", "0-2 1-3", "a resident 0 2; b resident 1 3"},
        {"a: {path: /m/30, tensor_parallel: 2}", "48 80 48", "0-1 1-2", "a resident 0 2"},
        {"a: {path: /m/30, tensor_parallel: 2}", "48 80", "", "a resident 0 1"},
        {"a: {path: /m/90, tensor_parallel: 2, pipeline_parallel: 2}", "48 48 48 48", "",
         "a resident 0 1 2 3"},
        {"a: {path: /m/90, tensor_parallel: 4}", "80 80", "", "a impossible"},
        /* Not where it would be in the way of one that can go nowhere else; but beside it. */
        {"a: {path: /m/8, residency: always, priority: 60}, b: {path: /m/8, gpus: [0]}", "80 80",
         "", "a resident 1; b resident 0"},
        {"a: {path: /m/8, priority: 60, gpu_memory_fraction: 0.4},"
         " b: {path: /m/8, gpus: [0], gpu_memory_fraction: 0.4}, c: {path: /m/8}",
         "80 80", "", "a resident 0; b resident 0; c resident 1"},
        /* As named, in that order. */
        {"a: {path: /m/8, gpus: [1]}", "80 80", "", "a resident 1"},
        {"a: {path: /m/90, tensor_parallel: 2, gpus: [2, 0]}", "80 80 80", "0-1", "a resident 2 0"},
        {"a: {path: /m/8, gpus: [GPU-00000001-0000-0000-0000-000000000000]}", "80 80", "",
         "a resident 1"},
        {"a: {path: /m/8, gpus: [7]}", "80 80", "", "a impossible"},
        /* GPUs in trouble take no part. */
        {"a: {path: /m/8}", "!80 80", "", "a resident 1"},
        {"a: {path: /m/8, gpus: [0]}", "!80 80", "", "a impossible"},
        {"a: {path: /m/8}", "!80", "", "a impossible"},
        /* Whom it waits for is who has its GPUs, not everybody. */
        {"a: {path: /m/8, gpus: [0]}, b: {path: /m/8, gpus: [1]}, c: {path: /m/8, gpus: [1]}",
         "80 80", "", "a resident 0; b resident 1; c on-demand 1 <b"},
        {"a: {path: /m/8, gpu_memory_fraction: 0.6}, b: {path: /m/8},"
         " c: {path: /m/8, gpu_memory_fraction: 0.5}",
         "80 80", "", "a resident 0; b resident 1; c on-demand 0 <a"},
        /* A cache of a fixed size makes a claim larger than the share, never smaller. */
        {"a: {path: /m/8, gpu_memory_fraction: 0.1, kv_cache_memory: 20GiB},"
         " b: {path: /m/8, gpu_memory_fraction: 0.6}",
         "80", "", "a resident 0; b resident 0"},
        {"a: {path: /m/8, gpu_memory_fraction: 0.1, kv_cache_memory: 22GiB},"
         " b: {path: /m/8, gpu_memory_fraction: 0.6}",
         "80", "", "a resident 0; b on-demand 0 <a"},
        {"a: {path: /m/8, kv_cache_memory: 1GiB}", "80", "", "a impossible"},
        {"a: {path: /m/none, gpu_memory_fraction: 0.1, kv_cache_memory: 40GiB},"
         " b: {path: /m/8, gpu_memory_fraction: 0.5}",
         "80", "", "a resident 0; b on-demand 0 <a"},
        {"a: {path: /m/8, engine: llama-server, kv_cache_memory: 1GiB}", "80", "", "a resident 0"},
        /* What is not known makes nothing impossible. */
        {"a: {path: /m/unheard-of}", "24", "", "a resident 0"},
        {"a: {path: /m/90, quantization: awq}", "80", "", "a resident 0"},
        /* What has no use for a GPU, or no need of one. */
        {"a: {engine: sim}, b: {engine: sim, residency: on-demand}", "80", "",
         "a resident; b on-demand"},
        {"a: {engine: command, command: [x]}, b: {path: /m/8, engine: llama-server}", "", "",
         "a resident; b resident"},
        {"a: {engine: command, command: [x], residency: manual}", "80", "", "a manual 0"},
        {"a: {path: /m/8}", "", "", "a impossible"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_bench_ struct bench b;
        _cleanup_buf_ struct buf text = BUF_INIT(4 * KIB), got = BUF_INIT(4 * KIB);
        buf_printf(&text, "models: {%s}\n", rows[i].models);
        tap_note("%s on %s", rows[i].models, rows[i].gpus);
        REQUIRE(bench_open(&b, text.data));
        add_models(&b);
        bench_add_gpus(&b, rows[i].gpus);
        bench_link(&b, rows[i].links);
        REQUIRE(bench_plan(&b));
        print_outcome(&b.plan, &got);
        CHECK_STR(got.data, rows[i].want);
    }
}

TEST(a_sentence_tells_what_is_in_the_way_and_what_would_help)
{
    static const struct {
        const char *model, *gpus, *reason, *fix;
    } rows[] = {
        {"path: /m/8", "80",
         "kept on GPU 0 with 72.0 GiB; room for about 15.4 requests of 32768 tokens at once", ""},
        {"path: /m/30, tensor_parallel: 2", "80 80",
         "kept on GPUs 0 and 1 with 72.0 GiB of each; room for about 26.9 requests of 32768 tokens "
         "at "
         "once",
         ""},
        {"path: /m/8, residency: manual", "80",
         "a person starts it, on GPU 0 with 72.0 GiB; room for about 15.4 requests of 32768 tokens "
         "at "
         "once",
         ""},
        {"path: /m/none", "80",
         "kept on GPU 0 with 72.0 GiB; how much of it the model needs is not known", ""},
        {"path: /m/16", "24",
         "needs 22.2 GiB (16.0 GiB of weights, 4.00 GiB for a request of 32768 tokens, about 2.25 "
         "GiB for the engine), and its share of GPU 0 is 21.6 GiB: 0.90 of 24.0 GiB",
         "raise gpu_memory_fraction to 0.93, or lower max_model_len to 27440, or set "
         "kv_cache_dtype to fp8"},
        {"path: /m/90", "80",
         "needs 98.8 GiB (90.0 GiB of weights, 4.00 GiB for a request of 32768 tokens, about 4.85 "
         "GiB for the engine), and its share of GPU 0 is 72.0 GiB: 0.90 of 80.0 GiB",
         "take a smaller checkpoint, or one that is quantised"},
        {"path: /m/90, max_model_len: 4096", "80 80 80 80",
         "needs 95.3 GiB (90.0 GiB of weights, 512 MiB for a request of 4096 tokens, about 4.85 "
         "GiB "
         "for the engine), and its share of GPU 0 is 72.0 GiB: 0.90 of 80.0 GiB",
         "raise tensor_parallel to 2"},
        {"path: /m/90, tensor_parallel: 2", "48 48 24",
         "needs 51.0 GiB of each GPU (45.0 GiB of weights, 2.00 GiB for a request of 32768 tokens, "
         "about 4.05 GiB for the engine), and its share of GPU 1 is 43.2 GiB: 0.90 of 48.0 GiB",
         "take a smaller checkpoint, or one that is quantised"},
        {"path: /m/8, gpu_memory_fraction: 1.0", "80",
         "80.0 GiB of GPU 0 are asked for, and of its 80.0 GiB it must leave 512 MiB to the driver "
         "and others",
         "lower gpu_memory_fraction to 0.99"},
        {"path: /m/8, kv_cache_memory: 100GiB", "80",
         "110 GiB of GPU 0 are asked for, and of its 80.0 GiB it must leave 512 MiB to the driver "
         "and others",
         "lower kv_cache_memory"},
        {"path: /m/8, kv_cache_memory: 1GiB", "80",
         "kv_cache_memory is 1.00 GiB, and one request of 32768 tokens takes 4.00 GiB",
         "raise kv_cache_memory, or lower max_model_len to 8192"},
        {"path: /m/8, tensor_parallel: 4", "80 !80 80",
         "4 GPUs are needed (tensor_parallel times pipeline_parallel), and 2 can be used here; GPU "
         "1 takes no part: the GPU is lost: it fell off the bus or cannot be reached",
         "lower tensor_parallel or pipeline_parallel"},
        {"path: /m/8, tensor_parallel: 2, gpus: [0, GPU-00000000]", "80 80",
         "gpus: GPU 0 is named twice", "`citadel plan` lists the GPUs that are here"},
        {"path: /m/8, gpus: [3]", "80 80", "gpus: no GPU is '3': 0 of 2 match",
         "`citadel plan` lists the GPUs that are here"},
        {"path: /m/8, gpus: [0]", "!80",
         "gpus: GPU 0 cannot be used: the GPU is lost: it fell off the bus or cannot be reached",
         "`citadel plan` lists the GPUs that are here"},
        {"path: /m/8", "", "vllm needs a GPU: no driver", ""},
        {"engine: sim", "80", "it needs no GPU", ""},
        {"engine: command, command: [x]", "", "it runs without a GPU, as none can be used here",
         ""},
        {"path: /m/8, enabled: false", "80", "enabled is false", ""},
        {"path: /m/torn", "80", "model.safetensors is cut off",
         "`citadel models validate a` tells all that is wrong"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_bench_ struct bench b;
        _cleanup_buf_ struct buf text = BUF_INIT(4 * KIB);
        buf_printf(&text, "models: {a: {%s}}\n", rows[i].model);
        tap_note("%s on %s", rows[i].model, rows[i].gpus);
        REQUIRE(bench_open(&b, text.data));
        add_models(&b);
        add_torn_model(&b);
        b.input.no_inventory = "no driver";
        bench_add_gpus(&b, rows[i].gpus);
        REQUIRE(bench_plan(&b));
        CHECK_STR(b.plan.models[0].reason, rows[i].reason);
        CHECK_STR(b.plan.models[0].fix, rows[i].fix);
    }
}

/* A model that must be kept loaded and is not tells what would help, too. */
TEST(a_conflict_is_told)
{
    _cleanup_bench_ struct bench b;
    REQUIRE(bench_open(&b, "models: {a: {path: /m/8}, b: {path: /m/16, residency: always},"
                           " c: {path: /m/8, residency: always, gpu_memory_fraction: 0.2}}"));
    add_models(&b);
    bench_add_gpus(&b, "80");
    REQUIRE(bench_plan(&b));
    CHECK_EQ(b.plan.conflict_count, 1);
    CHECK_STR(b.plan.models[0].reason,
              "loaded when it is asked for, on GPU 0; waits while b holds memory there");
    CHECK_STR(b.plan.models[2].reason,
              "it is to be kept loaded, on GPU 0; but b holds memory there");
    CHECK_STR(b.plan.models[2].fix,
              "lower gpu_memory_fraction, or let one of them be loaded on demand");
}

TEST(counts_and_names_are_there)
{
    _cleanup_bench_ struct bench b;
    REQUIRE(bench_open(&b, "models: {a: {path: /m/8}, b: {path: /m/8}, c: {path: /m/8},"
                           " d: {path: /m/8, enabled: false}}"));
    add_models(&b);
    bench_add_gpus(&b, "80 !80");
    b.gpus[1].minor.known = false;
    REQUIRE(bench_plan(&b));
    CHECK_EQ(b.plan.resident_count, 1);
    CHECK_EQ(b.plan.on_demand_count, 2);
    CHECK_EQ(b.plan.conflict_count, 0);
    CHECK(plan_find_model(&b.plan, "c") == &b.plan.models[2]);
    CHECK(!plan_find_model(&b.plan, "e"));
    CHECK_EQ(b.plan.gpus[0].minor, 0);
    CHECK_EQ(b.plan.gpus[1].minor, PLAN_NO_MINOR);
    CHECK_STR(b.plan.gpus[0].uuid, "GPU-00000000-0000-0000-0000-000000000000");
    CHECK_EQ(b.plan.gpus[0].promised_bytes, 72 * GIB);
    /* Five starts of two hours and two minutes; between them 10, 20, 40 and 80 seconds. */
    CHECK_EQ(b.plan.models[0].start_bound_us, (5 * 7320 + 150) * UINT64_C(1000000));
}

/* The simulator has GPUs only where they are made up. */
TEST(the_simulator_takes_no_real_memory)
{
    _cleanup_bench_ struct bench b;
    REQUIRE(bench_open(&b, "models: {a: {engine: sim}}"));
    bench_add_gpus(&b, "80");
    REQUIRE(bench_plan(&b));
    CHECK_EQ(b.plan.models[0].part_count, 0);
    b.input.fake_driver = true;
    REQUIRE(bench_plan(&b));
    CHECK_EQ(b.plan.models[0].part_count, 1);
}

TEST(without_a_whole_environment_no_model_runs_on_vllm)
{
    static const struct plan_engine half = {"/opt/citadel/vllm-env-0.14.1", "",
                                            "/opt/citadel/vllm-env-0.14.1 is not whole: bin/vllm"};
    _cleanup_bench_ struct bench b;
    REQUIRE(bench_open(&b, "models: {a: {path: /m/8, residency: always}, b: {engine: sim},"
                           " c: {path: /m/8, enabled: false}}"));
    add_models(&b);
    bench_add_gpus(&b, "80");
    b.input.vllm = &half;
    REQUIRE(bench_plan(&b));
    CHECK_EQ(b.plan.models[0].fate, PLAN_BROKEN);
    CHECK(b.plan.models[0].conflict);
    CHECK_STR(b.plan.models[0].reason, half.trouble);
    CHECK(strstr(b.plan.models[0].fix, "paths.vllm_env"));
    CHECK_EQ(b.plan.models[1].fate, PLAN_RESIDENT);
    CHECK_EQ(b.plan.models[2].fate, PLAN_DISABLED);
    CHECK_STR(b.plan.vllm.env, half.env);
}

static bool
is_same_fingerprint(struct bench *b, const char *before)
{
    return bench_plan(b) && text_eq(b->plan.fingerprint, before);
}

TEST(a_plan_knows_when_it_is_stale)
{
    _cleanup_bench_ struct bench b;
    char before[HASH_SHA256_HEX];
    REQUIRE(bench_open(&b, "models: {a: {path: /m/8}}"));
    struct model *m = bench_add_model(&b, "/m/8", 8);
    bench_add_gpus(&b, "80 80");
    REQUIRE(bench_plan(&b));
    memcpy(before, b.plan.fingerprint, sizeof(before));

    /* What GPUs do at the moment is no matter. */
    b.gpus[0].memory_used_bytes = (struct gpu_value){7 * GIB, true};
    b.gpus[0].temperature_celsius = (struct gpu_value){80, true};
    CHECK(is_same_fingerprint(&b, before));

    b.gpus[1].trouble = NVML_ERROR_GPU_IS_LOST;
    CHECK(!is_same_fingerprint(&b, before));
    b.gpus[1].trouble = NVML_SUCCESS;
    b.inventory.pairs[0][1].linked = true;
    CHECK(!is_same_fingerprint(&b, before));
    b.inventory.pairs[0][1].linked = false;
    m->weights.gpu_bytes++;
    CHECK(!is_same_fingerprint(&b, before));
    m->weights.gpu_bytes--;
    b.input.vllm = &(const struct plan_engine){"/opt/vllm-env-0.14.1", "0.14.1", ""};
    CHECK(!is_same_fingerprint(&b, before));
    b.input.vllm = NULL;
    b.config->models.items[0].gpu_memory_fraction = 0.91;
    CHECK(!is_same_fingerprint(&b, before));
    b.config->models.items[0].gpu_memory_fraction = 0.90;
    CHECK(is_same_fingerprint(&b, before));
}

/* As many models and GPUs as there may be, each on half of them: it fits into what plan.h names. */
TEST(the_largest_plan_has_room)
{
    _cleanup_bench_ struct bench b;
    _cleanup_buf_ struct buf text = BUF_INIT(64 * KIB);
    buf_add_str(&text, "defaults: {tensor_parallel: 16, gpu_memory_fraction: 0.11}\n"
                       "models:\n");
    for (unsigned i = 0; i < 256; i++)
        buf_printf(&text, "  a-model-with-a-name-of-%03u: {path: /m/8}\n", i);
    REQUIRE(bench_open(&b, text.data));
    add_models(&b);
    for (unsigned i = 0; i < GPU_INVENTORY_MAX; i++)
        bench_add_gpu(&b, 80 * GIB);
    bench_link(&b, "");
    arena_finish(&b.arena);
    arena_init(&b.arena, 4 * MIB);
    REQUIRE(bench_plan(&b));
    CHECK_EQ(b.plan.resident_count, 18); /* nine on each half */
    CHECK_EQ(b.plan.on_demand_count, 256 - 18);
    CHECK_EQ(b.plan.models[255].held_by_count, 9);
    CHECK(text_ends(b.plan.models[255].reason, "-006 and 2 others hold memory there"));
}
