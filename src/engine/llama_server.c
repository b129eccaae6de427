/* llama.cpp's server. Its releases are builds, one or more a day, and its flags hardly change: there
 * is no table by version. */

#include "build_int.h"

#include "base/secret.h"
#include "base/text.h"

static const char *const llama_kept[][2] = {
    {"--model", "path"},
    {"-m", "path"},
    {"--host", "listen"},
    {"--port", "port"},
    {"--alias", "served_names"},
    {"-a", "served_names"},
    {"--ctx-size", "max_model_len"},
    {"-c", "max_model_len"},
    {"--api-key", NULL},
    {"--api-key-file", NULL},
};

static void
check_llama_args(struct engine_builder *b)
{
    for (const char *const *arg = b->wish->extra_args; arg && *arg; arg++)
        for (size_t i = 0; i < ARRAY_SIZE(llama_kept); i++) {
            if (!text_eq(*arg, llama_kept[i][0]))
                continue;
            if (llama_kept[i][1])
                build_fail(b, ERR_ENGINE_OPTION, "extra_args: %s is set by the option '%s'", *arg,
                           llama_kept[i][1]);
            else
                build_fail(b, ERR_ENGINE_OPTION, "extra_args: %s: keys belong to the gateway",
                           *arg);
        }
}

static void
llama_address(struct engine_builder *b)
{
    const char *socket_path = b->wish->socket_path;
    if (!socket_path) {
        build_arg(b, "--host");
        build_arg(b, build_host(b));
        build_arg(b, "--port");
        build_argf(b, "%u", b->wish->port);
        return;
    }
    /* It takes a host that ends so for the path of a socket. */
    if (!text_ends(socket_path, ".sock"))
        build_fail(b, ERR_ENGINE_OPTION,
                   "llama-server needs a socket path that ends in .sock, not %s", socket_path);
    build_arg(b, "--host");
    build_arg(b, socket_path);
}

static void
llama_gpus(struct engine_builder *b)
{
    const struct engine_wish *w = b->wish;
    build_arg(b, "--n-gpu-layers");
    build_arg(b, w->gpu_count ? "999" : "0");
    if (w->gpu_count > 1) {
        build_arg(b, "--split-mode");
        build_arg(b, w->tensor_parallel > 1 ? "row" : "layer");
    }
}

static void
llama_kind(struct engine_builder *b)
{
    if (b->wish->kind == ENGINE_KIND_EMBEDDING)
        build_arg(b, "--embeddings");
    else if (b->wish->kind == ENGINE_KIND_RERANK)
        build_arg(b, "--reranking");
}

static void
llama_warnings(struct engine_builder *b)
{
    const struct engine_wish *w = b->wish;
    const struct {
        const char *option;
        bool said;
    } unused[] = {
        {"gpu_memory_fraction", w->gpu_memory_fraction > 0},
        {"kv_cache_memory", w->kv_cache_memory_bytes > 0},
        {"dtype", w->dtype},
        {"quantization", w->quantization},
        {"trust_remote_code", w->trust_remote_code == ENGINE_ON},
        {"chunked_prefill", w->chunked_prefill != ENGINE_DEFAULT},
        {"max_num_batched_tokens", w->max_num_batched_tokens > 0},
        {"enforce_eager", w->enforce_eager},
        {"tool_parser", w->tool_parser},
        {"reasoning_parser", w->reasoning_parser},
        {"prefix_caching", w->prefix_caching != ENGINE_DEFAULT},
        {"media.images", w->limit_count > 0},
        {"media.domains", w->media_domains && *w->media_domains},
    };
    for (size_t i = 0; i < ARRAY_SIZE(unused); i++)
        if (unused[i].said)
            build_warn(b, "%s: llama-server has nothing like %s", w->name, unused[i].option);
    if (w->served_names && *w->served_names && w->served_names[1])
        build_warn(b, "%s: llama-server answers to one name, %s", w->name, *w->served_names);
    if (w->sleep_mode)
        build_fail(b, ERR_ENGINE_OPTION, "%s: llama-server cannot sleep", w->name);
}

void
build_llama_server(struct engine_builder *b)
{
    const struct engine_wish *w = b->wish;
    build_program(b, "llama-server");
    build_arg(b, "--model");
    build_arg(b, w->model_path);
    if (w->served_names && *w->served_names) {
        build_arg(b, "--alias");
        build_arg(b, *w->served_names);
    }
    llama_address(b);
    llama_gpus(b);
    llama_kind(b);
    if (w->max_model_len) {
        build_arg(b, "--ctx-size");
        build_argf(b, "%llu", (unsigned long long)w->max_model_len);
    }
    if (w->max_num_seqs) {
        build_arg(b, "--parallel");
        build_argf(b, "%u", w->max_num_seqs);
    }
    if (w->chat_template) {
        build_arg(b, "--chat-template-file");
        build_arg(b, w->chat_template);
    }
    if (w->kv_cache_dtype) {
        build_arg(b, "--cache-type-k");
        build_arg(b, w->kv_cache_dtype);
        build_arg(b, "--cache-type-v");
        build_arg(b, w->kv_cache_dtype);
    }
    for (size_t i = 0; i < w->lora_count; i++) {
        build_arg(b, "--lora");
        build_arg(b, w->loras[i].path);
    }
    /* Without it there is no heartbeat. */
    build_arg(b, "--metrics");
    build_arg(b, "--no-webui");
    llama_warnings(b);
    check_llama_args(b);
    build_args(b, w->extra_args);

    build_common_env(b);
    if (w->cache_dir)
        build_envf(b, "LLAMA_CACHE", "%s/llama.cpp", w->cache_dir);
    if (w->api_key && secret_is_set(w->api_key))
        build_env_secret(b, "LLAMA_API_KEY", secret_reveal(w->api_key));
}
