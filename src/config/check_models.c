/* Models against each other, against the GPUs they ask for, and against their engine. */

#include "base/map.h"
#include "base/text.h"
#include "config/check_int.h"
#include "fmt/json_scan.h"

#include <stdio.h>
#include <string.h>

/* Names that commands and units give to other things. */
static const char *const reserved[] = {
    "all",      "ai",         "storage",        "gpu",   "models", "gateway",
    "monitor",  "monitoring", "infrastructure", "probe", "backup", "control",
    "defaults", "report",     "verify",         "logs",
};

bool
config_is_reserved(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
        if (text_eq(name, reserved[i]))
            return true;
    return text_starts(name, "backup-") || text_starts(name, "storage-");
}

static void
check_name(const struct loading *l, const struct config_model *m)
{
    if (config_is_reserved(m->name))
        problem_add(l->problems, m->given->name_at, "another name",
                    "the model name '%s' is taken: commands and services use it", m->name);
}

/* Who has the port of the i-th model before it: of two, the later one is told. NULL: nobody. */
static const char *
find_port_owner(const struct config *c, size_t i, char path[TRAIL_MAX])
{
    uint16_t port = c->models.items[i].port;
    if (port == c->gateway.port)
        return "gateway.port";
    if (port == c->monitor.port)
        return "monitor.port";
    for (size_t k = 0; k < i; k++) {
        if (c->models.items[k].port != port)
            continue;
        (void)snprintf(path, TRAIL_MAX, "models.%s.port", c->models.items[k].name);
        return path;
    }
    return NULL;
}

static void
check_ports(const struct loading *l)
{
    const struct config *c = l->config;
    for (size_t i = 0; i < c->models.count; i++) {
        const struct config_model *m = &c->models.items[i];
        char path[TRAIL_MAX];
        const char *owner = find_port_owner(c, i, path);
        if (owner)
            problem_add(l->problems, check_at(l, m, "port"), "a port of its own, or auto",
                        "models.%s.port is %u, which is %s", m->name, m->port, owner);
    }
    if (c->gateway.port == c->monitor.port) {
        bool moved = value_get(c->monitor.given, "port");
        problem_add(l->problems,
                    moved ? check_at(l, &c->monitor, "port") : check_at(l, &c->gateway, "port"),
                    "a port of its own", "monitor.port is %u, which is gateway.port",
                    c->monitor.port);
    }
}

/* Whether what is wrong with the option was not said before: of an inherited one it is said for the
 * first model that shows it. */
static bool
is_news(const struct loading *l, const struct config_model *m, const char *option)
{
    return value_get(m->given, option) || !problem_is_at(l->problems, check_at(l, m, option));
}

static void
check_twice(const struct loading *l, const struct config_model *m, const struct config_list *list,
            const char *option)
{
    for (size_t i = 0; i < list->count; i++)
        for (size_t k = 0; k < i; k++)
            if (text_eq(list->items[i], list->items[k]) && is_news(l, m, option))
                problem_add(l->problems, check_at(l, m, option), "name each once",
                            "models.%s.%s has %s twice", m->name, option, list->items[i]);
}

static void
check_gpus(const struct loading *l, const struct config_model *m)
{
    uint64_t wanted = (uint64_t)m->tensor_parallel * m->pipeline_parallel;
    if (m->gpus.count && m->gpus.count != wanted && is_news(l, m, "gpus"))
        problem_add(l->problems, check_at(l, m, "gpus"),
                    "as many GPUs as tensor_parallel x pipeline_parallel, or auto",
                    "models.%s.gpus has %zu where %u x %u are needed", m->name, m->gpus.count,
                    m->tensor_parallel, m->pipeline_parallel);
    check_twice(l, m, &m->gpus, "gpus");
}

static void
check_names(const struct loading *l, const struct config_model *m)
{
    _cleanup_buf_ struct buf path = BUF_INIT(1 * KIB);
    buf_printf(&path, "models.%s", m->name);
    check_twice(l, m, &m->served_names, "served_names");
    if (is_news(l, m, "labels"))
        check_labels(l, &m->labels, m, path.data);
}

/* What was given as one and cannot be read was told when it was read. */
static bool
lacks_command(const struct loading *l, const struct config_model *m)
{
    const struct value *given = value_get(m->given, "command");
    bool was_told = given && (given->first || problem_is_at(l->problems, given->at));
    return !m->command.count && !was_told;
}

