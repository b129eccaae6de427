#include "engine/progress.h"

#include "base/buf.h"
#include "engine/lines.h"
#include "engine/match_int.h"
#include "engine/test_int.h"
#include "tap.h"

#include <math.h>

struct following {
    struct engine_progress progress;
    struct buf phases; /* "importing, loading weights, ..." */
    enum engine_phase last;
};

static void
take_line(const char *line, size_t len unused_arg, void *arg)
{
    struct following *f = arg;
    engine_progress_line(&f->progress, line);
    if (f->progress.phase == f->last)
        return;
    f->last = f->progress.phase;
    buf_printf(&f->phases, "%s%s", f->phases.len ? ", " : "", engine_phase_name(f->last));
}

/* The log comes in pieces of so many bytes, as from a pipe. */
static struct following
follow(enum engine_dialect dialect, const char *text, size_t len, size_t piece)
{
    struct following f = {.phases = BUF_INIT(4096)};
    struct engine_lines lines = {0};
    engine_progress_init(&f.progress, dialect);
    for (size_t at = 0; at < len; at += piece)
        engine_lines_feed(&lines, text + at, MIN(piece, len - at), take_line, &f);
    engine_lines_end(&lines, take_line, &f);
    return f;
}

/* Zero in a figure: the log does not tell it. */
static const struct {
    const char *file;
    const char *phases;
    enum err_id id;
    const char *why, *fix;
    struct engine_figures figures;
} logs[] = {
    {"fail-address-already-in-use-composed.log",
     "importing",
     ERR_ENGINE_NOT_NOW,
     "something else listens on the engine's port",
     "see ss -ltnp; stop it or set another port",
     {}},
    {"fail-cuda-oom-graph-capture-composed.log",
     "importing, measuring memory, capturing CUDA graphs",
     ERR_ENGINE_CONFIG,
     "GPU memory ran out: 0.766 GiB more did not fit into the 31.36 of the GPU",
     "lower gpu_memory_fraction, or use more GPUs (tensor_parallel) or a quantised model",
     {.total = 51,
      .kv_gib = 4.2,
      .free_gib = 0.04595703125,
      .total_gib = 31.36,
      .tried_gib = 0.765625}},
    {"fail-cuda-oom-sampler-warmup-composed.log",
     "importing",
     ERR_ENGINE_CONFIG,
     "GPU memory ran out while warming up for 1024 requests at a time",
     "lower gpu_memory_fraction, or --max-num-seqs in extra_args",
     {.seqs = 1024}},
    {"fail-cuda-oom-weight-loading-composed.log",
     "importing",
     ERR_ENGINE_CONFIG,
     "GPU memory ran out: 3.5 GiB more did not fit into the 79.18 of the GPU",
     "use more GPUs (tensor_parallel) or a quantised model",
     {.free_gib = 3.33, .total_gib = 79.18, .tried_gib = 3.5, .own_gib = 75.84}},
    {"fail-estimated-maximum-model-length-composed.log",
     "importing, measuring memory",
     ERR_ENGINE_CONFIG,
     "one request of max_model_len 65536 needs 4.76 GiB of KV cache, and 1.56 are left",
     "max_model_len: 15984",
     {.kv_gib = 1.56, .kv_needed_gib = 4.76, .max_len = 15984, .asked_len = 65536}},
    {"fail-free-memory-less-than-utilization-composed.log",
     "importing",
     ERR_ENGINE_NOT_NOW,
     "17.10 GiB of the GPU's 22.05 are free, and gpu_memory_fraction 0.92 wants 20.28",
     "free the GPU, or set gpu_memory_fraction: 0.77",
     {.free_gib = 17.1, .total_gib = 22.05, .wanted_gib = 20.28, .fraction = 0.92}},
    {"fail-free-memory-less-than-utilization-v0.2x-composed.log",
     "importing",
     ERR_ENGINE_NOT_NOW,
     "100.94 GiB of the GPU's 121.69 are free, and gpu_memory_fraction 0.835 wants 101.61",
     "free the GPU, or set gpu_memory_fraction: 0.82",
     {.free_gib = 100.94, .total_gib = 121.69, .wanted_gib = 101.61, .fraction = 0.835}},
    {"fail-gated-repo-401-composed.log",
     "importing",
     ERR_ENGINE_CONFIG,
     "the model is not on this machine, and the hub gives it only to those it knows",
     "download it first, with an account that was let in",
     {}},
    {"fail-nccl-error-composed.log",
     "importing",
     ERR_ENGINE_NOT_NOW,
     "shared memory is full: NCCL could not make /dev/shm/nccl-Xw3vQa",
     "make /dev/shm larger (1 GiB a GPU)",
     {}},
    {"fail-no-available-memory-for-cache-blocks-composed.log",
     "importing, loading weights, measuring memory",
     ERR_ENGINE_CONFIG,
     "the weights and the working memory leave nothing for the KV cache",
     "raise gpu_memory_fraction, or use more GPUs (tensor_parallel) or a quantised model",
     {.weights_gib = 67.72, .kv_gib = -1.44}},
    {"fail-tp-not-divisible-composed.log",
     "importing",
     ERR_ENGINE_CONFIG,
     "the model's 40 attention heads cannot be shared out to 3 GPUs",
     "set tensor_parallel to a divisor of 40",
     {.heads = 40, .tensor_parallel = 3}},
    {"fail-unrecognized-arguments-composed.log",
     "importing",
     ERR_ENGINE_CONFIG,
     "this release of vLLM does not know --gpu-memory-utilisation 0.9 --max-model-length 8192",
     "correct or remove it in extra_args",
     {}},
    {"fail-unsupported-quantization-capability-composed.log",
     "importing",
     ERR_ENGINE_CONFIG,
     "fp8 needs a GPU of compute capability 80; this one has 75",
     "use the model in another quantisation, or without",
     {.capability = 75, .min_capability = 80}},
    {"fail-v0-max-seq-len-larger-than-kv-cache-composed.log",
     "loading weights, measuring memory",
     ERR_ENGINE_CONFIG,
     "the KV cache holds 23648 tokens, fewer than max_model_len 29000",
     "max_model_len: 23648",
     {.weights_gib = 14.9888,
      .kv_gib = 2.89,
      .concurrency = 0.82,
      .request_tokens = 29000,
      .max_len = 23648,
      .asked_len = 29000}},
    {"fail-v0.19.0-max-model-len-above-model-limit.log",
     "importing",
     ERR_ENGINE_CONFIG,
     "max_model_len 8192 is more than the model's 2048",
     "max_model_len: 2048",
     {.max_len = 2048, .asked_len = 8192}},
    {"fail-vllm-not-installed.log",
     "",
     ERR_ENGINE_CONFIG,
     "vLLM is not installed in the Python environment",
     "install it there, or correct the environment's path",
     {}},
    {"fail-worker-died-tp-composed.log",
     "",
     ERR_ENGINE_CONFIG,
     "GPU memory ran out: 0.58 GiB more did not fit into the 23.54 of the GPU",
     "lower gpu_memory_fraction, or use more GPUs (tensor_parallel) or a quantised model",
     {.free_gib = 0.382265625, .total_gib = 23.54, .tried_gib = 0.580078125}},
    {"runtime-engine-dead-composed.log",
     "shutting down",
     ERR_ENGINE_CRASHED,
     "the GPU failed: an illegal memory access was encountered",
     "look for 'NVRM: Xid' in the kernel's log",
     {}},
    {"success-v0.10.0-qwen3-30b-awq-rtx3090-with-400.log",
     "importing, loading weights, compiling, measuring memory, capturing CUDA graphs, warming up, "
     "ready, serving",
     ERR_NONE,
     "",
     "",
     {.weights_gib = 15.6116,
      .kv_gib = 1.92,
      .kv_tokens = 20960,
      .concurrency = 10.23,
      .request_tokens = 2048,
      .graphs_gib = 1.06,
      .init_seconds = 15.26}},
    {"success-v0.11.0-llama-3.1-8b-l4.log",
     "importing, loading weights, compiling, measuring memory, capturing CUDA graphs, warming up",
     ERR_NONE,
     "",
     "",
     {.weights_gib = 14.9889,
      .kv_gib = 4.75,
      .kv_tokens = 38944,
      .concurrency = 1.22,
      .request_tokens = 32000,
      .graphs_gib = 0.38,
      .init_seconds = 56}},
    {"success-v0.13.0-gpt-oss-20b-gb10.log",
     "importing, loading weights, compiling, measuring memory, warming up, capturing CUDA graphs",
     ERR_NONE,
     "",
     "",
     {.total = 83,
      .weights_gib = 13.7193,
      .kv_gib = 12.94,
      .kv_tokens = 282624,
      .concurrency = 54.44,
      .request_tokens = 8192}},
    {"success-v0.25.1-nvfp4-moe-draft-model-gb10.log",
     "importing, loading weights, compiling, measuring memory, compiling, measuring memory, "
     "warming up",
     ERR_NONE,
     "",
     "",
     {.weights_gib = 95.63,
      .kv_gib = 6.97,
      .kv_tokens = 94135,
      .concurrency = 1.44,
      .request_tokens = 65536,
      .graphs_gib = 1.41}},
    {"success-v0.30.0-qwen2.5-1.5b-cc75.log",
     "importing, loading weights, compiling, measuring memory, capturing CUDA graphs, measuring "
     "memory, warming up, capturing CUDA graphs",
     ERR_NONE,
     "",
     "",
     {.total = 35,
      .weights_gib = 2.98,
      .kv_gib = 8.67,
      .kv_tokens = 324704,
      .concurrency = 79.27,
      .request_tokens = 4096,
      .graphs_gib = 0.28}},
    {"success-v0.7.3-v0-engine-composed.log",
     "importing, loading weights, measuring memory, capturing CUDA graphs, warming up, ready",
     ERR_NONE,
     "",
     "",
     {.weights_gib = 14.9888,
      .kv_gib = 3.81,
      .concurrency = 1.56,
      .request_tokens = 20000,
      .graphs_gib = 0.25,
      .init_seconds = 20.71}},
    {"success-v0.8.5.post1-r1-distill-qwen-14b.log",
     "importing, loading weights, compiling, measuring memory, capturing CUDA graphs, warming up, "
     "ready, serving",
     ERR_NONE,
     "",
     "",
     {.weights_gib = 27.5916,
      .kv_tokens = 32832,
      .concurrency = 1,
      .request_tokens = 32768,
      .graphs_gib = 0.7,
      .init_seconds = 57.31}},
    {"success-v0.9.0.1-llama-3.2-1b-eager.log",
     "importing, loading weights, measuring memory, warming up, ready, serving, shutting down",
     ERR_NONE,
     "",
     "",
     {.weights_gib = 2.3185,
      .kv_tokens = 1028832,
      .concurrency = 7.85,
      .request_tokens = 131072,
      .init_seconds = 0.61}},
};

