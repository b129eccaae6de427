#include "engine/engine.h"

#include "base/buf.h"
#include "base/secret.h"
#include "engine/version.h"
#include "tap.h"

/* A wish built for a release of vLLM; what came of it lives until the next. */
static struct {
    struct arena arena;
    struct engine_command command;
    struct err err;
    struct buf text;
    int error;
} made;

static void
forget(void)
{
    arena_finish(&made.arena);
    buf_finish(&made.text);
}

static const char *
make(const char *engine, const struct engine_wish *wish)
{
    forget();
    arena_init(&made.arena, MIB);
    buf_init(&made.text, MIB);
    made.err = (struct err){0};
    made.command = (struct engine_command){0};
    made.error = engine_build(engine_find(engine), wish, &made.arena, &made.command, &made.err);
    if (made.error)
        return made.err.what;
    engine_command_print(&made.command, &made.text);
    return made.text.data;
}

static const char *
make_vllm(const char *release, const struct engine_wish *wish)
{
    struct engine_version version;
    struct engine_wish versioned = *wish;
    CHECK(engine_version_parse(release, &version, NULL) == 0);
    versioned.version = &version;
    tap_note("vLLM %s", release);
    return make("vllm", &versioned);
}

/* The smallest wish that is one. */
static struct engine_wish
small(void)
{
    return (struct engine_wish){.name = "phi3", .model_path = "/models/phi3", .port = 11403};
}

static bool
has_arg(const char *flag, const char *value)
{
    for (const char *const *arg = made.command.argv; arg && *arg; arg++)
        if (strcmp(*arg, flag) == 0 && (!value || (arg[1] && strcmp(arg[1], value) == 0)))
            return true;
    return false;
}

static const char *
env(const char *name)
{
    for (size_t i = 0; i < made.command.env_count; i++)
        if (strcmp(made.command.env[i].name, name) == 0)
            return made.command.env[i].value;
    return NULL;
}

static bool
warns(const char *part)
{
    for (const char *const *text = made.command.warnings; text && *text; text++)
        if (strstr(*text, part))
            return true;
    return false;
}

