#include "base/quantity.h"
#include "base/text.h"
#include "cli/gpu.h"
#include "cli/load_config.h"
#include "config/config.h"
#include "gpu/lease.h"
#include "gpu/nvml.h"
#include "run/look.h"

#include <string.h>

const struct verb_help verb_gpu_status_help = {
    .text =
        "Shows each GPU: its memory and who has it, how busy, how hot, how much power of how much, "
        "its clock, what is wrong with it, and its settings: as they are, as the configuration "
        "wants them, and as they were found before `citadel gpu optimize`. What a driver does not "
        "tell is shown as '?'. The driver is read by a child, which is given up when it hangs.\n\n"
        "Memory is promised to models by leases; PROCESSES are who really has some, as far as this "
        "user may see them. Exits with 3 when a GPU is in trouble, and with 1 when there is no "
        "driver.",
    .examples = VERB_EXAMPLES({"citadel gpu status", "how the GPUs are"},
                              {"citadel gpu status --json", "every reading, for programs"}),
};

struct showing {
    struct cli *cli;
    const struct config *config;
    struct loop *loop;
    struct look look;
    struct gpu_leases leases;
    struct gpu_memory_file memory;
    int result; /* exit code, or -errno */
};

static const struct table_column columns[] = {
    {.title = "GPU", .right = true},
    {.title = "NAME", .min_width = 8, .expendable = 3},
    {.title = "USED", .right = true},
    {.title = "OF", .right = true},
    {.title = "BUSY", .right = true, .expendable = 2},
    {.title = "TEMP", .right = true, .expendable = 1},
    {.title = "POWER", .right = true, .expendable = 4},
    {.title = "CLOCK", .right = true, .expendable = 5},
    {.title = "MODELS", .min_width = 6},
};

/* ---- what is wrong ---- */

static bool
is_set(struct gpu_value v)
{
    return v.known && v.n > 0;
}

/* "" when all is well. */
static void
tell_trouble(const struct gpu *gpu, struct buf *out)
{
    if (gpu->trouble != NVML_SUCCESS)
        buf_printf(out, "; %s", nvml_code_text(gpu->trouble));
    if (is_set(gpu->recovery_action))
        buf_printf(out, "; the driver wants it %s",
                   gpu->recovery_action.n == NVML_RECOVERY_REBOOT ? "rebooted" : "reset");
    if (is_set(gpu->remap_failed))
        buf_add_str(out, "; a row of its memory could not be replaced");
    if (is_set(gpu->remap_pending) || is_set(gpu->retired_pending))
        buf_add_str(out, "; memory that failed is replaced at the next reset");
    if (is_set(gpu->ecc_uncorrected_total))
        buf_printf(out, "; %llu memory errors that could not be corrected",
                   (unsigned long long)gpu->ecc_uncorrected_total.n);
}

/* ---- for people ---- */

static void
add_number(struct table *t, struct gpu_value v, const char *unit)
{
    if (v.known)
        table_addf(t, TONE_PLAIN, "%llu%s", (unsigned long long)v.n, unit);
    else
        table_add(t, TONE_DIM, "?");
}

static void
add_bytes(struct table *t, struct gpu_value v)
{
    quantity_text text;
    table_add(t, v.known ? TONE_PLAIN : TONE_DIM, v.known ? quantity_show_bytes(v.n, text) : "?");
}

static void
add_models(struct table *t, const struct showing *s, const struct gpu *gpu)
{
    _cleanup_buf_ struct buf names = BUF_INIT(4 * KIB);
    for (size_t i = 0; i < s->leases.count; i++)
        for (size_t k = 0; k < s->leases.items[i].part_count; k++)
            if (text_eq(s->leases.items[i].parts[k].uuid, gpu->uuid))
                buf_printf(&names, "%s%s", names.len ? " " : "", s->leases.items[i].holder.name);
    table_add(t, TONE_PLAIN, names.len ? names.data : "-");
}