static bool
is_left_out(const char *figure)
{
    static const char *const names[] = {"done", "others_gib", "fits", "device"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(figure, names[i]) == 0)
            return true;
    return false;
}

static void
check_figures(const struct engine_figures *got, const struct engine_figures *want)
{
    const struct {
        const char *name;
        double got, want;
    } pairs[] = {
#define FIGURE(name) {#name, got->name, want->name},
        ENGINE_FIGURES(FIGURE)
#undef FIGURE
    };
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        bool same = pairs[i].want == 0
                        ? isnan(pairs[i].got)
                        : fabs(pairs[i].got - pairs[i].want) < 1e-6 * fabs(pairs[i].want);
        if (!same && !is_left_out(pairs[i].name))
            tap_fail(__FILE__, __LINE__, "%s is %.9g, not %.9g", pairs[i].name, pairs[i].got,
                     pairs[i].want);
    }
}

TEST(every_recorded_log_is_understood)
{
    static const size_t pieces[] = {1 << 20, 7};
    CHECK_EQ(ARRAY_SIZE(logs), test_count("vllm-logs", ".log"));
    for (size_t i = 0; i < ARRAY_SIZE(logs); i++) {
        size_t len;
        _cleanup_free_ char *text = test_read("vllm-logs", logs[i].file, &len);
        REQUIRE(text != NULL);
        for (size_t j = 0; j < ARRAY_SIZE(pieces); j++) {
            struct following f = follow(ENGINE_SAYS_VLLM, text, len, pieces[j]);
            tap_note("%s", logs[i].file);
            CHECK_STR(f.phases.data, logs[i].phases);
            CHECK_EQ(f.progress.why.id, logs[i].id);
            CHECK_STR(f.progress.why.what, logs[i].why);
            CHECK_STR(f.progress.why.fix, logs[i].fix);
            check_figures(&f.progress.figures, &logs[i].figures);
            buf_finish(&f.phases);
        }
    }
}