TEST(the_reference_model_has_this_command)
{
    static const unsigned gpus[] = {0, 1};
    static const char *const names[] = {"mixtral", "mixtral-8x7b", NULL};
    static const char *const extra[] = {"--max-logprobs", "128", NULL};
    static const struct engine_var extra_env[] = {{"NCCL_P2P_DISABLE", "1", false}};
    struct engine_wish wish = {
        .name = "mixtral",
        .kind = ENGINE_KIND_CHAT,
        .python_env = "/opt/citadel/vllm-env",
        .model_path = "/opt/citadel/models/mixtral-8x7b-instruct",
        .served_names = names,
        .port = 11400,
        .gpus = gpus,
        .gpu_count = 2,
        .tensor_parallel = 2,
        .gpu_memory_fraction = 0.90,
        .max_model_len = 32768,
        .drain_seconds = 30,
        .start_seconds = 7200,
        .cache_dir = "/cache/mixtral",
        .runtime_dir = "/run/citadel/mixtral",
        .extra_args = extra,
        .extra_env = extra_env,
        .extra_env_count = 1,
    };
    CHECK_STR(make_vllm("0.19.0", &wish),
              "CUDA_CACHE_PATH=/cache/mixtral/cuda \\\n"
              "CUDA_DEVICE_ORDER=PCI_BUS_ID \\\n"
              "CUDA_VISIBLE_DEVICES=0,1 \\\n"
              "DO_NOT_TRACK=1 \\\n"
              "FLASHINFER_WORKSPACE_BASE=/cache/mixtral \\\n"
              "GLOO_SOCKET_IFNAME=lo \\\n"
              "HF_DATASETS_OFFLINE=1 \\\n"
              "HF_HOME=/cache/mixtral/huggingface \\\n"
              "HF_HUB_DISABLE_TELEMETRY=1 \\\n"
              "HF_HUB_OFFLINE=1 \\\n"
              "HOME=/cache/mixtral \\\n"
              "LANG=C.UTF-8 \\\n"
              "NCCL_P2P_DISABLE=1 \\\n"
              "NCCL_SOCKET_IFNAME=lo \\\n"
              "NO_COLOR=1 \\\n"
              "PATH=/opt/citadel/vllm-env/bin:/usr/local/cuda/bin:/usr/local/bin:/usr/bin:/bin \\\n"
              "PYTHONUNBUFFERED=1 \\\n"
              "TORCHINDUCTOR_CACHE_DIR=/cache/mixtral/inductor \\\n"
              "TRANSFORMERS_OFFLINE=1 \\\n"
              "TRITON_CACHE_DIR=/cache/mixtral/triton \\\n"
              "VIRTUAL_ENV=/opt/citadel/vllm-env \\\n"
              "VLLM_CACHE_ROOT=/cache/mixtral/vllm \\\n"
              "VLLM_CONFIG_ROOT=/cache/mixtral/vllm-config \\\n"
              "VLLM_ENGINE_READY_TIMEOUT_S=7200 \\\n"
              "VLLM_HOST_IP=127.0.0.1 \\\n"
              "VLLM_LOGGING_COLOR=0 \\\n"
              "VLLM_MAX_N_SEQUENCES=64 \\\n"
              "VLLM_MEDIA_URL_ALLOW_REDIRECTS=0 \\\n"
              "VLLM_NO_USAGE_STATS=1 \\\n"
              "VLLM_RPC_BASE_PATH=/run/citadel/mixtral \\\n"
              "XDG_CACHE_HOME=/cache/mixtral/xdg \\\n"
              "XDG_CONFIG_HOME=/cache/mixtral/xdg-config \\\n"
              "XDG_DATA_HOME=/cache/mixtral/xdg-data \\\n"
              "/opt/citadel/vllm-env/bin/vllm serve /opt/citadel/models/mixtral-8x7b-instruct \\\n"
              "    --host 127.0.0.1 \\\n"
              "    --port 11400 \\\n"
              "    --served-model-name mixtral mixtral-8x7b \\\n"
              "    --tensor-parallel-size 2 \\\n"
              "    --gpu-memory-utilization 0.9 \\\n"
              "    --max-model-len 32768 \\\n"
              "    --allowed-media-domains nowhere.invalid \\\n"
              "    --shutdown-timeout 30 \\\n"
              "    --disable-fastapi-docs \\\n"
              "    --disable-access-log-for-endpoints /health,/metrics,/is_sleeping \\\n"
              "    --max-logprobs 128\n");
    CHECK(made.command.warnings[0] == NULL);
    CHECK_STR(made.command.environ[0], "CUDA_CACHE_PATH=/cache/mixtral/cuda");
    forget();
}

TEST(flags_follow_the_installed_release)
{
    static const struct engine_limit limits[] = {{"image", 4}, {"video", 1}};
    struct engine_wish wish = small();
    wish.kind = ENGINE_KIND_EMBEDDING;
    wish.limits = limits;
    wish.limit_count = 2;
    wish.drain_seconds = 20;
    wish.chunked_prefill = ENGINE_OFF;
    wish.prefix_caching = ENGINE_ON;
    wish.force = true;

    (void)make_vllm("0.8.5.post1", &wish);
    CHECK(has_arg("--limit-mm-per-prompt", "image=4,video=1"));
    CHECK(has_arg("--task", "embed") && !has_arg("--runner", NULL));
    CHECK(has_arg("--disable-log-requests", NULL));
    CHECK(!has_arg("--shutdown-timeout", NULL) && warns("cuts its requests off"));
    CHECK(!has_arg("--allowed-media-domains", NULL));
    CHECK(has_arg("--no-enable-chunked-prefill", NULL) && has_arg("--enable-prefix-caching", NULL));

    (void)make_vllm("0.17.1", &wish);
    CHECK(has_arg("--limit-mm-per-prompt", "{\"image\":4,\"video\":1}"));
    CHECK(has_arg("--runner", "pooling") && !has_arg("--task", NULL));
    CHECK(!has_arg("--disable-log-requests", NULL));
    CHECK(!has_arg("--shutdown-timeout", NULL));

    (void)make_vllm("0.18.0rc2.dev7", &wish);
    CHECK(has_arg("--shutdown-timeout", "20") && !warns("cuts its requests off"));
    CHECK(!has_arg("--disable-log-stats", NULL));
    forget();
}