static void
add_row(struct table *t, const struct showing *s, const struct gpu *gpu)
{
    table_addf(t, gpu->trouble ? TONE_BAD : TONE_PLAIN, "%u", gpu->index);
    table_add(t, TONE_PLAIN, gpu->name[0] ? gpu->name : "?");
    add_bytes(t, gpu->memory_used_bytes);
    add_bytes(t, gpu->memory_total_bytes);
    add_number(t, gpu->gpu_percent, "%");
    add_number(t, gpu->temperature_celsius, " C");
    if (gpu->power_mw.known && gpu->power_limit_mw.known)
        table_addf(t, TONE_PLAIN, "%llu/%llu W", (unsigned long long)gpu->power_mw.n / 1000,
                   (unsigned long long)gpu->power_limit_mw.n / 1000);
    else
        add_number(t, (struct gpu_value){gpu->power_mw.n / 1000, gpu->power_mw.known}, " W");
    add_number(t, gpu->sm_mhz, " MHz");
    add_models(t, s, gpu);
}

/* What the driver tells of a setting; of clocks it tells nothing. */
static struct gpu_value
now_of(const struct gpu *gpu, enum gpu_setting setting)
{
    switch (setting) {
    case GPU_SETTING_persistence:
        return gpu->persistence;
    case GPU_SETTING_compute_mode:
        return gpu->compute_mode;
    case GPU_SETTING_power_limit_mw:
        return gpu->power_limit_mw;
    case GPU_SETTING_graphics_mhz:
    case GPU_SETTING_memory_mhz:
    case GPU_SETTINGS:
        break;
    }
    return (struct gpu_value){0};
}

static const char *
value_text(enum gpu_setting setting, const struct gpu_value *v, const char *otherwise,
           char text[32])
{
    return v->known ? cli_gpu_value(setting, v->n, text) : otherwise;
}

static void
print_settings(struct cli *cli, const struct showing *s, const struct gpu *gpu)
{
    const struct gpu_settings wish = cli_gpu_wish(s->config);
    const struct gpu_settings *found = gpu_memory_find(&s->memory, gpu->uuid);
    char now[32], wanted[32], before[32];
    cli_print(cli, "\nGPU %u, %s\n", gpu->index,
              gpu->uuid[0] ? gpu->uuid : "whose UUID is not told");
    for (enum gpu_setting i = 0; i < GPU_SETTINGS; i++) {
        const struct gpu_value is = now_of(gpu, i);
        cli_print(cli, "  %-14s %s; configured: %s", gpu_setting_rows[i].option,
                  value_text(i, &is, "not told", now),
                  value_text(i, &wish.of[i], "unchanged", wanted));
        if (found && found->of[i].known)
            cli_print(cli, "; found: %s", value_text(i, &found->of[i], "", before));
        cli_print(cli, "\n");
    }
}

static void
print_processes(struct cli *cli, const struct gpu *gpu)
{
    quantity_text text;
    for (size_t i = 0; i < gpu->process_count; i++) {
        const struct gpu_process *p = &gpu->processes[i];
        char name[sizeof(p->name)];
        memcpy(name, p->name, sizeof(name));
        text_disarm(name);
        cli_print(cli, "  process %u  %s  %s\n", p->pid,
                  p->bytes.known ? quantity_show_bytes(p->bytes.n, text) : "?", name);
    }
}

static void
print(struct showing *s, const struct gpu_inventory *inventory)
{
    _cleanup_table_ struct table table;
    table_init(&table, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < inventory->count; i++)
        add_row(&table, s, &inventory->gpus[i]);
    cli_table(s->cli, &table);
    for (size_t i = 0; i < inventory->count; i++) {
        _cleanup_buf_ struct buf trouble = BUF_INIT(2 * KIB);
        tell_trouble(&inventory->gpus[i], &trouble);
        print_settings(s->cli, s, &inventory->gpus[i]);
        if (trouble.len)
            cli_print(s->cli, "  trouble: %s\n", trouble.data + 2);
        print_processes(s->cli, &inventory->gpus[i]);
    }
}

/* ---- for programs ---- */

static void
print_values(struct json_writer *w, const char *name, const struct gpu_settings *settings)
{
    json_open_map(w, name);
    for (size_t i = 0; settings && i < GPU_SETTINGS; i++)
        if (settings->of[i].known)
            json_u64(w, gpu_setting_rows[i].name, settings->of[i].n);
    json_close_map(w);
}