static struct engine_progress
told(enum engine_dialect dialect, const char *text)
{
    struct following f = follow(dialect, text, strlen(text), 1 << 20);
    buf_finish(&f.phases);
    return f.progress;
}

#define OOM_LINE(own)                                                                              \
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total "   \
    "capacity of 80.00 GiB of which 1.00 GiB is free. Including non-PyTorch memory, this process " \
    "has " own " GiB memory in use.\n"

TEST(who_holds_the_memory_decides_whether_to_wait)
{
    struct engine_progress p = told(ENGINE_SAYS_VLLM, OOM_LINE("78.50"));
    CHECK_EQ(p.why.id, ERR_ENGINE_CONFIG);
    p = told(ENGINE_SAYS_VLLM, OOM_LINE("39.00"));
    CHECK_EQ(p.why.id, ERR_ENGINE_NOT_NOW);
    CHECK_STR(p.why.what, "GPU memory ran out: others hold 40 GiB of the GPU's 80");
    p = told(ENGINE_SAYS_VLLM, "INFO:     Application startup complete.\n" OOM_LINE("39.00"));
    CHECK_EQ(p.why.id, ERR_ENGINE_CRASHED);
}

/* A port can be lost at the last moment: who bound it first need not be who listens first. */
TEST(a_port_is_lost_after_the_start_is_complete)
{
    struct engine_progress p =
        told(ENGINE_SAYS_VLLM, "INFO:     Application startup complete.\n"
                               "OSError: [Errno 98] Address already in use\n");
    CHECK_EQ(p.why.id, ERR_ENGINE_NOT_NOW);
    CHECK(p.lost_port);
    p = told(ENGINE_SAYS_VLLM,
             "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): "
             "address already in use\n");
    CHECK_EQ(p.why.id, ERR_ENGINE_NOT_NOW);
    CHECK(p.lost_port);
    p = told(ENGINE_SAYS_VLLM, "RuntimeError: first\n");
    CHECK(!p.lost_port);
}

