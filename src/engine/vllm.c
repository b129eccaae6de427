/* vLLM's command line for the release that is installed, and the simulator's, which is the same.
 * vllm_flags.def knows the flags. */

#include "build_int.h"

#include "base/buf.h"
#include "base/secret.h"
#include "base/text.h"
#include "engine/version.h"
#include "fmt/json.h"

#include <stdio.h>
#include <string.h>

#define OLDEST_KNOWN "0.8.5"
/* Before it, a picture from anybody could run code (CVE-2026-22778). */
#define FLOOR "0.14.1"
#define RECOMMENDED "0.19.0"
#define NEWEST_KNOWN "0.32.0"

/* A socket's path ends at 107 bytes; vLLM puts "/" and a UUID behind the directory. */
#define RUNTIME_DIR_MAX (107 - 37)

enum flag_id {
#define FLAG(id, ...) FLAG_##id,
#define ALSO(...)
#include "engine/vllm_flags.def"
#undef FLAG
#undef ALSO
};

enum flag_write { SWITCH, TEXT, LIST, PAIRS, JSON, NOTHING };
enum flag_rule { OPTION, NEVER, CAREFUL, FREE };

static const struct flag {
    enum flag_id id;
    const char *flag;
    const char *first, *last;
    enum flag_write write;
    enum flag_rule rule;
    const char *words;
} flags[] = {
#define FLAG(id, ...) {FLAG_##id, __VA_ARGS__},
#define ALSO FLAG
#include "engine/vllm_flags.def"
#undef FLAG
#undef ALSO
};

static struct engine_version
known(const char *text)
{
    struct engine_version v;
    int r = engine_version_parse(text, &v, NULL);
    assert(r == 0);
    return v;
}

static bool
is_before(const struct engine_version *v, const char *text)
{
    struct engine_version other = known(text);
    return engine_version_compare_release(v, &other) < 0;
}

static bool
is_after(const struct engine_version *v, const char *text)
{
    struct engine_version other = known(text);
    return engine_version_compare_release(v, &other) > 0;
}

static bool
is_taken_by(const struct flag *f, const struct engine_version *v)
{
    return (!*f->first || !is_before(v, f->first)) && (!*f->last || !is_after(v, f->last));
}

/* ---- writing flags ---- */

/* The row for the installed release. Without one the wish cannot be met: that is an error. */
static const struct flag *
need_flag(struct engine_builder *b, enum flag_id id)
{
    engine_version_text installed;
    const struct flag *other = NULL;
    for (const struct flag *f = flags; f < flags + ARRAY_SIZE(flags); f++) {
        if (f->id == id && is_taken_by(f, b->wish->version))
            return f;
        if (f->id == id)
            other = f;
    }
    assert(other);
    build_fail(b, ERR_ENGINE_OPTION, "%s: %s needs vLLM %s or newer; %s is installed",
               b->wish->name, other->words, other->first,
               engine_version_print(b->wish->version, installed));
    return NULL;
}

static bool
has_flag(const struct engine_builder *b, enum flag_id id)
{
    for (const struct flag *f = flags; f < flags + ARRAY_SIZE(flags); f++)
        if (f->id == id && is_taken_by(f, b->wish->version))
            return true;
    return false;
}

static void
add_text(struct engine_builder *b, enum flag_id id, const char *value)
{
    const struct flag *f = value ? need_flag(b, id) : NULL;
    if (!f)
        return;
    build_arg(b, f->flag);
    build_arg(b, value);
}

static void
add_u64(struct engine_builder *b, enum flag_id id, uint64_t n)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
    add_text(b, id, n ? text : NULL);
}

static void
add_list(struct engine_builder *b, enum flag_id id, const char *const *values)
{
    const struct flag *f = values && *values ? need_flag(b, id) : NULL;
    if (!f)
        return;
    build_arg(b, f->flag);
    build_args(b, values);
}