TEST(an_option_that_the_release_lacks_is_an_error)
{
    struct engine_wish wish = small();
    wish.force = true;
    wish.kv_cache_memory_bytes = 8 * GIB;
    CHECK_STR(make_vllm("0.10.1.1", &wish),
              "phi3: kv_cache_memory needs vLLM 0.10.2 or newer; 0.10.1.1 is installed");
    CHECK_EQ(made.err.id, ERR_ENGINE_OPTION);
    (void)make_vllm("0.10.2", &wish);
    CHECK(has_arg("--kv-cache-memory-bytes", "8589934592"));
    forget();
}

TEST(the_security_floor_holds)
{
    static const struct {
        const char *release;
        bool force, runs;
        const char *warning;
    } rows[] = {
        {"0.8.4", true, false, NULL},           {"0.11.0", false, false, NULL},
        {"0.11.0", true, true, "force"},        {"0.14.0", false, false, NULL},
        {"0.14.1rc1", false, false, NULL},      {"0.14.1", false, true, "known holes"},
        {"0.18.3", false, true, "known holes"}, {"0.19.0", false, true, NULL},
        {"0.32.0", false, true, NULL},          {"0.33.0", false, true, "newer than 0.32.0"},
    };
    struct engine_wish wish = small();
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        wish.force = rows[i].force;
        const char *text = make_vllm(rows[i].release, &wish);
        tap_note("%s%s: %s", rows[i].release, rows[i].force ? ", forced" : "", text);
        CHECK_EQ(made.error == 0, rows[i].runs);
        if (!rows[i].runs) {
            CHECK_EQ(made.err.id, ERR_ENGINE_UNSAFE);
            CHECK(strstr(made.err.fix, "0.19.0"));
        } else if (rows[i].warning) {
            CHECK(warns(rows[i].warning));
        } else {
            CHECK(made.command.warnings[0] == NULL);
        }
    }
    CHECK(strstr(make("vllm", &wish), "the version of vLLM is not known"));
    forget();
}

