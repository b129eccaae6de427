#include "build_int.h"

#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void
too_large(struct engine_builder *b, const char *what)
{
    build_fail(b, ERR_TOO_LARGE, "%s: the command line has too many %s", b->wish->name, what);
}

static void
push_arg(struct engine_builder *b, const char *text)
{
    if (b->error)
        return;
    if (!text || b->argc == BUILD_ARGS_MAX)
        too_large(b, "arguments");
    else
        b->argv[b->argc++] = text;
}

void
build_arg(struct engine_builder *b, const char *text)
{
    push_arg(b, arena_strdup(b->arena, text));
}

static char *vprint(struct arena *arena, const char *fmt, va_list args) printf_like(2, 0);

static char *
vprint(struct arena *arena, const char *fmt, va_list args)
{
    char text[4096];
    int len = vsnprintf(text, sizeof(text), fmt, args);
    return len < (int)sizeof(text) ? arena_strdup(arena, text) : NULL;
}

void
build_argf(struct engine_builder *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    push_arg(b, vprint(b->arena, fmt, args));
    va_end(args);
}

void
build_args(struct engine_builder *b, const char *const *texts)
{
    for (; texts && *texts; texts++)
        build_arg(b, *texts);
}

static void
push_env(struct engine_builder *b, const char *name, const char *value, bool secret)
{
    if (b->error)
        return;
    struct engine_var *var = b->env;
    while (var < b->env + b->env_count && !text_eq(var->name, name))
        var++;
    name = arena_strdup(b->arena, name);
    if (!name || !value || var == b->env + BUILD_ENV_MAX) {
        too_large(b, "variables");
        return;
    }
    b->env_count += var == b->env + b->env_count;
    *var = (struct engine_var){name, value, secret};
}

void
build_env(struct engine_builder *b, const char *name, const char *value)
{
    push_env(b, name, arena_strdup(b->arena, value), false);
}

void
build_env_secret(struct engine_builder *b, const char *name, const char *value)
{
    push_env(b, name, arena_strdup(b->arena, value), true);
}

void
build_envf(struct engine_builder *b, const char *name, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    push_env(b, name, vprint(b->arena, fmt, args), false);
    va_end(args);
}

void
build_warn(struct engine_builder *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = vprint(b->arena, fmt, args);
    va_end(args);
    if (text && b->warning_count < BUILD_WARNINGS_MAX)
        b->warnings[b->warning_count++] = text;
}

void
build_fail(struct engine_builder *b, enum err_id id, const char *fmt, ...)
{
    char text[sizeof(b->reterr->what)];
    if (b->error)
        return;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    b->error = err_set(b->reterr, id, "%s", text);
}

void
build_fix(struct engine_builder *b, const char *fmt, ...)
{
    char text[sizeof(b->reterr->fix)];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (b->reterr && b->error && b->reterr->fix[0] == '\0')
        err_fix(b->reterr, "%s", text);
}

void
build_program(struct engine_builder *b, const char *name)
{
    const struct engine_wish *w = b->wish;
    if (w->executable)
        build_arg(b, w->executable);
    else if (w->python_env)
        build_argf(b, "%s/bin/%s", w->python_env, name);
    else
        build_arg(b, name);
}

bool
build_host_is_loopback(const char *host)
{
    return text_starts(host, "127.") || text_eq(host, "::1") || text_eq(host, "localhost");
}

const char *
build_host(struct engine_builder *b)
{
    const struct engine_wish *w = b->wish;
    const char *host = w->host ? w->host : w->exposed ? "0.0.0.0" : "127.0.0.1";
    if (!build_host_is_loopback(host) && !w->exposed) {
        build_fail(b, ERR_ENGINE_UNSAFE,
                   "%s would listen on %s, where the network reaches it without a key", w->name,
                   host);
        build_fix(
            b, "set listen: network, if that is meant; the gateway serves the network with keys");
    }
    return host;
}

/* Everything that an engine or its libraries would put into a home directory stays with the model:
 * one model's broken or huge cache is its own, and an upgrade of one does not make others cold. */
static const struct {
    const char *name;
    const char *below; /* the cache directory */
} cache_vars[] = {
    {"HOME", ""},
    {"XDG_CACHE_HOME", "/xdg"},
    {"XDG_CONFIG_HOME", "/xdg-config"},
    {"XDG_DATA_HOME", "/xdg-data"},
    {"HF_HOME", "/huggingface"},
    {"CUDA_CACHE_PATH", "/cuda"},
};

static void
gpu_env(struct engine_builder *b)
{
    char list[256] = "";
    size_t len = 0;
    for (size_t i = 0; i < b->wish->gpu_count && len < sizeof(list); i++)
        len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%u", i ? "," : "",
                                b->wish->gpus[i]);
    if (len >= sizeof(list))
        too_large(b, "GPUs");
    build_env(b, "CUDA_DEVICE_ORDER", "PCI_BUS_ID");
    /* Indices: several releases of vLLM cannot read UUIDs. Empty: none may be touched. */
    build_env(b, "CUDA_VISIBLE_DEVICES", list);
}

static void
hub_env(struct engine_builder *b)
{
    build_env(b, "HF_HUB_DISABLE_TELEMETRY", "1");
    build_env(b, "DO_NOT_TRACK", "1");
    if (b->wish->may_download) {
        if (b->wish->hf_token_path)
            build_env(b, "HF_TOKEN_PATH", b->wish->hf_token_path);
        return;
    }
    build_env(b, "HF_HUB_OFFLINE", "1");
    build_env(b, "TRANSFORMERS_OFFLINE", "1");
    build_env(b, "HF_DATASETS_OFFLINE", "1");
}

void
build_common_env(struct engine_builder *b)
{
    const struct engine_wish *w = b->wish;
    static const char path[] = "/usr/local/cuda/bin:/usr/local/bin:/usr/bin:/bin";
    if (w->python_env) {
        build_envf(b, "PATH", "%s/bin:%s", w->python_env, path);
        build_env(b, "VIRTUAL_ENV", w->python_env);
    } else {
        build_env(b, "PATH", path);
    }
    build_env(b, "LANG", "C.UTF-8");
    /* The log is read as it is written, by a program. */
    build_env(b, "PYTHONUNBUFFERED", "1");
    build_env(b, "NO_COLOR", "1");
    for (size_t i = 0; w->cache_dir && i < ARRAY_SIZE(cache_vars); i++)
        build_envf(b, cache_vars[i].name, "%s%s", w->cache_dir, cache_vars[i].below);
    gpu_env(b);
    hub_env(b);
}
