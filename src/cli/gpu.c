#include "cli/gpu.h"

#include "cli/load_config.h"
#include "config/config.h"
#include "plan/plan.h"
#include "run/wish.h"

#include <stdio.h>

static void
want(struct gpu_settings *wish, enum gpu_setting setting, uint64_t value)
{
    wish->of[setting] = (struct gpu_value){value, true};
}

struct gpu_settings
cli_gpu_wish(const struct config *config)
{
    static const uint64_t modes[] = {
        [CONFIG_COMPUTE_DEFAULT] = NVML_COMPUTE_SHARED,
        [CONFIG_COMPUTE_EXCLUSIVE] = NVML_COMPUTE_EXCLUSIVE,
        [CONFIG_COMPUTE_PROHIBITED] = NVML_COMPUTE_PROHIBITED,
    };
    const struct config_gpu *g = &config->gpu;
    struct gpu_settings wish = {0};
    if (g->persistence != CONFIG_SWITCH_AUTO)
        want(&wish, GPU_SETTING_persistence, g->persistence == CONFIG_SWITCH_ON);
    if (g->compute_mode != CONFIG_COMPUTE_UNCHANGED)
        want(&wish, GPU_SETTING_compute_mode, modes[g->compute_mode]);
    if (g->power_limit)
        want(&wish, GPU_SETTING_power_limit_mw, UINT64_C(1000) * g->power_limit);
    if (g->graphics_clock)
        want(&wish, GPU_SETTING_graphics_mhz, g->graphics_clock);
    if (g->memory_clock)
        want(&wish, GPU_SETTING_memory_mhz, g->memory_clock);
    return wish;
}

const char *
cli_gpu_value(enum gpu_setting setting, uint64_t value, char text[32])
{
    static const char *const modes[] = {
        [NVML_COMPUTE_SHARED] = "default",
        [NVML_COMPUTE_EXCLUSIVE_THREAD] = "exclusive-thread",
        [NVML_COMPUTE_PROHIBITED] = "prohibited",
        [NVML_COMPUTE_EXCLUSIVE] = "exclusive-process",
    };
    unsigned n = (unsigned)value;
    switch (setting) {
    case GPU_SETTING_persistence:
        return n ? "on" : "off";
    case GPU_SETTING_compute_mode:
        return n < ARRAY_SIZE(modes) ? modes[n] : "unknown";
    case GPU_SETTING_power_limit_mw:
        (void)snprintf(text, 32, "%g W", n / 1000.0);
        return text;
    case GPU_SETTING_graphics_mhz:
    case GPU_SETTING_memory_mhz:
    case GPU_SETTINGS:
        break;
    }
    (void)snprintf(text, 32, "%u MHz", n);
    return n ? text : "not locked";
}

static const char *
fate_word(enum gpu_fate fate)
{
    static const char *const words[] = {
        [GPU_LEFT] = "left",
        [GPU_RIGHT] = "right",
        [GPU_CHANGED] = "changed",
        [GPU_REFUSED] = "refused",
    };
    return words[fate];
}

static void
print_setting(struct json_writer *w, enum gpu_setting setting, const struct gpu_change_of *of)
{
    if (of->fate == GPU_LEFT)
        return;
    json_open_map(w, gpu_setting_rows[setting].name);
    json_str(w, "fate", fate_word(of->fate));
    if (of->before.known)
        json_u64(w, "before", of->before.n);
    else
        json_null(w, "before");
    json_u64(w, "after", of->after.n);
    json_str(w, "why", of->fate == GPU_REFUSED ? of->why.what : NULL);
    json_close_map(w);
}

static void
print_json(struct json_writer *w, const struct gpu_changes *changes)
{
    json_open_list(w, NULL);
    for (size_t i = 0; i < changes->count; i++) {
        const struct gpu_change *gpu = &changes->gpus[i];
        json_open_map(w, NULL);
        json_u64(w, "index", gpu->index);
        json_str(w, "uuid", gpu->uuid);
        json_str(w, "name", gpu->name);
        for (enum gpu_setting s = 0; s < GPU_SETTINGS; s++)
            print_setting(w, s, &gpu->of[s]);
        json_close_map(w);
    }
    json_close_list(w);
}

static size_t
print_gpu(struct cli *cli, const struct gpu_change *gpu)
{
    char before[32], after[32];
    size_t count = 0;
    for (enum gpu_setting s = 0; s < GPU_SETTINGS; s++) {
        const struct gpu_change_of *of = &gpu->of[s];
        if (of->fate != GPU_CHANGED)
            continue;
        const char *was = of->before.known ? cli_gpu_value(s, of->before.n, before) : "unknown";
        cli_print(cli, "GPU %u: %s %s, was %s\n", gpu->index, gpu_setting_rows[s].option,
                  cli_gpu_value(s, of->after.n, after), was);
        count++;
    }
    return count;
}

static int
speak_refusals(struct cli *cli, const struct gpu_changes *changes)
{
    int first = 0;
    for (size_t i = 0; i < changes->count; i++)
        for (enum gpu_setting s = 0; s < GPU_SETTINGS; s++) {
            const struct gpu_change_of *of = &changes->gpus[i].of[s];
            if (of->fate != GPU_REFUSED)
                continue;
            if (first < 0) {
                cli_error(cli, &of->why);
                continue;
            }
            cli->err = of->why;
            first = -err_row(of->why.id)->err;
        }
    return first;
}

static int
show(struct cli *cli, const struct gpu_changes *changes)
{
    size_t count = 0;
    if (cli->json)
        print_json(cli->json, changes);
    for (size_t i = 0; i < changes->count && !cli->json; i++)
        count += print_gpu(cli, &changes->gpus[i]);
    int r = speak_refusals(cli, changes);
    if (r == 0 && count == 0 && !cli->json)
        cli_print(cli, "nothing to do on %zu GPU%s\n", changes->count,
                  changes->count == 1 ? "" : "s");
    return r;
}

static bool
is_absent(const struct config *config, const struct err *err)
{
    if (err->id != ERR_GPU_NO_LIBRARY && err->id != ERR_GPU_NO_DRIVER)
        return false;
    for (size_t i = 0; i < config->models.count; i++) {
        const struct config_model *m = &config->models.items[i];
        if (m->enabled && plan_gpus_of(m, run_driver_is_fake()) == PLAN_GPUS_ALWAYS)
            return false;
    }
    return true;
}

int
cli_gpu_set(struct cli *cli, bool back, uint64_t limit_us)
{
    static struct gpu_changes changes;
    _cleanup_config_ struct config *config = NULL;
    int r = cli_load_config(cli, &config);
    if (r < 0)
        return r;
    const struct gpu_settings wish = cli_gpu_wish(config);
    r = gpu_settings_run(back ? NULL : &wish, config->paths.state, limit_us, &changes, &cli->err);
    if (r < 0 && is_absent(config, &cli->err)) {
        cli_note(cli, "no GPU to be set: %s", cli->err.what);
        cli->err = (struct err){0};
        changes.count = 0;
    } else if (r < 0) {
        return r;
    }
    r = show(cli, &changes);
    return r < 0 ? r : EXIT_CODE_OK;
}