TEST(extra_args_are_checked)
{
    static const struct {
        const char *release;
        const char *arg;
        const char *error; /* NULL: accepted */
        const char *fix;
    } rows[] = {
        {"0.19.0", "--max-logprobs", NULL, NULL},
        {"0.19.0", "--model-impl", NULL, NULL},
        {"0.19.0", "--kv-cache-dtype-skip-layers", NULL, NULL},
        {"0.19.0", "16384", NULL, NULL},
        {"0.19.0", "--port", "--port is set by the option 'port'", "out of extra_args"},
        {"0.19.0", "--port=9000", "--port is set by the option 'port'", NULL},
        {"0.19.0", "--host", "--host is set by the option 'listen'", NULL},
        {"0.19.0", "--uds", "--uds is set by the option 'port'", NULL},
        {"0.19.0", "--model", "--model is set by the option 'path'", NULL},
        {"0.19.0", "--max_model_len=4096", "--max-model-len is set by the option", NULL},
        {"0.19.0", "--max-model", "--max-model is set by the option 'max_model_len'", NULL},
        {"0.19.0", "-tp", "-tp is set by the option 'tensor_parallel'", NULL},
        {"0.19.0", "--no-enable-prefix-caching", "is set by the option 'prefix_caching'", NULL},
        {"0.19.0", "--limit-mm-per-prompt.image", "the option 'media.images'", NULL},
        {"0.19.0", "--api-key", "--api-key is not possible: every user", "out of extra_args"},
        {"0.19.0", "--disable-log-stats", "is not possible: it removes every vllm: metric", NULL},
        {"0.19.0", "--disable_log_stats", "is not possible: it removes every vllm: metric", NULL},
        {"0.19.0", "--disable-log-st", "is not possible: it removes every vllm: metric", NULL},
        {"0.19.0", "--config", "--config is not possible", NULL},
        {"0.19.0", "--config-format", NULL, NULL},
        {"0.19.0", "--swap-space", "vLLM 0.19.0 does not take --swap-space any more",
         "use --kv-offloading-size"},
        {"0.17.1", "--swap-space", NULL, NULL},
        {"0.19.0", "--disable-log-requests", "does not take --disable-log-requests any more",
         "requests are not logged"},
        {"0.16.0", "--disable-log-requests", NULL, NULL},
        {"0.19.0", "--guided-decoding-backend", "does not take", "--structured-outputs-config"},
        {"0.19.0", "--task", "--task is set by the option 'kind'", NULL},
        {"0.28.0", "--max-num-queued-reqs", "needs vLLM 0.29.0 or newer; 0.28.0 is installed",
         NULL},
        {"0.29.0", "--max-num-queued-reqs", NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *const extra[] = {rows[i].arg, NULL};
        struct engine_wish wish = small();
        wish.extra_args = extra;
        const char *text = make_vllm(rows[i].release, &wish);
        tap_note("%s on %s: %s", rows[i].arg, rows[i].release, text);
        CHECK_EQ(made.error == 0, rows[i].error == NULL);
        if (rows[i].error) {
            CHECK(strstr(text, rows[i].error));
            CHECK_EQ(made.err.id, ERR_ENGINE_OPTION);
        }
        if (rows[i].fix)
            CHECK(strstr(made.err.fix, rows[i].fix));
    }
    forget();
}

TEST(a_risky_extra_arg_warns)
{
    static const char *const extra[] = {"--allowed-local-media-path", "/srv", NULL};
    struct engine_wish wish = small();
    wish.extra_args = extra;
    (void)make_vllm("0.19.0", &wish);
    CHECK(warns("--allowed-local-media-path: requests may read files"));
    CHECK(has_arg("--allowed-local-media-path", "/srv"));
    forget();
}

TEST(an_engine_listens_inside_unless_told)
{
    static const struct {
        const char *host;
        bool exposed, sleep;
        const char *listens; /* NULL: refused */
    } rows[] = {
        {NULL, false, false, "127.0.0.1"},     {NULL, true, false, "0.0.0.0"},
        {"::1", false, true, "::1"},           {"localhost", false, true, "localhost"},
        {"192.168.10.35", false, false, NULL}, {"192.168.10.35", true, false, "192.168.10.35"},
        {"192.168.10.35", true, true, NULL},   {NULL, true, true, NULL},
        {"0.0.0.0", false, false, NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct engine_wish wish = small();
        wish.host = rows[i].host;
        wish.exposed = rows[i].exposed;
        wish.sleep_mode = rows[i].sleep;
        const char *text = make_vllm("0.19.0", &wish);
        tap_note("%s: %s", rows[i].host ? rows[i].host : "no host", text);
        CHECK_EQ(made.error == 0, rows[i].listens != NULL);
        if (!rows[i].listens) {
            CHECK_EQ(made.err.id, ERR_ENGINE_UNSAFE);
            continue;
        }
        CHECK(has_arg("--host", rows[i].listens));
        CHECK_EQ(warns("/invocations"), rows[i].exposed);
        CHECK_EQ(has_arg("--enable-sleep-mode", NULL), rows[i].sleep);
        CHECK_EQ(env("VLLM_SERVER_DEV_MODE") != NULL, rows[i].sleep);
    }
    struct engine_wish wish = small();
    wish.port = 0;
    CHECK(strstr(make_vllm("0.19.0", &wish), "neither a port nor a socket"));
    wish.socket_path = "/run/citadel/phi3.sock";
    wish.sleep_mode = true;
    (void)make_vllm("0.19.0", &wish);
    CHECK(has_arg("--uds", "/run/citadel/phi3.sock"));
    CHECK(!has_arg("--host", NULL) && !has_arg("--port", NULL));
    forget();
}

TEST(secrets_stay_out_of_sight)
{
    static const struct engine_var extra_env[] = {
        {"S3_SECRET", "hunter2", false},
        {"PLAIN", "hunter2", true},
        {"SHOWN", "it's \"seen\"", false},
    };
    _cleanup_secret_ struct secret key = {0};
    struct engine_wish wish = small();
    secret_set(&key, "hunter2");
    wish.api_key = &key;
    wish.hf_token_path = "/run/credentials/hf-token";
    wish.extra_env = extra_env;
    wish.extra_env_count = 3;
    const char *text = make_vllm("0.19.0", &wish);
    REQUIRE(made.error == 0);
    CHECK(!strstr(text, "hunter2"));
    CHECK(strstr(text, "VLLM_API_KEY=*** \\\n") && strstr(text, "S3_SECRET=*** \\\n"));
    CHECK(strstr(text, "SHOWN='it'\\''s \"seen\"' \\\n"));
    CHECK_STR(env("VLLM_API_KEY"), "hunter2");
    CHECK(env("HF_TOKEN_PATH") == NULL); /* it downloads nothing */
    wish.may_download = true;
    (void)make_vllm("0.19.0", &wish);
    CHECK_STR(env("HF_TOKEN_PATH"), "/run/credentials/hf-token");
    CHECK(env("HF_HUB_OFFLINE") == NULL);
    forget();
}

TEST(extra_env_may_change_much_but_not_all)
{
    static const struct {
        struct engine_var var;
        const char *error;
    } rows[] = {
        {{"HF_HUB_OFFLINE", "0", false}, NULL},
        {{"CUDA_VISIBLE_DEVICES", "3", false}, "extra_env may not set CUDA_VISIBLE_DEVICES"},
        {{"HF_TOKEN", "hf_x", false}, "citadel secrets set"},
        {{"VLLM_SERVER_DEV_MODE", "1", false}, "/collective_rpc"},
        {{"A=B", "1", false}, "is not the name of a variable"},
        {{"", "1", false}, "is not the name of a variable"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct engine_wish wish = small();
        wish.extra_env = &rows[i].var;
        wish.extra_env_count = 1;
        const char *text = make_vllm("0.19.0", &wish);
        tap_note("%s: %s", rows[i].var.name, text);
        CHECK_EQ(made.error == 0, rows[i].error == NULL);
        if (rows[i].error)
            CHECK(strstr(text, rows[i].error));
        else
            CHECK_STR(env(rows[i].var.name), rows[i].var.value);
    }
    forget();
}

TEST(gpus_are_named_and_counted)
{
    static const unsigned gpus[] = {5, 0, 7};
    struct engine_wish wish = small();
    (void)make_vllm("0.19.0", &wish);
    CHECK_STR(env("CUDA_VISIBLE_DEVICES"), "");
    wish.gpus = gpus;
    wish.gpu_count = 3;
    (void)make_vllm("0.19.0", &wish);
    CHECK_STR(env("CUDA_VISIBLE_DEVICES"), "5,0,7");
    wish.tensor_parallel = 2;
    CHECK_STR(make_vllm("0.19.0", &wish),
              "phi3: tensor_parallel 2 times pipeline_parallel 1 needs 2 GPUs, not 3");
    forget();
}

TEST(loras_and_remote_code_are_written)
{
    static const struct engine_lora loras[] = {{"sql", "/loras/sql"}, {"law", "/loras/law"}};
    struct engine_wish wish = small();
    (void)make_vllm("0.19.0", &wish);
    CHECK(!has_arg("--trust-remote-code", NULL) && !has_arg("--enable-lora", NULL));
    wish.trust_remote_code = ENGINE_ON;
    wish.loras = loras;
    wish.lora_count = 2;
    wish.max_lora_rank = 64;
    (void)make_vllm("0.19.0", &wish);
    CHECK(has_arg("--trust-remote-code", NULL) && has_arg("--enable-lora", NULL));
    CHECK(has_arg("--lora-modules", "sql=/loras/sql") &&
          has_arg("sql=/loras/sql", "law=/loras/law"));
    CHECK(has_arg("--max-lora-rank", "64"));
    forget();
}

TEST(the_other_engines_have_their_commands)
{
    static const char *const command[] = {"/opt/tgi/run", "--id={model}", "--bind", "{host}:{port}",
                                          "--conf",       "{\"a\": {b}}", NULL};
    static const char *const names[] = {"tiny", "small", NULL};
    struct engine_wish wish = small();
    CHECK(strstr(make("command", &wish), "needs a command to run"));
    wish.command = command;
    (void)make("command", &wish);
    CHECK(has_arg("/opt/tgi/run", "--id=/models/phi3") && has_arg("--bind", "127.0.0.1:11403"));
    CHECK(has_arg("--conf", "{\"a\": {b}}"));

    wish.executable = "/opt/llama/llama-server";
    wish.served_names = names;
    wish.kind = ENGINE_KIND_RERANK;
    wish.dtype = "float16";
    wish.max_model_len = 4096;
    wish.cache_dir = "/cache/phi3";
    (void)make("llama-server", &wish);
    CHECK(has_arg("/opt/llama/llama-server", "--model") && has_arg("--model", "/models/phi3"));
    CHECK(has_arg("--alias", "tiny") && has_arg("--reranking", NULL) && has_arg("--metrics", NULL));
    CHECK(has_arg("--ctx-size", "4096") && has_arg("--n-gpu-layers", "0"));
    CHECK(warns("nothing like dtype") && warns("one name, tiny"));
    CHECK_STR(env("LLAMA_CACHE"), "/cache/phi3/llama.cpp");
    wish.socket_path = "/run/citadel/phi3";
    CHECK(strstr(make("llama-server", &wish), "ends in .sock"));
    wish.socket_path = "/run/citadel/phi3.sock";
    (void)make("llama-server", &wish);
    CHECK(has_arg("--host", "/run/citadel/phi3.sock") && !has_arg("--port", NULL));
    static const char *const port[] = {"--port", "1", NULL};
    wish.extra_args = port;
    CHECK(strstr(make("llama-server", &wish), "--port is set by the option 'port'"));

    wish = small();
    wish.executable = "/usr/bin/citadel-sim";
    (void)make("sim", &wish);
    CHECK(has_arg("/usr/bin/citadel-sim", "serve") && has_arg("serve", "/models/phi3"));
    CHECK(has_arg("--port", "11403"));
    forget();
}

TEST(the_batch_of_vllm_follows_from_release_and_gpu)
{
    static const struct {
        const char *version, *gpu;
        uint64_t bytes;
        unsigned batch;
    } rows[] = {
        {"0.19.0", "NVIDIA H100 80GB HBM3", 79 * GIB + GIB / 4, 1024},
        {"0.19.0", "NVIDIA H200", 139 * GIB, 1024},
        {"0.11.0", "NVIDIA A100-SXM4-80GB", 79 * GIB + GIB / 4, 256},
        {"0.19.0", "NVIDIA L40S", 44 * GIB, 256},
        {"0.19.0", "", 0, 0}, /* it runs without a GPU, or nobody knows on which */
        {"0.10.2", "NVIDIA H200", 139 * GIB, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct engine_version version;
        tap_note("%s on %s", rows[i].version, rows[i].gpu);
        REQUIRE(engine_version_parse(rows[i].version, &version, NULL) == 0);
        CHECK_EQ(engine_vllm_batch(&version, rows[i].gpu, rows[i].bytes), rows[i].batch);
    }
}

TEST(a_command_line_has_a_ceiling)
{
    static const char *extra[1000];
    struct engine_wish wish = small();
    for (size_t i = 0; i + 1 < ARRAY_SIZE(extra); i++)
        extra[i] = "x";
    wish.extra_args = extra;
    CHECK(strstr(make_vllm("0.19.0", &wish), "too many arguments"));
    CHECK_EQ(made.err.id, ERR_TOO_LARGE);
    forget();
}
