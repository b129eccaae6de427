/* What the engine says of itself: health, version, models, metrics. */

#include "base/text.h"
#include "sim/routes.h"
#include "sim/sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LABELS_BYTES_MAX (4 * KIB)

static void
answer_health(struct call *call)
{
    call_answer(call, call->sim->state == SIM_DEAD ? 503 : 200, NULL, "", 0);
}

static void
on_slow(struct loop_timer *timer)
{
    answer_health(container_of(timer, struct call, delay));
}

void
about_health(struct call *call, const struct value *body unused_arg)
{
    struct sim *sim = call->sim;
    if (!faults_hold(&sim->faults, FAULT_SLOW_HEALTH)) {
        answer_health(call);
        return;
    }
    call->delay.expired = on_slow;
    loop_timer_start(sim->loop, &call->delay, sim->settings.slow_us, 0);
}

/* Without --enable-server-load-tracking nobody counts. This call is none of them. */
void
about_load(struct call *call, const struct value *body unused_arg)
{
    struct json_writer w = call_open_map(call);
    json_u64(&w, "server_load", call->sim->settings.load_tracking ? call->sim->in_flight - 1 : 0);
    json_close_map(&w);
    call_answer_out(call);
}

void
about_version(struct call *call, const struct value *body unused_arg)
{
    struct json_writer w = call_open_map(call);
    json_str(&w, "version", call->sim->settings.version);
    json_close_map(&w);
    call_answer_out(call);
}

void
about_server(struct call *call, const struct value *body unused_arg)
{
    const struct settings *s = &call->sim->settings;
    struct json_writer w = call_open_map(call);
    json_open_map(&w, "vllm_config");
    json_str(&w, "model", s->model);
    json_u64(&w, "max_model_len", s->max_model_len);
    json_u64(&w, "tensor_parallel_size", s->tensor_parallel);
    json_u64(&w, "pipeline_parallel_size", s->pipeline_parallel);
    json_close_map(&w);
    json_close_map(&w);
    call_answer_out(call);
}

/* ---- models ---- */

static void
write_permission(struct json_writer *w, struct sim *sim)
{
    char id[CALL_ID_MAX];
    call_make_id(sim, "modelperm-", id);
    json_open_list(w, "permission");
    json_open_map(w, NULL);
    json_str(w, "id", id);
    json_str(w, "object", "model_permission");
    json_u64(w, "created", sim->started_s);
    json_bool(w, "allow_create_engine", false);
    json_bool(w, "allow_sampling", true);
    json_bool(w, "allow_logprobs", true);
    json_bool(w, "allow_search_indices", false);
    json_bool(w, "allow_view", true);
    json_bool(w, "allow_fine_tuning", false);
    json_str(w, "organization", "*");
    json_null(w, "group");
    json_bool(w, "is_blocking", false);
    json_close_map(w);
    json_close_list(w);
}

/* A LoRA has a parent, and no length of its own. */
static void
write_model(struct json_writer *w, struct sim *sim, const char *name, size_t name_len,
            const char *root, const char *parent)
{
    json_open_map(w, NULL);
    json_strn(w, "id", name, name_len);
    json_str(w, "object", "model");
    json_u64(w, "created", sim->started_s);
    json_str(w, "owned_by", "vllm");
    json_str(w, "root", root);
    json_str(w, "parent", parent);
    if (parent)
        json_null(w, "max_model_len");
    else
        json_u64(w, "max_model_len", sim->settings.max_model_len);
    write_permission(w, sim);
    json_close_map(w);
}

void
about_models(struct call *call, const struct value *body unused_arg)
{
    struct sim *sim = call->sim;
    const struct settings *s = &sim->settings;
    bool other = faults_hold(&sim->faults, FAULT_WRONG_MODEL);
    struct json_writer w = call_open_map(call);
    json_str(&w, "object", "list");
    json_open_list(&w, "data");
    for (size_t i = 0; i < (other ? 1 : s->names.count); i++) {
        const char *name = other ? sim_model(sim) : s->names.items[i];
        write_model(&w, sim, name, strlen(name), s->model, NULL);
    }
    for (size_t i = 0; i < s->loras.count; i++) {
        const char *lora = s->loras.items[i];
        size_t len = strcspn(lora, "=");
        write_model(&w, sim, lora, len, lora + len + (lora[len] == '='), sim_model(sim));
    }
    json_close_list(&w);
    json_close_map(&w);
    call_answer_out(call);
}

/* ---- metrics ---- */

