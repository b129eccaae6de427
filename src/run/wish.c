#include "run/wish.h"

#include "base/text.h"
#include "config/config.h"
#include "engine/engine.h"
#include "engine/version.h"
#include "run/run.h"
#include "secrets/use.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where the fake driver of a test or a demo is described; only the simulator may use it. */
#define FAKE_DRIVER "CITADEL_FAKE_NVML"

bool
run_driver_is_fake(void)
{
    return getenv(FAKE_DRIVER) != NULL;
}

enum plan_gpus
run_wish_gpus(const struct config_model *model)
{
    return plan_gpus_of(model, run_driver_is_fake());
}

char *
run_dir(struct arena *arena, const struct config *config, const char *name)
{
    return arena_printf(arena, "%s/models/%s", config->paths.run, name);
}

char *
run_mark(struct arena *arena, const struct config *config, const char *name, bool supervised)
{
    return arena_printf(arena, RUN_MARK "=%s/%s/%s/engine", config->paths.run,
                        supervised ? "services" : "models", name);
}

const char *
run_address(unsigned port, char text[RUN_ADDRESS_MAX])
{
    (void)snprintf(text, RUN_ADDRESS_MAX, "127.0.0.1:%u", port);
    return text;
}

const char *
run_served_name(const struct config_model *model)
{
    return model->served_names.count ? model->served_names.items[0] : model->name;
}

static const struct engine *
engine_of(const struct config_model *model)
{
    return &engines[model->engine]; /* both are made from engine.def */
}

int
run_engine_version(const struct config *config, const struct config_model *model,
                   struct engine_version *ret_version, struct err *reterr)
{
    const char *package = engine_of(model)->python_package;
    if (!package)
        return -ENODATA;
    return engine_version_find(config->paths.vllm_env, package, ret_version, reterr);
}

/* ---- one value of the configuration at a time ---- */

enum engine_kind
run_engine_kind(const struct config_model *model)
{
    switch (model->kind) {
    case CONFIG_KIND_AUTO:
        break;
    case CONFIG_KIND_CHAT:
        return ENGINE_KIND_CHAT;
    case CONFIG_KIND_COMPLETION:
        return ENGINE_KIND_COMPLETION;
    case CONFIG_KIND_EMBEDDING:
        return ENGINE_KIND_EMBEDDING;
    case CONFIG_KIND_RERANK:
        return ENGINE_KIND_RERANK;
    case CONFIG_KIND_CLASSIFY:
        return ENGINE_KIND_CLASSIFY;
    case CONFIG_KIND_AUDIO:
        return ENGINE_KIND_TRANSCRIPTION;
    }
    return ENGINE_KIND_AUTO;
}

static enum engine_switch
switch_of(enum config_switch s)
{
    return s == CONFIG_SWITCH_ON ? ENGINE_ON : s == CONFIG_SWITCH_OFF ? ENGINE_OFF : ENGINE_DEFAULT;
}

/* The configuration's words for number formats are the engines' own; `auto` is the first. */
static const char *
unless_auto(const char *word)
{
    return text_eq(word, "auto") ? NULL : word;
}

/* A list that ends with NULL; NULL for an empty one. */
static const char *const *
list_of(struct arena *arena, const struct config_list *list)
{
    if (list->count == 0)
        return NULL;
    const char **texts = arena_alloc(arena, (list->count + 1) * sizeof(*texts));
    if (texts)
        memcpy(texts, list->items, list->count * sizeof(*texts));
    return texts;
}

/* Beside our own program where it is there, as in a build tree or a prefix; else along PATH. */
static const char *
find_simulator(struct arena *arena)
{
    char self[1024];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (len <= 0)
        return NULL;
    self[len] = '\0';
    char *slash = strrchr(self, '/');
    char *path = arena_printf(arena, "%.*s/citadel-sim", slash ? (int)(slash - self) : 0, self);
    return path && access(path, X_OK) == 0 ? path : NULL;
}

static const char *
executable_of(const struct config *config, const struct config_model *model, struct arena *arena)
{
    if (model->engine == CONFIG_ENGINE_LLAMA_SERVER)
        return config->paths.llama_server;
    return model->engine == CONFIG_ENGINE_SIM ? find_simulator(arena) : NULL;
}

static void
wish_media(struct engine_wish *wish, const struct config_model *model, struct arena *arena)
{
    const struct engine_limit told[] = {{"image", model->media.images},
                                        {"video", model->media.videos},
                                        {"audio", model->media.audios}};
    struct engine_limit *limits = arena_alloc(arena, sizeof(told));
    for (size_t i = 0; limits && i < ARRAY_SIZE(told); i++)
        if (told[i].count)
            limits[wish->limit_count++] = told[i];
    wish->limits = limits;
    wish->media_domains = list_of(arena, &model->media.domains);
}

static void
wish_loras(struct engine_wish *wish, const struct config_model *model, struct arena *arena)
{
    size_t count = model->lora.adapters.count;
    struct engine_lora *loras = count ? arena_alloc(arena, count * sizeof(*loras)) : NULL;
    for (size_t i = 0; loras && i < count; i++)
        loras[i] = (struct engine_lora){model->lora.adapters.items[i].name,
                                        model->lora.adapters.items[i].value};
    wish->loras = loras;
    wish->lora_count = loras ? count : 0;
    wish->max_loras = model->lora.max_adapters;
    wish->max_lora_rank = model->lora.max_rank;
}