static void
add_switch(struct engine_builder *b, enum flag_id id, enum engine_switch on)
{
    const struct flag *f = on == ENGINE_DEFAULT ? NULL : need_flag(b, id);
    if (!f || f->write == NOTHING)
        return;
    assert(f->write == SWITCH && text_starts(f->flag, "--"));
    build_argf(b, "--%s%s", on == ENGINE_ON ? "" : "no-", f->flag + 2);
}

/* ---- what extra_args may not do ---- */

/* The flag as the table writes it: without a value, '-' for '_', "--no-" and ".key" taken off. */
static void
flag_name(const char *arg, char *name, size_t room)
{
    size_t len = 0;
    if (text_starts(arg, "--no-") || text_starts(arg, "--no_")) {
        (void)snprintf(name, room, "--");
        len = 2;
        arg += strlen("--no-");
    }
    for (; *arg && *arg != '=' && *arg != '.' && len + 1 < room; arg++)
        name[len++] = *arg == '_' ? '-' : *arg;
    name[len] = '\0';
}

/* Python's parser takes a part of a flag for the flag when no other begins so. */
static bool
abbreviates(const char *name, const char *flag)
{
    return strlen(name) > strlen("--x") && text_starts(name, "--") && text_starts(flag, name);
}

static const struct flag *
find_flag(const char *name, const struct engine_version *version)
{
    const struct flag *found = NULL;
    for (const struct flag *f = flags; f < flags + ARRAY_SIZE(flags); f++)
        if (text_eq(f->flag, name) && (!found || is_taken_by(f, version)))
            found = f;
    for (const struct flag *f = flags; !found && f < flags + ARRAY_SIZE(flags); f++)
        if (abbreviates(name, f->flag))
            found = f;
    return found;
}

static void
refuse_release(struct engine_builder *b, const char *arg, const struct flag *f)
{
    engine_version_text installed;
    (void)engine_version_print(b->wish->version, installed);
    if (*f->first && is_before(b->wish->version, f->first))
        build_fail(b, ERR_ENGINE_OPTION, "extra_args: %s needs vLLM %s or newer; %s is installed",
                   arg, f->first, installed);
    else
        build_fail(b, ERR_ENGINE_OPTION, "extra_args: vLLM %s does not take %s any more", installed,
                   arg);
    if (*f->words)
        build_fix(b, "use %s", f->words);
}

static void
check_extra_arg(struct engine_builder *b, const char *arg)
{
    char name[64];
    flag_name(arg, name, sizeof(name));
    const struct flag *f = name[0] == '-' ? find_flag(name, b->wish->version) : NULL;
    if (!f)
        return;
    if (f->rule == OPTION) {
        build_fail(b, ERR_ENGINE_OPTION, "extra_args: %s is set by the option '%s'", name,
                   f->words);
        build_fix(b, "set %s, and take %s out of extra_args", f->words, name);
    } else if (f->rule == NEVER) {
        build_fail(b, ERR_ENGINE_OPTION, "extra_args: %s is not possible: %s", name, f->words);
        build_fix(b, "take %s out of extra_args", name);
    } else if (!is_taken_by(f, b->wish->version)) {
        refuse_release(b, name, f);
    } else if (f->rule == CAREFUL) {
        build_warn(b, "%s: %s: %s", b->wish->name, name, f->words);
    }
}

/* ---- the wish ---- */

int
engine_vllm_check(const struct engine_version *version, struct err *reterr)
{
    struct engine_version floor = known(FLOOR);
    engine_version_text text;
    if (engine_version_compare(version, &floor) >= 0)
        return 0;
    const char *why = is_before(version, OLDEST_KNOWN)
                          ? "is too old: " OLDEST_KNOWN " is the oldest whose flags are known"
                          : "can be taken over by a request with a picture (CVE-2026-22778) "
                            "and runs a model's own code unasked (CVE-2026-22807)";
    int r =
        err_set(reterr, ERR_ENGINE_UNSAFE, "vLLM %s %s", engine_version_print(version, text), why);
    err_fix(reterr, "install vLLM " RECOMMENDED " or newer");
    return r;
}

