#include "base/text.h"
#include "cli/load_config.h"
#include "config/reread.h"
#include "engine/engine.h"
#include "engine/env.h"
#include "engine/version.h"
#include "gpu/lease.h"
#include "run/run.h"
#include "run/wish.h"
#include "sys/apart.h"
#include "sys/log.h"
#include "sys/root.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct verb_help verb_run_help = {
    .text =
        "Runs the engine of one model and stays beside it, in the foreground: this is what its "
        "service runs. It waits for the host's start lock, leases GPU memory, sees that it is "
        "free, follows the engine's log while it loads, is ready when the model has answered a "
        "request, watches that it works, and ends with a reason.\n\n"
        "With --print nothing is started: the environment and the command of the engine are "
        "printed, secrets as ***. GPUs are chosen when it starts; what is printed has the first "
        "ones, unless the configuration or --gpus names them.\n\n"
        "Exits with 0 when it was asked to end, 64 when this will never work, 75 when it does not "
        "work now, and 1 when the engine crashed or hung.",
    .examples = VERB_EXAMPLES(
        {"citadel run phi3", "run one model, in the foreground"},
        {"citadel run phi3 --print", "what would be started"},
        {"citadel run phi3 --print --engine-version 0.19.0", "with the flags of another release"}),
};

#define ARENA_MAX (1 * MIB)
#define GPUS_MAX GPU_LEASE_PARTS_MAX

static const struct config_model *
find_model(struct cli *cli, const struct config *config, const char *name)
{
    const struct config_model *model = config_find_model(config, name);
    if (model)
        return model;
    (void)err_set(&cli->err, ERR_NO_MODEL, "there is no model '%s' in %s", name, config->name);
    err_fix_nearest(&cli->err, name, config_model_name, config, "citadel config show models");
    return NULL;
}

static int
choose_version(struct cli *cli, const struct config *config, const struct config_model *model,
               struct engine_version *version)
{
    const char *given = cli_option(cli, "engine-version");
    if (given)
        return engine_version_parse(given, version, &cli->err);
    int r = run_engine_version(config, model, version, &cli->err);
    if (r < 0 && r != -ENODATA)
        err_fix(&cli->err, "install it, or name a release with --engine-version");
    return r;
}

static void
print_json(struct json_writer *w, const struct engine_command *command)
{
    json_open_map(w, NULL);
    json_open_list(w, "argv");
    for (const char *const *arg = command->argv; *arg; arg++)
        json_str(w, NULL, *arg);
    json_close_list(w);
    json_open_map(w, "environment");
    for (size_t i = 0; i < command->env_count; i++)
        json_str(w, command->env[i].name, command->env[i].secret ? "***" : command->env[i].value);
    json_close_map(w);
    json_open_list(w, "warnings");
    for (const char *const *warning = command->warnings; *warning; warning++)
        json_str(w, NULL, *warning);
    json_close_list(w);
    json_close_map(w);
}

/* The GPUs that it may have, as far as that is known before it starts. */
static size_t
assume_gpus(const struct config_model *model, unsigned gpus[GPUS_MAX])
{
    size_t count = run_wish_gpus(model) == PLAN_GPUS_NEVER ? 0 : plan_gpu_count(model);
    for (size_t i = 0; i < count && i < GPUS_MAX; i++) {
        const char *named = i < model->gpus.count ? model->gpus.items[i] : NULL;
        char *end = NULL;
        unsigned long index = named ? strtoul(named, &end, 10) : i;
        gpus[i] = named && *end ? (unsigned)i : (unsigned)index;
    }
    return MIN(count, (size_t)GPUS_MAX);
}

static int
print_command(struct cli *cli, const struct config *config, const struct config_model *model)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf text = BUF_INIT(ARENA_MAX);
    struct engine_command command;
    struct engine_version version;
    unsigned gpus[GPUS_MAX];
    arena_init(&arena, ARENA_MAX);
    int r = choose_version(cli, config, model, &version);
    if (r < 0 && r != -ENODATA)
        return r;
    r = run_wish_build(config, model, r == 0 ? &version : NULL, gpus, assume_gpus(model, gpus),
                       &arena, &command, &cli->err);
    if (r < 0)
        return r;
    if (cli->json) {
        print_json(cli->json, &command);
        return EXIT_CODE_OK;
    }
    for (const char *const *warning = command.warnings; *warning; warning++)
        cli_note(cli, "%s", *warning);
    engine_command_print(&command, &text);
    cli_print_bytes(cli, text.data, text.len);
    return EXIT_CODE_OK;
}

/* The model, on the GPUs of --gpus: each a word between commas. */
static int
take_gpus(struct cli *cli, struct arena *arena, struct config_model *model)
{
    const char *list = cli_option(cli, "gpus");
    if (!list)
        return 0;
    model->gpus = (struct config_list){arena_alloc(arena, GPUS_MAX * sizeof(char *)), 0};
    for (bool more = true; more;) {
        size_t len = strcspn(list, ",");
        more = list[len] == ',';
        if (len == 0 || model->gpus.count == GPUS_MAX)
            return err_set(&cli->err, ERR_USAGE, "--gpus: '%s' is no list of GPUs",
                           cli_option(cli, "gpus"));
        model->gpus.items[model->gpus.count++] = arena_strndup(arena, list, len);
        list += len + more;
    }
    return arena->full ? err_set(&cli->err, ERR_TOO_LARGE, "--gpus: the list is too long") : 0;
}

/* The directory itself, as the link may move while the engine runs. That there is none is told by who looks
 * for a release in it. */
static int
take_env(struct cli *cli, struct arena *arena, struct config *config)
{
    const char *given = cli_option(cli, "vllm-env");
    char path[PATH_MAX];
    if (given && !root_takes_absolute(given))
        return err_set(&cli->err, ERR_USAGE, "--vllm-env: '%s' is not an absolute path", given);
    if (given)
        config->paths.vllm_env = root_path(arena, given);
    if (engine_env_resolve(config->paths.vllm_env, path, NULL) == 0)
        config->paths.vllm_env = arena_strdup(arena, path);
    return config->paths.vllm_env ? 0 : err_set(&cli->err, ERR_TOO_LARGE, "--vllm-env is too long");
}

static int
run_or_print(struct cli *cli, bool print)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, ARENA_MAX);
    int r = cli_load_config(cli, &config);
    if (r < 0)
        return r;
    const struct config_model *found = find_model(cli, config, cli->args[0]);
    if (!found)
        return -err_row(cli->err.id)->err;
    struct config_model model = *found;
    r = take_gpus(cli, &arena, &model);
    if (r == 0)
        r = take_env(cli, &arena, config);
    if (r < 0)
        return r;
    if (print)
        return print_command(cli, config, &model);
    config_set_log_level(config);
    /* Who is supervised is the one that speaks with its supervisor, and that ends all there is. */
    r = getenv("NOTIFY_SOCKET") ? 0 : apart_begin(&cli->err);
    return r < 0 ? r : run_model(config, &model, &cli->err);
}

int
verb_run(struct cli *cli)
{
    bool print = cli_flag(cli, "print");
    if (!print && cli_option(cli, "engine-version"))
        return err_set(&cli->err, ERR_USAGE, "--engine-version is for --print only");
    int r = run_or_print(cli, print);
    if (r == 0 || print)
        return r;
    int code = r > 0 ? r : (int)run_exit(&cli->err);
    cli_error_as(cli, &cli->err, code);
    return code;
}