static void
wish_env(struct engine_wish *wish, const struct config *config, const struct config_model *model,
         struct arena *arena)
{
    const char *fake = model->engine == CONFIG_ENGINE_SIM ? getenv(FAKE_DRIVER) : NULL;
    const char *mark = run_mark(arena, config, model->name, getenv(RUN_MARK) != NULL);
    size_t count = model->extra_env.count;
    struct engine_var *vars = arena_alloc(arena, (count + 2) * sizeof(*vars));
    for (size_t i = 0; vars && i < count; i++)
        vars[i] = (struct engine_var){.name = model->extra_env.items[i].name,
                                      .value = model->extra_env.items[i].value};
    if (vars && fake)
        vars[count++] = (struct engine_var){.name = FAKE_DRIVER, .value = fake};
    if (vars && mark)
        vars[count++] = (struct engine_var){.name = RUN_MARK, .value = mark + strlen(RUN_MARK "=")};
    wish->extra_env = vars;
    wish->extra_env_count = vars ? count : 0;
}

static void
wish_memory(struct engine_wish *wish, const struct config_model *model)
{
    wish->tensor_parallel = model->tensor_parallel;
    wish->pipeline_parallel = model->pipeline_parallel;
    wish->gpu_memory_fraction = model->gpu_memory_fraction;
    wish->kv_cache_memory_bytes = model->kv_cache_memory_bytes;
    wish->max_model_len = model->max_model_len;
    wish->max_num_seqs = model->max_num_seqs;
    wish->max_num_batched_tokens = model->max_num_batched_tokens;
    wish->dtype = unless_auto(config_dtype_word(model->dtype));
    wish->kv_cache_dtype = unless_auto(config_kv_cache_dtype_word(model->kv_cache_dtype));
    wish->quantization = model->quantization;
    wish->enforce_eager = model->enforce_eager;
}

static void
wish_manners(struct engine_wish *wish, const struct config_model *model)
{
    wish->trust_remote_code = model->trust_remote_code ? ENGINE_ON : ENGINE_OFF;
    wish->chunked_prefill = switch_of(model->chunked_prefill);
    wish->prefix_caching = switch_of(model->prefix_caching);
    wish->chat_template = model->chat_template;
    wish->tool_parser = model->tool_parser;
    wish->reasoning_parser = model->reasoning_parser;
    wish->sleep_mode = model->sleep_level > 0;
    wish->drain_seconds = (unsigned)(model->drain_timeout_us / 1000000);
    wish->start_seconds = (unsigned)(model->start_max_us / 1000000);
    wish->force = model->allow_insecure_version;
}

static const char *
token_path(const struct config *config, struct arena *arena)
{
    const struct secret_use use = {.option = "hub.token", .secret = &config->hub.token};
    return secret_fetch_path(&use, arena);
}

static void
wish_places(struct engine_wish *wish, const struct config *config, const struct config_model *model,
            struct arena *arena)
{
    const char *own = model->name;
    const struct config_list own_name = {&own, 1};
    wish->executable = executable_of(config, model, arena);
    wish->python_env = model->engine == CONFIG_ENGINE_VLLM ? config->paths.vllm_env : NULL;
    wish->command = list_of(arena, &model->command);
    wish->model_path = model->path;
    wish->served_names =
        list_of(arena, model->served_names.count ? &model->served_names : &own_name);
    wish->exposed = model->listen == CONFIG_LISTEN_NETWORK;
    wish->port = model->port;
    wish->cache_dir = arena_printf(arena, "%s/cache/%s", config->paths.models, model->name);
    wish->runtime_dir = run_dir(arena, config, model->name);
    wish->may_download = !config->hub.offline;
    wish->hf_token_path = token_path(config, arena);
    wish->extra_args = list_of(arena, &model->extra_args);
}

int
run_wish_build(const struct config *config, const struct config_model *model,
               const struct engine_version *version, const unsigned *gpus, size_t gpu_count,
               struct arena *arena, struct engine_command *ret_command, struct err *reterr)
{
    struct engine_wish wish = {.name = model->name,
                               .kind = run_engine_kind(model),
                               .version = version,
                               .gpus = gpus,
                               .gpu_count = gpu_count};
    wish_places(&wish, config, model, arena);
    wish_memory(&wish, model);
    wish_manners(&wish, model);
    wish_media(&wish, model, arena);
    wish_loras(&wish, model, arena);
    wish_env(&wish, config, model, arena);
    if (gpu_count == 0 && run_wish_gpus(model) != PLAN_GPUS_ALWAYS)
        wish.tensor_parallel = wish.pipeline_parallel = 1; /* on the processor, or made up */
    if (arena->full)
        return err_set(reterr, ERR_TOO_LARGE, "%s: the command line is too long", model->name);
    return engine_build(engine_of(model), &wish, arena, ret_command, reterr);
}
