/* What the jobs of backups have left, as it was read with the disks last. */

#include "fmt/prom.h"
#include "role/metrics_int.h"
#include "role/monitor_int.h"

#include <math.h>

static double
seconds(uint64_t us)
{
    return us ? (double)us / 1e6 : NAN;
}

static double
ratio(uint64_t a, uint64_t b)
{
    return b ? (double)a / (double)b : NAN;
}

static double
job_last_run(const struct job *j)
{
    return seconds(j->ended_us);
}

static double
job_last_success(const struct job *j)
{
    return seconds(j->success_us);
}

static double
job_failed(const struct job *j)
{
    return j->err.id != ERR_NONE;
}

static double
job_duration(const struct job *j)
{
    return seconds(j->took_us);
}

/* Of one that has never saved anything there is nothing to tell. */
static double
job_size(const struct job *j)
{
    return j->took_us ? (double)j->bytes : NAN;
}

static double
job_new_bytes(const struct job *j)
{
    return j->took_us ? (double)j->new_bytes : NAN;
}

static double
job_stored(const struct job *j)
{
    return j->took_us ? (double)j->stored_bytes : NAN;
}

static double
job_rate(const struct job *j)
{
    return ratio(j->bytes, j->took_us) * 1e6;
}

static double
job_dedup(const struct job *j)
{
    return ratio(j->bytes, j->new_bytes);
}

static double
job_compression(const struct job *j)
{
    return ratio(j->new_bytes, j->stored_bytes);
}

static double
job_verified(const struct job *j)
{
    return j->has_verified ? j->verified : NAN;
}

static double
job_free_bytes(const struct job *j)
{
    return j->rooms_count ? (double)j->rooms[j->rooms_count - 1].free_bytes : NAN;
}

static double
job_full(const struct job *j)
{
    return seconds(job_full_us(j));
}

static const struct {
    struct prom_family family;
    double (*value)(const struct job *j);
} rows[] = {
#define METRIC(function, name, help) {{name, PROM_GAUGE, help}, job_##function},
#include "role/metric_backup.def"
#undef METRIC
};

static void
write_row(const struct jobs *jobs, size_t i, struct buf *out)
{
    bool is_announced = false;
    for (size_t k = 0; k < jobs->count; k++) {
        double value = rows[i].value(&jobs->items[k].job);
        if (isnan(value))
            continue;
        if (!is_announced)
            prom_write_family(out, &rows[i].family);
        is_announced = true;
        prom_write_sample(out, &rows[i].family, value, PROM_LABELS("job", jobs->items[k].name));
    }
}

void
monitor_metrics_backups(const struct monitor *m, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows) && m->places->known; i++)
        write_row(&m->places->jobs, i, out);
}