static void
print_gpu_lists(struct json_writer *w, const struct showing *s, const struct gpu *gpu)
{
    json_open_list(w, "processes");
    for (size_t i = 0; i < gpu->process_count; i++) {
        json_open_map(w, NULL);
        json_u64(w, "pid", gpu->processes[i].pid);
        if (gpu->processes[i].bytes.known)
            json_u64(w, "bytes", gpu->processes[i].bytes.n);
        json_strn(w, "name", gpu->processes[i].name, strlen(gpu->processes[i].name));
        json_close_map(w);
    }
    json_close_list(w);
    json_open_list(w, "leases");
    for (size_t i = 0; i < s->leases.count; i++)
        for (size_t k = 0; k < s->leases.items[i].part_count; k++) {
            const struct gpu_lease_part *part = &s->leases.items[i].parts[k];
            if (!text_eq(part->uuid, gpu->uuid))
                continue;
            json_open_map(w, NULL);
            json_str(w, "model", s->leases.items[i].holder.name);
            json_u64(w, "bytes", part->bytes);
            json_close_map(w);
        }
    json_close_list(w);
}

static void
print_gpu_json(struct json_writer *w, const struct showing *s, const struct gpu *gpu)
{
    _cleanup_buf_ struct buf trouble = BUF_INIT(2 * KIB);
    const struct gpu_settings wish = cli_gpu_wish(s->config);
    tell_trouble(gpu, &trouble);
    json_open_map(w, NULL);
    json_u64(w, "index", gpu->index);
    json_str(w, "name", gpu->name);
    json_str(w, "uuid", gpu->uuid);
    json_str(w, "bus_id", gpu->bus_id);
    json_str(w, "trouble", trouble.len ? trouble.data + 2 : NULL);
    for (const struct gpu_reading *r = gpu_readings; r->name; r++) {
        struct gpu_value v = gpu_reading_of(gpu, r);
        if (v.known)
            json_u64(w, r->name, v.n);
        else
            json_null(w, r->name);
    }
    print_values(w, "configured", &wish);
    print_values(w, "found", gpu_memory_find(&s->memory, gpu->uuid));
    print_gpu_lists(w, s, gpu);
    json_close_map(w);
}

static void
print_json(struct showing *s, const struct gpu_inventory *inventory)
{
    struct json_writer *w = s->cli->json;
    json_open_map(w, NULL);
    json_str(w, "driver", inventory->driver);
    json_u64(w, "cuda_version", inventory->cuda_version);
    json_open_list(w, "gpus");
    for (size_t i = 0; i < inventory->count; i++)
        print_gpu_json(w, s, &inventory->gpus[i]);
    json_close_list(w);
    json_close_map(w);
}

/* ---- the look ---- */

static bool
is_well(const struct gpu_inventory *inventory)
{
    for (size_t i = 0; i < inventory->count; i++) {
        _cleanup_buf_ struct buf trouble = BUF_INIT(2 * KIB);
        tell_trouble(&inventory->gpus[i], &trouble);
        if (trouble.len)
            return false;
    }
    return true;
}

static void
on_looked(struct look *look, const struct gpu_inventory *inventory, const struct err *err)
{
    struct showing *s = container_of(look, struct showing, look);
    loop_stop(s->loop);
    if (!inventory) {
        s->cli->err = *err;
        s->result = -err_row(err->id)->err;
        return;
    }
    if (s->cli->json)
        print_json(s, inventory);
    else
        print(s, inventory);
    s->result = is_well(inventory) ? EXIT_CODE_OK : EXIT_CODE_UNHEALTHY;
}

/* What the files tell; without them the GPUs are shown all the same. */
static void
read_files(struct showing *s)
{
    struct err err;
    if (gpu_leases_read(&s->leases, s->config->paths.run, &err) < 0)
        cli_note(s->cli, "warning: %s", err.what);
    if (gpu_memory_load(s->config->paths.state, &s->memory, &err) < 0)
        cli_note(s->cli, "warning: %s", err.what);
}

int
verb_gpu_status(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    struct showing s = {.cli = cli, .look = {.done = on_looked}};
    int r = cli_load_config(cli, &config);
    if (r == 0)
        r = loop_new(&s.loop, &cli->err);
    if (r < 0)
        return r;
    s.config = config;
    read_files(&s);
    r = look_start(s.loop, &s.look, &cli->err);
    if (r == 0) {
        loop_run(s.loop);
        r = s.result;
    }
    loop_free(s.loop);
    gpu_leases_finish(&s.leases);
    return r;
}