static void
check_release(struct engine_builder *b)
{
    const struct engine_wish *w = b->wish;
    engine_version_text text;
    struct err err = {0};
    (void)engine_version_print(w->version, text);
    int r = engine_vllm_check(w->version, &err);
    if (r < 0 && (is_before(w->version, OLDEST_KNOWN) || !w->force)) {
        build_fail(b, err.id, "%s", err.what);
        build_fix(b, "%s", err.fix);
    } else if (r < 0) {
        build_warn(b, "%s: %s; it runs because force is set", w->name, err.what);
    } else if (is_before(w->version, RECOMMENDED)) {
        build_warn(b, "%s: vLLM %s has known holes that " RECOMMENDED " closed", w->name, text);
    } else if (is_after(w->version, NEWEST_KNOWN)) {
        build_warn(b,
                   "%s: vLLM %s is newer than " NEWEST_KNOWN ", the newest whose flags are known",
                   w->name, text);
    }
}

static void
add_address(struct engine_builder *b)
{
    const struct engine_wish *w = b->wish;
    const char *host = build_host(b);
    bool open = !w->socket_path && !build_host_is_loopback(host);
    if (w->socket_path) {
        add_text(b, FLAG_SOCKET, w->socket_path);
    } else {
        add_text(b, FLAG_HOST, host);
        add_u64(b, FLAG_PORT, w->port);
    }
    if (open && w->sleep_mode) {
        build_fail(b, ERR_ENGINE_UNSAFE,
                   "%s: sleep opens routes that run anything, and %s is open to the network",
                   w->name, host);
        build_fix(b, "set listen: loopback, and let the gateway serve the network");
    }
    if (open)
        build_warn(b,
                   "%s: everybody who reaches %s port %u may use this model: /invocations asks "
                   "for no key",
                   w->name, host, w->port);
}

static void
add_memory(struct engine_builder *b)
{
    const struct engine_wish *w = b->wish;
    char fraction[16];
    (void)snprintf(fraction, sizeof(fraction), "%.4g", w->gpu_memory_fraction);
    add_u64(b, FLAG_TENSOR, w->tensor_parallel);
    add_u64(b, FLAG_PIPELINE, w->pipeline_parallel);
    add_text(b, FLAG_FRACTION, w->gpu_memory_fraction > 0 ? fraction : NULL);
    add_u64(b, FLAG_KV_BYTES, w->kv_cache_memory_bytes);
    /* Plain integers: 32k and 32K differ to vLLM. */
    add_u64(b, FLAG_MAX_LEN, w->max_model_len);
    add_u64(b, FLAG_MAX_SEQS, w->max_num_seqs);
    add_u64(b, FLAG_MAX_BATCHED, w->max_num_batched_tokens);
    add_text(b, FLAG_DTYPE, w->dtype);
    add_text(b, FLAG_KV_DTYPE, w->kv_cache_dtype);
    add_text(b, FLAG_QUANTIZATION, w->quantization);
    if (w->kv_cache_memory_bytes && w->gpu_memory_fraction <= 0)
        build_warn(b,
                   "%s: vLLM still wants gpu_memory_fraction of the memory free at its start "
                   "(0.92 unless set), although kv_cache_memory is",
                   w->name);
}

static void
add_runner(struct engine_builder *b)
{
    static const char *const tasks[ENGINE_KIND_COUNT] = {
        [ENGINE_KIND_EMBEDDING] = "embed",
        [ENGINE_KIND_RERANK] = "score",
        [ENGINE_KIND_SCORE] = "score",
        [ENGINE_KIND_CLASSIFY] = "classify",
        [ENGINE_KIND_TRANSCRIPTION] = "transcription",
    };
    const char *task = tasks[b->wish->kind];
    const struct flag *f = task ? need_flag(b, FLAG_RUNNER) : NULL;
    if (f && text_eq(f->flag, "--task"))
        add_text(b, FLAG_RUNNER, task);
    else if (f && b->wish->kind != ENGINE_KIND_TRANSCRIPTION)
        add_text(b, FLAG_RUNNER, "pooling");
}