TEST(who_died_without_a_word_is_named_by_others)
{
    struct engine_progress p =
        told(ENGINE_SAYS_VLLM,
             "INFO:     Application startup complete.\n"
             "ERROR 06-16 15:02:11 [multiproc_executor.py:154] Worker proc VllmWorker-1 died "
             "unexpectedly, shutting down executor.\n"
             "ERROR 06-16 15:02:11 [async_llm.py:480] vllm.v1.engine.exceptions.EngineDeadError: "
             "EngineCore encountered an issue.\n");
    CHECK_EQ(p.why.id, ERR_ENGINE_CRASHED);
    CHECK_STR(p.why.what, "the engine's process VllmWorker-1 died without a word");
    p = told(ENGINE_SAYS_VLLM, "INFO:     Application startup complete.\n"
                               "EngineDeadError: EngineCore encountered an issue.\n");
    CHECK_EQ(p.sure, ENGINE_SURE_IT_FAILED);
}

TEST(the_first_cause_stays_until_it_is_ready)
{
    static const char start[] = "RuntimeError: first\nValueError: second\n"
                                "ValueError: No available memory for the cache blocks. Try\n"
                                "OSError: [Errno 98] Address already in use\n";
    struct engine_progress p = told(ENGINE_SAYS_VLLM, "RuntimeError: first\nKeyError: second\n");
    CHECK_STR(p.why.what, "first");
    CHECK_EQ(err_exit(&p.why), EXIT_CODE_FAILED);
    p = told(ENGINE_SAYS_VLLM, start);
    CHECK_EQ(p.why.id, ERR_ENGINE_CONFIG);
    CHECK_EQ(err_exit(&p.why), EXIT_CODE_USAGE);

    char text[512];
    (void)snprintf(text, sizeof(text), "%s%s", start, "INFO:     Application startup complete.\n");
    p = told(ENGINE_SAYS_VLLM, text);
    CHECK_EQ(p.phase, ENGINE_READY);
    CHECK_EQ(p.why.id, ERR_NONE);
    /* What requests cause, and loading after a sleep, say nothing about the engine. */
    (void)snprintf(text, sizeof(text), "%s%s", "INFO:     Application startup complete.\n",
                   "ValueError: This model's maximum context length is 2048 tokens.\n"
                   "Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:00<00:02]\n");
    p = told(ENGINE_SAYS_VLLM, text);
    CHECK_EQ(p.phase, ENGINE_READY);
    CHECK_EQ(p.why.id, ERR_NONE);
}

