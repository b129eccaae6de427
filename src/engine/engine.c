#include "build_int.h"

#include "base/buf.h"
#include "base/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

const struct engine engines[] = {
#define ENGINE(constant, name, function, package, dialect, sleeps, help) \
    {name, help, package, ENGINE_SAYS_##dialect, sleeps, build_##function},
#include "engine/engine.def"
#undef ENGINE
    {0},
};

const struct engine *
engine_find(const char *name)
{
    for (const struct engine *e = engines; e->name; e++)
        if (text_eq(e->name, name))
            return e;
    return NULL;
}

/* Variables that extra_env may not touch, and where their value is decided. */
static const struct {
    const char *name;
    const char *why;
} kept_vars[] = {
    {"CUDA_VISIBLE_DEVICES", "the lease decides it: set gpus"},
    {"CUDA_DEVICE_ORDER", "GPUs are counted in PCI order everywhere"},
    {"HF_TOKEN", "environments are readable: use 'citadel secrets set hf-token'"},
    {"HUGGING_FACE_HUB_TOKEN", "environments are readable: use 'citadel secrets set hf-token'"},
    {"VLLM_API_KEY", "Citadel makes the key of an engine at each boot"},
    {"LLAMA_API_KEY", "Citadel makes the key of an engine at each boot"},
    {"VLLM_SERVER_DEV_MODE", "it opens /collective_rpc to all callers: set sleep"},
    {"VLLM_KEEP_ALIVE_ON_ENGINE_DEATH", "a dead engine must end, so that it is started again"},
    {"NOTIFY_SOCKET", "readiness is Citadel's to tell"},
    {"LISTEN_FDS", "the engine is handed no sockets"},
};

static bool
is_var_name(const char *name)
{
    if (!isalpha((unsigned char)*name) && *name != '_')
        return false;
    while (isalnum((unsigned char)*name) || *name == '_')
        name++;
    return *name == '\0';
}

/* Better a mask too many than a password on a screen. */
static bool
sounds_secret(const char *name)
{
    static const char *const endings[] = {"_TOKEN", "_KEY", "_SECRET", "PASSWORD", "_PASSPHRASE"};
    for (size_t i = 0; i < ARRAY_SIZE(endings); i++)
        if (text_ends(name, endings[i]))
            return true;
    return false;
}

static void
add_extra_var(struct engine_builder *b, const struct engine_var *var)
{
    if (!is_var_name(var->name))
        build_fail(b, ERR_ENGINE_OPTION, "extra_env: '%s' is not the name of a variable",
                   var->name);
    for (size_t i = 0; i < ARRAY_SIZE(kept_vars); i++)
        if (text_eq(var->name, kept_vars[i].name))
            build_fail(b, ERR_ENGINE_OPTION, "extra_env may not set %s: %s", var->name,
                       kept_vars[i].why);
    if (var->secret || sounds_secret(var->name))
        build_env_secret(b, var->name, var->value);
    else
        build_env(b, var->name, var->value);
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(((const struct engine_var *)a)->name, ((const struct engine_var *)b)->name);
}

static const char *const *
make_environ(struct engine_builder *b)
{
    const char **environ = arena_alloc(b->arena, (b->env_count + 1) * sizeof(*environ));
    for (size_t i = 0; environ && i < b->env_count; i++)
        environ[i] = arena_printf(b->arena, "%s=%s", b->env[i].name, b->env[i].value);
    return environ;
}

static void
check_gpus(struct engine_builder *b)
{
    const struct engine_wish *w = b->wish;
    unsigned tensor = MAX(w->tensor_parallel, 1u), pipeline = MAX(w->pipeline_parallel, 1u);
    if ((tensor > 1 || pipeline > 1) && (uint64_t)tensor * pipeline != w->gpu_count)
        build_fail(b, ERR_ENGINE_OPTION,
                   "%s: tensor_parallel %u times pipeline_parallel %u needs %llu GPUs, not %zu",
                   w->name, tensor, pipeline, (unsigned long long)tensor * pipeline, w->gpu_count);
}

static void
check_address(struct engine_builder *b)
{
    if (!b->wish->socket_path && b->wish->port == 0)
        build_fail(b, ERR_ENGINE_OPTION, "%s: neither a port nor a socket to listen on",
                   b->wish->name);
}

static int
finish(struct engine_builder *b, struct engine_command *ret_command)
{
    if (b->error)
        return b->error;
    qsort(b->env, b->env_count, sizeof(*b->env), by_name);
    *ret_command = (struct engine_command){
        .argv = b->argv,
        .environ = make_environ(b),
        .env = b->env,
        .env_count = b->env_count,
        .warnings = b->warnings,
    };
    if (b->arena->full)
        return err_set(b->reterr, ERR_TOO_LARGE, "%s: the command line is too long", b->wish->name);
    return 0;
}

int
engine_build(const struct engine *engine, const struct engine_wish *wish, struct arena *arena,
             struct engine_command *ret_command, struct err *reterr)
{
    struct engine_builder b = {
        .wish = wish,
        .arena = arena,
        .reterr = reterr,
        .argv = arena_alloc(arena, (BUILD_ARGS_MAX + 1) * sizeof(*b.argv)),
        .env = arena_alloc(arena, BUILD_ENV_MAX * sizeof(*b.env)),
        .warnings = arena_alloc(arena, (BUILD_WARNINGS_MAX + 1) * sizeof(*b.warnings)),
    };
    if (!b.argv || !b.env || !b.warnings)
        return err_set(reterr, ERR_TOO_LARGE, "%s: the command line is too long", wish->name);
    check_gpus(&b);
    check_address(&b);
    engine->build(&b);
    for (size_t i = 0; i < wish->extra_env_count; i++)
        add_extra_var(&b, &wish->extra_env[i]);
    return finish(&b, ret_command);
}

void
engine_command_print(const struct engine_command *command, struct buf *out)
{
    for (size_t i = 0; i < command->env_count; i++) {
        const struct engine_var *var = &command->env[i];
        buf_printf(out, "%s=", var->name);
        if (var->secret)
            buf_add_str(out, "***");
        else
            buf_add_word(out, var->value);
        buf_add_str(out, " \\\n");
    }
    for (const char *const *arg = command->argv; *arg; arg++) {
        buf_add_word(out, *arg);
        buf_add_str(out, arg[1] ? text_starts(arg[1], "--") ? " \\\n    " : " " : "\n");
    }
}