static void
add_loras(struct engine_builder *b)
{
    const struct engine_wish *w = b->wish;
    const struct flag *modules = w->lora_count ? need_flag(b, FLAG_LORA_MODULES) : NULL;
    if (!modules)
        return;
    add_switch(b, FLAG_LORA, ENGINE_ON);
    add_u64(b, FLAG_LORA_MAX, w->max_loras);
    add_u64(b, FLAG_LORA_RANK, w->max_lora_rank);
    build_arg(b, modules->flag);
    for (size_t i = 0; i < w->lora_count; i++)
        build_argf(b, "%s=%s", w->loras[i].name, w->loras[i].path);
}

static void
add_limits(struct engine_builder *b)
{
    const struct engine_wish *w = b->wish;
    _cleanup_buf_ struct buf text = BUF_INIT(4 * KIB);
    const struct flag *f = w->limit_count ? need_flag(b, FLAG_LIMITS) : NULL;
    struct json_writer json;
    if (!f)
        return;
    bool pairs = f->write == PAIRS;
    json_init(&json, &text, false);
    if (!pairs)
        json_open_map(&json, NULL);
    for (size_t i = 0; i < w->limit_count; i++) {
        const struct engine_limit *limit = &w->limits[i];
        if (pairs)
            buf_printf(&text, "%s%s=%u", i ? "," : "", limit->modality, limit->count);
        else
            json_u64(&json, limit->modality, limit->count);
    }
    if (!pairs)
        json_close_map(&json);
    add_text(b, FLAG_LIMITS, text.data);
}

/* No domain means none, which vLLM cannot be told: an empty list lets it fetch from everywhere. */
static void
add_media(struct engine_builder *b)
{
    static const char *const nowhere[] = {"nowhere.invalid", NULL};
    const char *const *domains = b->wish->media_domains;
    if (domains && *domains)
        add_list(b, FLAG_MEDIA, domains);
    else if (has_flag(b, FLAG_MEDIA))
        add_list(b, FLAG_MEDIA, nowhere);
}

/* How chats are put to the model, and its answers taken apart. */
static void
add_chat(struct engine_builder *b)
{
    const struct engine_wish *w = b->wish;
    add_text(b, FLAG_TEMPLATE, w->chat_template);
    add_switch(b, FLAG_TOOL_CHOICE, w->tool_parser ? ENGINE_ON : ENGINE_DEFAULT);
    add_text(b, FLAG_TOOL_PARSER, w->tool_parser);
    add_text(b, FLAG_REASONING_PARSER, w->reasoning_parser);
}

static void
add_manners(struct engine_builder *b)
{
    const struct engine_wish *w = b->wish;
    add_switch(b, FLAG_REMOTE_CODE, w->trust_remote_code == ENGINE_ON ? ENGINE_ON : ENGINE_DEFAULT);
    add_switch(b, FLAG_CHUNKED, w->chunked_prefill);
    add_switch(b, FLAG_PREFIX, w->prefix_caching);
    add_switch(b, FLAG_EAGER, w->enforce_eager ? ENGINE_ON : ENGINE_DEFAULT);
    add_switch(b, FLAG_SLEEP, w->sleep_mode ? ENGINE_ON : ENGINE_DEFAULT);
    if (has_flag(b, FLAG_DRAIN))
        add_u64(b, FLAG_DRAIN, w->drain_seconds);
    else if (w->drain_seconds)
        build_warn(b,
                   "%s: this vLLM cuts its requests off when it is stopped; 0.18.0 and newer "
                   "finish them",
                   w->name);
    add_switch(b, FLAG_LOG_REQUESTS, ENGINE_ON);
    add_switch(b, FLAG_NO_DOCS, ENGINE_ON);
    /* Citadel's own questions would fill the log. */
    if (has_flag(b, FLAG_ACCESS_LOG))
        add_text(b, FLAG_ACCESS_LOG, "/health,/metrics,/is_sleeping");
}