static const char *
shown(const char *text)
{
    static char line[128];
    struct engine_progress p = told(ENGINE_SAYS_VLLM, text);
    _cleanup_buf_ struct buf out = BUF_INIT(128);
    engine_progress_print(&p, &out);
    (void)snprintf(line, sizeof(line), "%s", out.data);
    return line;
}

TEST(progress_is_shown_in_words)
{
    static const char shards[] = "(EngineCore pid=691) Loading safetensors checkpoint shards:  60% "
                                 "Completed | 3/5 [00:02<\r";
    CHECK_STR(shown(""), "starting");
    CHECK_STR(shown(shards), "loading weights, 3 of 5");
    CHECK_STR(shown("INFO [backends.py:559] Dynamo bytecode transform time: 7.71 s\n"),
              "compiling");
    CHECK_STR(shown("Capturing CUDA graphs (decode, FULL):  53%|\xe2\x96\x88  | 10/19 [00:01<"),
              "capturing CUDA graphs, 10 of 19");
    struct engine_progress p = told(ENGINE_SAYS_VLLM, shards);
    uint64_t news = p.news;
    engine_progress_line(&p, "an engine that only waits");
    CHECK_EQ(p.news, news);
    engine_progress_line(&p, "Loading safetensors checkpoint shards:  80% Completed | 4/5 [");
    CHECK_EQ(p.news, news + 1);
}