static void
check_engine(const struct loading *l, const struct config_model *m)
{
    bool sleeps = m->engine == CONFIG_ENGINE_VLLM || m->engine == CONFIG_ENGINE_SIM;
    if (m->engine == CONFIG_ENGINE_COMMAND && lacks_command(l, m) && is_news(l, m, "engine"))
        problem_add(l->problems, check_at(l, m, "engine"), "add command: [PROGRAM, ARGUMENT...]",
                    "models.%s has engine: command, but no command", m->name);
    if (m->engine != CONFIG_ENGINE_COMMAND && m->command.count && is_news(l, m, "command"))
        problem_add(l->problems, check_at(l, m, "command"),
                    "engine: command; or extra_args, for arguments",
                    "models.%s.command is given, but the engine is another", m->name);
    if (m->sleep_level && !sleeps && is_news(l, m, "sleep_level"))
        problem_add(l->problems, check_at(l, m, "sleep_level"), "0",
                    "models.%s.sleep_level is %u, but its engine cannot sleep", m->name,
                    m->sleep_level);
    if (m->sleep_level && m->listen == CONFIG_LISTEN_NETWORK && is_news(l, m, "listen"))
        problem_add(l->problems, check_at(l, m, "listen"), "loopback, or sleep_level: 0",
                    "models.%s.listen is network, and with sleep_level anybody there could control "
                    "the engine",
                    m->name);
}

static void
check_limits(const struct loading *l, const struct config_model *m)
{
    if (m->start_stall_limit_us > m->start_max_us && is_news(l, m, "start_stall_limit"))
        problem_add(l->problems, check_at(l, m, "start_stall_limit"), "at most start_max",
                    "models.%s.start_stall_limit is longer than start_max", m->name);
    if (m->chunked_prefill == CONFIG_SWITCH_OFF && m->max_num_batched_tokens && m->max_model_len &&
        m->max_num_batched_tokens < m->max_model_len && is_news(l, m, "max_num_batched_tokens"))
        problem_add(l->problems, check_at(l, m, "max_num_batched_tokens"),
                    "at least max_model_len, or chunked_prefill: true",
                    "models.%s.max_num_batched_tokens is %u, so that no prompt of %u tokens fits",
                    m->name, m->max_num_batched_tokens, m->max_model_len);
}

/* Arguments that an option stands for: given twice, one of them would lie. */
static const char *
option_of_argument(const char *argument)
{
    static const struct {
        const char *argument;
        const char *option;
    } rows[] = {
        {"--port", "port"},
        {"--host", "listen"},
        {"--uds", "listen"},
        {"--model", "path"},
        {"--served-model-name", "served_names"},
        {"--tensor-parallel-size", "tensor_parallel"},
        {"-tp", "tensor_parallel"},
        {"--pipeline-parallel-size", "pipeline_parallel"},
        {"-pp", "pipeline_parallel"},
        {"--gpu-memory-utilization", "gpu_memory_fraction"},
        {"--kv-cache-memory-bytes", "kv_cache_memory"},
        {"--max-model-len", "max_model_len"},
        {"--max-num-seqs", "max_num_seqs"},
        {"--max-num-batched-tokens", "max_num_batched_tokens"},
        {"--dtype", "dtype"},
        {"--quantization", "quantization"},
        {"--kv-cache-dtype", "kv_cache_dtype"},
        {"--trust-remote-code", "trust_remote_code"},
        {"--enable-chunked-prefill", "chunked_prefill"},
        {"--no-enable-chunked-prefill", "chunked_prefill"},
        {"--enable-prefix-caching", "prefix_caching"},
        {"--no-enable-prefix-caching", "prefix_caching"},
        {"--enforce-eager", "enforce_eager"},
        {"--enable-sleep-mode", "sleep_level"},
        {"--shutdown-timeout", "drain_timeout"},
        {"--lora-modules", "lora.adapters"},
        {"--max-lora-rank", "lora.max_rank"},
        {"--max-loras", "lora.max_adapters"},
        {"--chat-template", "chat_template"},
    };
    size_t len = strcspn(argument, "=");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (strlen(rows[i].argument) == len && strncmp(rows[i].argument, argument, len) == 0)
            return rows[i].option;
    return NULL;
}

bool
config_may_give(const char *name)
{
    static const char *const ours[] = {"model", "stream", "stream_options"};
    for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
        if (text_eq(ours[i], name))
            return false;
    return strlen(name) <= JSON_SCAN_NAME_MAX;
}

static void
check_parameters(const struct loading *l, const struct config_model *m, const char *option,
                 const struct config_pairs *pairs)
{
    const struct value *given = value_get(m->given, option);
    for (size_t i = 0; i < pairs->count; i++) {
        const struct value *v = value_get(given, pairs->items[i].name);
        if (v && !config_may_give(pairs->items[i].name))
            problem_add(l->problems, v->name_at, "another member of requests",
                        "models.%s.%s has '%s', which is the gateway's own", m->name, option,
                        pairs->items[i].name);
    }
    if (pairs->count > CONFIG_PARAMETERS_MAX)
        problem_add(l->problems, check_at(l, m, option), "fewer of them",
                    "models.%s.%s and those of defaults are %zu, of which there may be %d", m->name,
                    option, pairs->count, CONFIG_PARAMETERS_MAX);
}