/* Of cache_config_info, sorted as the library sorts them; NULL: a figure. */
static const struct {
    const char *name, *value;
    unsigned first, last;
} cache_labels[] = {
    {"_block_size_resolved", "True", 20, 99},
    {"block_size", NULL, 8, 99},
    {"cache_dtype", "auto", 8, 99},
    {"calculate_kv_scales", "False", 8, 99},
    {"cpu_kvcache_space_bytes", "None", 8, 19},
    {"cpu_offload_gb", "0.0", 8, 19},
    {"enable_prefix_caching", NULL, 8, 99},
    {"engine", "0", 8, 99},
    {"gpu_memory_utilization", NULL, 8, 99},
    {"hash_block_size", "None", 20, 99},
    {"is_attention_free", "False", 8, 99},
    {"kv_cache_dtype_skip_layers", "[]", 20, 99},
    {"kv_cache_max_concurrency", NULL, 20, 99},
    {"kv_cache_memory_bytes", "None", 8, 99},
    {"kv_cache_size_tokens", NULL, 20, 99},
    {"kv_offloading_backend", "native", 20, 99},
    {"kv_offloading_size", "None", 20, 99},
    {"kv_sharing_fast_prefill", "False", 8, 99},
    {"mamba_block_size", "None", 20, 99},
    {"mamba_cache_dtype", "auto", 8, 99},
    {"mamba_cache_mode", "none", 20, 99},
    {"mamba_page_size_padded", "None", 8, 99},
    {"mamba_ssm_cache_dtype", "auto", 8, 99},
    {"num_cpu_blocks", "None", 8, 99},
    {"num_gpu_blocks", NULL, 8, 99},
    {"num_gpu_blocks_override", "None", 8, 99},
    {"prefix_caching_hash_algo", "sha256", 8, 99},
    {"skip_page_size_padded", "None", 20, 99},
    {"sliding_window", "None", 8, 99},
    {"swap_space", "4.0", 8, 19},
    {"swap_space_bytes", "4294967296.0", 8, 19},
    {"user_specified_block_size", "False", 20, 99},
    {"user_specified_mamba_block_size", "False", 20, 99},
};

static void
add_cache_figure(struct buf *out, const struct sim *sim, const char *name)
{
    const struct settings *s = &sim->settings;
    if (text_eq(name, "block_size"))
        buf_add_u64(out, s->block_tokens);
    else if (text_eq(name, "enable_prefix_caching"))
        buf_add_str(out, s->prefix_caching ? "True" : "False");
    else if (text_eq(name, "gpu_memory_utilization"))
        buf_printf(out, "%g", s->gpu_memory_utilization);
    else if (text_eq(name, "kv_cache_max_concurrency"))
        buf_printf(out, "%g", (double)sim->memory.tokens / (double)s->max_model_len);
    else if (text_eq(name, "kv_cache_size_tokens"))
        buf_add_u64(out, sim->memory.tokens);
    else if (text_eq(name, "num_gpu_blocks"))
        buf_add_u64(out, sim->memory.blocks);
    else
        assert(false); /* a figure that nobody knows */
}

static void
add_cache_labels(struct buf *out, const struct sim *sim)
{
    unsigned release = sim->settings.release;
    for (size_t i = 0; i < ARRAY_SIZE(cache_labels); i++) {
        if (release < cache_labels[i].first || release > cache_labels[i].last)
            continue;
        buf_printf(out, "%s%s=\"", out->len ? "," : "", cache_labels[i].name);
        if (cache_labels[i].value)
            buf_add_str(out, cache_labels[i].value);
        else
            add_cache_figure(out, sim, cache_labels[i].name);
        buf_add_char(out, '"');
    }
}

static void
measure(struct sim *sim)
{
    struct meter *meters = sim->metrics.meters;
    meters[METRIC_RUNNING].value = (double)sim->batch.running.count;
    meters[METRIC_WAITING].value = (double)sim->batch.waiting.count;
    meters[METRIC_KV_USAGE].value = batch_usage(&sim->batch);
    meters[METRIC_KV_USAGE_OLD].value = batch_usage(&sim->batch);
}

void
about_metrics(struct call *call, const struct value *body unused_arg)
{
    struct sim *sim = call->sim;
    _cleanup_buf_ struct buf labels = BUF_INIT(LABELS_BYTES_MAX);
    add_cache_labels(&labels, sim);
    const struct metrics_now now = {.model = sim_model(sim),
                                    .release = sim->settings.release,
                                    .sleep_level = sim->rest.level,
                                    .cache_labels = labels.data};
    measure(sim);
    buf_clear(&call->out);
    traffic_print_process(&sim->traffic, &call->out);
    if (!sim->settings.no_log_stats)
        metrics_print(&sim->metrics, &now, &call->out);
    traffic_print(&sim->traffic, &call->out);
    call_answer(call, 200, "text/plain; version=0.0.4; charset=utf-8", call->out.data,
                call->out.len);
}