static void
add_env(struct engine_builder *b)
{
    const struct engine_wish *w = b->wish;
    build_common_env(b);
    if (w->cache_dir) {
        build_envf(b, "VLLM_CACHE_ROOT", "%s/vllm", w->cache_dir);
        build_envf(b, "VLLM_CONFIG_ROOT", "%s/vllm-config", w->cache_dir);
        build_envf(b, "TRITON_CACHE_DIR", "%s/triton", w->cache_dir);
        build_envf(b, "TORCHINDUCTOR_CACHE_DIR", "%s/inductor", w->cache_dir);
        build_env(b, "FLASHINFER_WORKSPACE_BASE", w->cache_dir);
    }
    if (w->runtime_dir) {
        if (strlen(w->runtime_dir) > RUNTIME_DIR_MAX)
            build_fail(b, ERR_ENGINE_OPTION, "%s: %s is too long for the sockets in it: %d bytes",
                       w->name, w->runtime_dir, RUNTIME_DIR_MAX);
        build_env(b, "VLLM_RPC_BASE_PATH", w->runtime_dir);
    }
    build_env(b, "VLLM_NO_USAGE_STATS", "1");
    build_env(b, "VLLM_LOGGING_COLOR", "0");
    /* All workers are on this host: they meet where nobody else listens, and where a unit lets them. */
    build_env(b, "VLLM_HOST_IP", "127.0.0.1");
    build_env(b, "GLOO_SOCKET_IFNAME", "lo");
    build_env(b, "NCCL_SOCKET_IFNAME", "lo");
    build_env(b, "VLLM_MEDIA_URL_ALLOW_REDIRECTS", "0");
    build_env(b, "VLLM_MAX_N_SEQUENCES", "64");
    if (w->start_seconds)
        build_envf(b, "VLLM_ENGINE_READY_TIMEOUT_S", "%u", w->start_seconds);
    if (w->sleep_mode)
        build_env(b, "VLLM_SERVER_DEV_MODE", "1");
    if (w->api_key && secret_is_set(w->api_key))
        build_env_secret(b, "VLLM_API_KEY", secret_reveal(w->api_key));
}

static void
build_serve(struct engine_builder *b, const char *program)
{
    const struct engine_wish *w = b->wish;
    check_release(b);
    if (b->error)
        return;
    build_program(b, program);
    build_arg(b, "serve");
    build_arg(b, w->model_path);
    add_address(b);
    add_list(b, FLAG_NAMES, w->served_names);
    add_memory(b);
    add_runner(b);
    add_loras(b);
    add_limits(b);
    add_media(b);
    add_chat(b);
    add_manners(b);
    for (const char *const *arg = w->extra_args; arg && *arg; arg++)
        check_extra_arg(b, *arg);
    build_args(b, w->extra_args);
    add_env(b);
}

void
build_vllm(struct engine_builder *b)
{
    if (!b->wish->version)
        build_fail(b, ERR_ENGINE_NOT_INSTALLED, "%s: the version of vLLM is not known",
                   b->wish->name);
    else
        build_serve(b, "vllm");
}

/* It takes the command line of any release, so it is given that of the newest. */
void
build_sim(struct engine_builder *b)
{
    const struct engine_wish *given = b->wish;
    struct engine_wish wish = *given;
    struct engine_version newest = known(NEWEST_KNOWN);
    if (!wish.version)
        wish.version = &newest;
    b->wish = &wish;
    build_serve(b, "citadel-sim");
    b->wish = given;
}

/* ---- what it does unasked ---- */

/* Before it there were two engines in one release, of which the older had a number of its own. */
#define ONE_ENGINE "0.11.0"
#define LARGE_BYTES (70 * GIB)

unsigned
engine_vllm_batch(const struct engine_version *version, const char *gpu_name, uint64_t gpu_bytes)
{
    if (is_before(version, ONE_ENGINE) || gpu_bytes == 0)
        return 0;
    /* One that it has measured to be slower with more. */
    bool is_a100 = strcasestr(gpu_name, "a100");
    return gpu_bytes >= LARGE_BYTES && !is_a100 ? 1024 : 256;
}