/* The place of an item of a list that the section itself gives. */
static struct value_at
item_at(const struct config_model *m, const char *option, size_t i)
{
    const struct value *list = value_get(m->given, option);
    const struct value *v = list && list->type == VALUE_LIST ? list->first : NULL;
    for (; v && i > 0; i--)
        v = v->next;
    return v ? v->at : (struct value_at){0};
}

/* What a model inherits is looked at once, where the defaults give it. */
static void
check_arguments(const struct loading *l, const struct config_model *m, const char *path)
{
    bool vllm = m->engine == CONFIG_ENGINE_VLLM || m->engine == CONFIG_ENGINE_SIM;
    const struct value *env = value_get(value_get(m->given, "extra_env"), "CUDA_VISIBLE_DEVICES");
    size_t count = value_get(m->given, "extra_args") && vllm ? m->extra_args.count : 0;
    for (size_t i = 0; i < count; i++) {
        const char *argument = m->extra_args.items[i];
        const char *option = option_of_argument(argument);
        struct value_at at = item_at(m, "extra_args", i);
        if (option)
            problem_add(l->problems, at, "use the option instead",
                        "%s.extra_args has %s, which is what the option %s is for", path, argument,
                        option);
        if (text_eq(argument, "--disable-log-stats"))
            problem_add(l->problems, at, "take it out",
                        "%s.extra_args has --disable-log-stats, which removes every metric that "
                        "health and dashboards are made of",
                        path);
    }
    if (env)
        problem_add(l->problems, env->at, "use the option gpus",
                    "%s.extra_env has CUDA_VISIBLE_DEVICES, which Citadel sets", path);
}

/* A name that leads to one model: its own, and those of adapters. */
static void
claim_name(const struct loading *l, struct config_model *m, const char *name, struct value_at at)
{
    const struct section_head *other = map_add(l->served, name, m);
    if (other != (struct section_head *)m)
        problem_add(l->problems, at, "a name of its own",
                    "models.%s is served as '%s', and so is models.%s", m->name, name, other->name);
}

/* One that several models may be served under: clients take them for one. */
static void
share_name(const struct loading *l, struct config_model *m, const char *name, struct value_at at)
{
    const struct section_head *other = map_get(l->served, name);
    if (!other || text_eq(other->name, name))
        claim_name(l, m, name, at);
}

/* The own names come first: whoever takes one of them is told, not its owner. */
static void
check_served_names(const struct loading *l)
{
    struct config *c = l->config;
    for (size_t i = 0; i < c->models.count; i++)
        claim_name(l, &c->models.items[i], c->models.items[i].name, (struct value_at){0});
    for (size_t i = 0; i < c->models.count; i++) {
        struct config_model *m = &c->models.items[i];
        for (size_t k = 0; k < m->served_names.count; k++)
            share_name(l, m, m->served_names.items[k], item_at(m, "served_names", k));
    }
    for (size_t i = 0; i < c->models.count; i++) {
        struct config_model *m = &c->models.items[i];
        for (size_t k = 0; k < m->lora.adapters.count; k++)
            claim_name(l, m, m->lora.adapters.items[k].name, check_at(l, &m->lora, "adapters"));
    }
    for (size_t i = 0; i < c->gateway.peers.count; i++)
        for (size_t k = 0; k < c->gateway.peers.items[i].models.count; k++)
            (void)map_add(l->served, c->gateway.peers.items[i].models.items[k],
                          &c->gateway.peers.items[i]);
}

static void
check_defaults(const struct loading *l)
{
    for (size_t i = 0; i < option_model->count; i++) {
        const struct option *o = &option_model->options[i];
        const struct value *v = value_get(l->config->defaults.given, o->name);
        if (v && option_is_own(o) && !text_eq(value_str(v), o->word))
            problem_add(l->problems, v->name_at, "give it to each model",
                        "defaults.%s would be the same for every model", o->name);
    }
}

void
check_models(const struct loading *l)
{
    const struct config *c = l->config;
    bool enabled = false;
    const struct value *models = value_get(c->given, "models");
    for (size_t i = 0; i < c->models.count; i++) {
        const struct config_model *m = &c->models.items[i];
        char path[TRAIL_MAX];
        (void)snprintf(path, sizeof(path), "models.%s", m->name);
        enabled = enabled || m->enabled;
        check_name(l, m);
        check_gpus(l, m);
        check_names(l, m);
        check_engine(l, m);
        check_limits(l, m);
        check_parameters(l, m, "parameters", &m->parameters);
        check_parameters(l, m, "forced_parameters", &m->forced_parameters);
        check_arguments(l, m, path);
    }
    if (c->models.count == 0 && l->whole && c->given && !(models && models->count))
        problem_add(
            l->problems, models ? models->name_at : (struct value_at){1, 1},
            "models: and below it a name with its options; `citadel config init` writes one",
            "no model is configured");
    else if (!enabled && c->models.count)
        problem_warn(l->problems, models->name_at, "", "no model is enabled");
    check_arguments(l, &c->defaults, "defaults");
    check_defaults(l);
    check_ports(l);
    check_served_names(l);
}