/* In the wording of llama.cpp's builds of 2025 and 2026, with and without time and level. */
TEST(llama_server_is_understood)
{
    static const struct {
        const char *text, *phases;
        enum err_id id;
        const char *why;
    } rows[] = {
        {"system_info: n_threads = 8 (n_threads_batch = 8) / 16 | CUDA : ARCHS = 860 |\n"
         "main: HTTP server is listening, hostname: 127.0.0.1, port: 8080, http threads: 15\n"
         "main: loading model\n"
         "srv    load_model: loading model '/models/a.gguf'\n"
         "llama_model_loader: loaded meta data with 35 key-value pairs and 292 tensors\n"
         "load_tensors: loading model tensors, this can take a while... (mmap = true)\n"
         "load_tensors: offloaded 33/33 layers to GPU\n"
         "load_tensors:        CUDA0 model buffer size =  4403.50 MiB\n"
         "......................................................\n"
         "llama_context: n_ctx         = 4096\n"
         "llama_kv_cache:      CUDA0 KV buffer size =   512.00 MiB\n"
         "common_init_from_params: warming up the model with an empty run - please wait ...\n"
         "srv    load_model: initializing slots, n_slots = 4\n"
         "main: model loaded\n"
         "main: server is listening on http://127.0.0.1:8080 - starting the main loop\n"
         "srv  update_slots: all slots are idle\n"
         "srv  log_server_r: request: POST /v1/chat/completions 127.0.0.1 200\n"
         "srv    operator(): operator(): cleaning up before exit...\n",
         "importing, loading weights, measuring memory, warming up, ready, serving, shutting down",
         ERR_NONE, ""},
        {"0.00.426.322 I load_tensors: loading model tensors, this can take a while...\n"
         "0.00.500.000 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 20480.00 MiB on "
         "device 0: cudaMalloc failed: out of memory\n"
         "0.00.500.100 E llama_model_load: error loading model: unable to allocate CUDA0 buffer\n"
         "0.00.500.200 E srv  llama_server: exiting due to model loading error\n",
         "loading weights", ERR_ENGINE_CONFIG,
         "GPU memory ran out: 20 GiB more did not fit into GPU 0"},
        {"E llama_model_load: error loading model: unknown model architecture: 'glm5next'\n"
         "E srv  llama_server: exiting due to model loading error\n",
         "", ERR_ENGINE_CONFIG, "this build of llama.cpp does not know the architecture glm5next"},
        {"E couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 18091\n", "",
         ERR_ENGINE_NOT_NOW, "something else listens on 127.0.0.1 port 18091"},
        {"error: invalid argument: --no-mmapp\n", "", ERR_ENGINE_CONFIG,
         "llama-server does not know --no-mmapp"},
        {"gguf_init_from_file: failed to open GGUF file '/models/b.gguf'\n", "", ERR_ENGINE_CONFIG,
         "there is no model at /models/b.gguf"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct following f = follow(ENGINE_SAYS_LLAMA, rows[i].text, strlen(rows[i].text), 11);
        tap_note("row %zu", i);
        CHECK_STR(f.phases.data, rows[i].phases);
        CHECK_EQ(f.progress.why.id, rows[i].id);
        CHECK_STR(f.progress.why.what, rows[i].why);
        if (i == 0)
            CHECK(f.progress.figures.weights_gib == 4403.5 / 1024 &&
                  f.progress.figures.kv_gib == 0.5 && f.progress.figures.kv_tokens == 4096 &&
                  f.progress.figures.seqs == 4);
        buf_finish(&f.phases);
    }
}

/* ---- the tables ---- */

#define STEP(phase, pattern) {pattern, "", ""},
#define FAIL(verdict, sure, when, pattern, why, fix) {pattern, why, fix},
static const struct {
    const char *pattern, *why, *fix;
} table[] = {
#include "engine/progress_llama.def"
#include "engine/progress_vllm.def"
};

static bool
is_known(const char *name, size_t len, bool with_what)
{
    static const char *const names[] = {
#define FIGURE(name) #name,
        ENGINE_FIGURES(FIGURE)
#undef FIGURE
    };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
            return true;
    return with_what && len == 4 && memcmp(name, "what", 4) == 0;
}

static void
check_names(const char *text, bool with_what)
{
    for (const char *p = strchr(text, '{'); p; p = strchr(p + 1, '{')) {
        const char *close = strchr(p, '}');
        CHECK(close && is_known(p + 1, (size_t)(close - p) - 1, with_what));
    }
}

/* A line as the pattern describes it. */
static void
make_line(const char *pattern, struct buf *line)
{
    for (const char *p = *pattern == '^' ? pattern + 1 : pattern; *p; p++) {
        if (*p == '{') {
            buf_add_str(line, strncmp(p, "{what}", 6) == 0 ? "words" : "7");
            p = strchr(p, '}');
        } else if (*p == '*') {
            buf_add_str(line, " and so on ");
        } else {
            buf_add_char(line, *p);
        }
    }
}

TEST(every_row_can_match_and_names_what_it_has)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        _cleanup_buf_ struct buf line = BUF_INIT(4096);
        struct match m;
        tap_note("%s", table[i].pattern);
        make_line(table[i].pattern, &line);
        REQUIRE(match_line(table[i].pattern, line.data, &m));
        CHECK_EQ(m.what != NULL, strstr(table[i].pattern, "{what}") != NULL);
        check_names(table[i].pattern, true);
        check_names(table[i].why, m.what != NULL);
        check_names(table[i].fix, m.what != NULL);
    }
}
