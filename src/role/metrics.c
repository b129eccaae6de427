#include "role/metrics.h"

#include "fmt/prom.h"
#include "role/metrics_int.h"
#include "role/monitor_int.h"

static void
metric_state(const struct watched *w, const struct prom_family *f, struct buf *out)
{
    for (unsigned i = 0; i < SERVICE_STATE_COUNT; i++)
        prom_write_sample(out, f, w->status.state == i,
                          PROM_LABELS("service", w->status.name, "state",
                                      service_state_word((enum service_state)i)));
}

static void
metric_healthy(const struct watched *w, const struct prom_family *f, struct buf *out)
{
    const char *why;
    prom_write_sample(out, f, monitor_is_well(w, &why), PROM_LABELS("service", w->status.name));
}

static void
metric_restarts(const struct watched *w, const struct prom_family *f, struct buf *out)
{
    prom_write_sample(out, f, w->status.restarts, PROM_LABELS("service", w->status.name));
}

static void
metric_changed(const struct watched *w, const struct prom_family *f, struct buf *out)
{
    prom_write_sample(out, f, (double)w->status.since_us / 1e6,
                      PROM_LABELS("service", w->status.name));
}

static void
metric_model_healthy(const struct watched *w, const struct prom_family *f, struct buf *out)
{
    const char *why;
    prom_write_sample(out, f, monitor_is_well(w, &why), PROM_LABELS("model", w->status.name));
}

static void
metric_model_ready(const struct watched *w, const struct prom_family *f, struct buf *out)
{
    bool ready = w->status.state == SERVICE_READY && w->silent_looks == 0 &&
                 (!w->has_run || w->run.phase == RUN_READY);
    prom_write_sample(out, f, ready, PROM_LABELS("model", w->status.name));
}

static void
metric_model_phase(const struct watched *w, const struct prom_family *f, struct buf *out)
{
    for (unsigned i = 0; w->has_run && i < RUN_PHASE_COUNT; i++)
        prom_write_sample(
            out, f, w->run.phase == i,
            PROM_LABELS("model", w->status.name, "phase", run_phase_word((enum run_phase)i)));
}

static void
metric_model_crashes(const struct watched *w, const struct prom_family *f, struct buf *out)
{
    prom_write_sample(out, f, w->record.failures, PROM_LABELS("model", w->status.name));
}

static void
metric_model_breaker(const struct watched *w, const struct prom_family *f, struct buf *out)
{
    prom_write_sample(out, f, lifecycle_is_breakers(&w->record),
                      PROM_LABELS("model", w->status.name));
}

static void
metric_model_held(const struct watched *w, const struct prom_family *f, struct buf *out)
{
    prom_write_sample(out, f, w->record.hold.set, PROM_LABELS("model", w->status.name));
}

static void
write_run(const struct watched *w, double value, const struct prom_family *f, struct buf *out)
{
    if (w->has_run)
        prom_write_sample(out, f, value, PROM_LABELS("model", w->status.name));
}

static void
metric_model_running(const struct watched *w, const struct prom_family *f, struct buf *out)
{
    write_run(w, w->run.running, f, out);
}

static void
metric_model_waiting(const struct watched *w, const struct prom_family *f, struct buf *out)
{
    write_run(w, w->run.waiting, f, out);
}

static void
metric_model_kv(const struct watched *w, const struct prom_family *f, struct buf *out)
{
    write_run(w, w->run.kv_usage, f, out);
}

static const struct {
    enum metrics_page page;
    struct prom_family family;
    void (*write)(const struct watched *w, const struct prom_family *f, struct buf *out);
} rows[] = {
#define METRIC(page, function, name, type, help) \
    {METRICS_##page, {name, PROM_##type, help}, metric_##function},
#include "role/metric.def"
#undef METRIC
};

static void
print_services(const struct monitor *m, enum metrics_page page, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (rows[i].page != page)
            continue;
        prom_write_family(out, &rows[i].family);
        vec_foreach (&m->services, at)
            if ((*at)->is_there && (page == METRICS_SERVICES || (*at)->model))
                rows[i].write(*at, &rows[i].family, out);
    }
}

void
monitor_metrics_print(const struct monitor *m, enum metrics_page page, struct buf *out)
{
    switch (page) {
    case METRICS_SERVICES:
    case METRICS_MODELS:
        print_services(m, page, out);
        break;
    case METRICS_GPU:
        monitor_metrics_gpus(m, out);
        break;
    case METRICS_STORAGE:
        monitor_metrics_storage(m, out);
        monitor_metrics_backups(m, out);
        break;
    case METRICS_SYSTEM:
        monitor_metrics_system(out);
        break;
    }
}
