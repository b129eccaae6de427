/* The pages that are about the machine: GPUs and disks as the monitor has looked at them last, and
 * the host, as /proc has it now. */

#include "fmt/prom.h"
#include "role/metrics_int.h"
#include "role/monitor_int.h"
#include "sys/host_load.h"

#include <math.h>
#include <stdio.h>

static void
write_one(struct buf *out, const char *name, const char *help, double value)
{
    const struct prom_family family = {name, PROM_GAUGE, help};
    if (isnan(value))
        return;
    prom_write_family(out, &family);
    prom_write_sample(out, &family, value, NULL);
}

/* ---- GPUs ---- */

static const struct gpu_row {
    size_t field; /* of struct gpu */
    double scale;
    struct prom_family family; /* help NULL: of the row before */
    const char *label, *value;
} gpu_rows[] = {
#define METRIC(field, scale, name, type, label, value, help) \
    {offsetof(struct gpu, field), scale, {name, PROM_##type, help}, label, value},
#include "role/metric_gpu.def"
#undef METRIC
};

static void
write_gpu(const struct gpu *gpu, const struct gpu_row *row, struct buf *out)
{
    const struct gpu_value *read = (const void *)((const char *)gpu + row->field);
    char index[16];
    (void)snprintf(index, sizeof(index), "%u", gpu->index);
    if (read->known)
        prom_write_sample(out, &row->family, (double)read->n * row->scale,
                          PROM_LABELS("gpu", index, "uuid", gpu->uuid, row->label, row->value));
}

static void
write_gpu_info(const struct gpu_inventory *inventory, struct buf *out)
{
    static const struct prom_family info = {"citadel_gpu_info", PROM_GAUGE,
                                            "1, with what a GPU is"},
                                    healthy = {"citadel_gpu_healthy", PROM_GAUGE,
                                               "0: it is lost, wants a reset or refuses"};
    char index[16];
    prom_write_family(out, &info);
    for (size_t i = 0; i < inventory->count; i++) {
        const struct gpu *gpu = &inventory->gpus[i];
        (void)snprintf(index, sizeof(index), "%u", gpu->index);
        prom_write_sample(out, &info, 1,
                          PROM_LABELS("gpu", index, "uuid", gpu->uuid, "name", gpu->name, "driver",
                                      inventory->driver));
    }
    prom_write_family(out, &healthy);
    for (size_t i = 0; i < inventory->count; i++) {
        const struct gpu *gpu = &inventory->gpus[i];
        (void)snprintf(index, sizeof(index), "%u", gpu->index);
        prom_write_sample(out, &healthy, gpu->trouble == NVML_SUCCESS,
                          PROM_LABELS("gpu", index, "uuid", gpu->uuid));
    }
}

/* Numbers of a reading that failed are not told: those of before would look like news. */
void
monitor_metrics_gpus(const struct monitor *m, struct buf *out)
{
    const struct gpus *gpus = &m->gpus;
    bool is_read = gpus->known && gpus->err.id == ERR_NONE;
    write_one(out, "citadel_gpus_readable", "1: the driver has told how its GPUs are", is_read);
    if (!is_read)
        return;
    write_one(out, "citadel_gpus_read_age_seconds", "Since the GPUs were read",
              (double)(loop_now_us(m->loop) - gpus->read_us) / 1e6);
    write_gpu_info(&gpus->inventory, out);
    for (size_t i = 0; i < ARRAY_SIZE(gpu_rows); i++) {
        if (gpu_rows[i].family.help)
            prom_write_family(out, &gpu_rows[i].family);
        for (size_t g = 0; g < gpus->inventory.count; g++)
            write_gpu(&gpus->inventory.gpus[g], &gpu_rows[i], out);
    }
}

/* ---- disks ---- */

/* Of one that could not be looked at, or hangs, nothing is known but that. */
static bool
is_looked_at(const struct place *p)
{
    return p->err.id == ERR_NONE || p->err.id == ERR_STORAGE_FULL;
}

static double
place_healthy(const struct place *p)
{
    return p->err.id == ERR_NONE;
}

static double
place_size(const struct place *p)
{
    return is_looked_at(p) ? (double)p->total_bytes : NAN;
}

static double
place_free(const struct place *p)
{
    return is_looked_at(p) ? (double)p->free_bytes : NAN;
}

static const struct {
    struct prom_family family;
    double (*value)(const struct place *p);
} place_rows[] = {
    {{"citadel_storage_healthy", PROM_GAUGE, "1: a disk is mounted, answers and has room"},
     place_healthy},
    {{"citadel_storage_size_bytes", PROM_GAUGE, "Size of the disk at a path of Citadel"},
     place_size},
    {{"citadel_storage_free_bytes", PROM_GAUGE, "Room there for whoever is not root"}, place_free},
};

void
monitor_metrics_storage(const struct monitor *m, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(place_rows) && m->places->known; i++) {
        const struct prom_family *family = &place_rows[i].family;
        prom_write_family(out, family);
        for (unsigned k = 0; k < PLACE_COUNT; k++) {
            const struct place *p = &m->places->items[k];
            double value = place_rows[i].value(p);
            if (!isnan(value))
                prom_write_sample(
                    out, family, value,
                    PROM_LABELS("place", place_word((enum place_kind)k), "path", p->path));
        }
    }
}

/* ---- the host ---- */

static void
write_cpus(const struct host_load *load, struct buf *out)
{
    static const struct prom_family family = {
        "citadel_system_cpu_seconds_total", PROM_COUNTER,
        "Time of all CPUs together, by what they did, since the host was started"};
    prom_write_family(out, &family);
    for (unsigned i = 0; i < HOST_CPU_MODE_COUNT; i++)
        if (!isnan(load->cpu_seconds[i]))
            prom_write_sample(out, &family, load->cpu_seconds[i],
                              PROM_LABELS("mode", host_cpu_word((enum host_cpu_mode)i)));
}

void
monitor_metrics_system(struct buf *out)
{
    struct host_load load;
    host_load_read("/proc", &load);
    const struct {
        const char *name, *help;
        double value;
    } rows[] = {
        {"citadel_system_load1", "Processes that run or wait for a disk, over one minute",
         load.load_1},
        {"citadel_system_load5", "The same, over five minutes", load.load_5},
        {"citadel_system_load15", "The same, over fifteen minutes", load.load_15},
        {"citadel_system_cpus", "CPUs that are online", load.cpus},
        {"citadel_system_memory_size_bytes", "Memory of the host", load.memory_size_bytes},
        {"citadel_system_memory_free_bytes", "Memory that nothing is in", load.memory_free_bytes},
        {"citadel_system_memory_available_bytes", "Memory that programs can still have",
         load.memory_available_bytes},
        {"citadel_system_swap_size_bytes", "Swap of the host", load.swap_size_bytes},
        {"citadel_system_swap_free_bytes", "Swap that nothing is in", load.swap_free_bytes},
        {"citadel_system_uptime_seconds", "Since the host was started", load.uptime_seconds},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        write_one(out, rows[i].name, rows[i].help, rows[i].value);
    write_cpus(&load, out);
}
