#include "gateway/metrics.h"

#include "fmt/prom.h"
#include "gateway/backend.h"
#include "gateway/relay.h"

#include <stddef.h>

static double
metric_running(const struct backend *b)
{
    return backend_queue(b)->running;
}

static double
metric_waiting(const struct backend *b)
{
    return backend_queue(b)->waiting;
}

static double
metric_answered(const struct backend *b)
{
    return (double)backend_counts(b)->answered;
}

static double
metric_failed(const struct backend *b)
{
    return (double)backend_counts(b)->failed;
}

static double
metric_left(const struct backend *b)
{
    return (double)backend_counts(b)->left;
}

static double
metric_refused(const struct backend *b)
{
    return (double)backend_counts(b)->refused;
}

static double
metric_tokens_in(const struct backend *b)
{
    return (double)backend_counts(b)->tokens_in;
}

static double
metric_tokens_out(const struct backend *b)
{
    return (double)backend_counts(b)->tokens_out;
}

static double
metric_usable(const struct backend *b)
{
    return backend_is_usable(b);
}

static const struct {
    struct prom_family family;
    double (*value)(const struct backend *b);
} rows[] = {
#define METRIC(function, name, type, help) {{name, PROM_##type, help}, metric_##function},
#include "gateway/metric.def"
};

static const struct {
    struct prom_family family;
    size_t offset; /* in struct backend_times */
} times[] = {
#define TIMES(member, name, help) \
    {{name, PROM_HISTOGRAM, help}, offsetof(struct backend_times, member)},
#include "gateway/metric.def"
};

static void
write_one(struct buf *out, const char *name, enum prom_type type, const char *help, double value)
{
    const struct prom_family family = {name, type, help};
    prom_write_family(out, &family);
    prom_write_sample(out, &family, value, NULL);
}

/* Of those that have had a request: a model takes some twenty lines. */
static void
write_times(struct buf *out, const struct relay *relay, const struct prom_family *family,
            size_t offset)
{
    for (size_t i = 0; i < relay_backend_count(relay); i++) {
        const struct backend *b = relay_backend(relay, i);
        if (b && backend_queue(b)->arrived)
            histogram_write(out, family,
                            (const struct histogram *)((const char *)backend_times(b) + offset),
                            backend_is_peer(b) ? "peer" : "model", backend_name(b));
    }
}

void
metrics_write(struct buf *out, const struct relay *relay)
{
    const struct relay_counts *n = relay_counts(relay);
    for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
        const struct backend *b;
        prom_write_family(out, &rows[k].family);
        for (size_t i = 0; i < relay_backend_count(relay); i++)
            if ((b = relay_backend(relay, i)))
                prom_write_sample(
                    out, &rows[k].family, rows[k].value(b),
                    PROM_LABELS(backend_is_peer(b) ? "peer" : "model", backend_name(b)));
    }
    for (size_t k = 0; k < ARRAY_SIZE(times); k++) {
        prom_write_family(out, &times[k].family);
        write_times(out, relay, &times[k].family, times[k].offset);
    }
    write_one(out, "citadel_gateway_requests_in_flight", PROM_GAUGE,
              "Requests for models, from their head to their end", n->requests);
    write_one(out, "citadel_gateway_bodies_bytes", PROM_GAUGE, "Requests' bodies that are kept",
              (double)n->bodies_bytes);
    write_one(out, "citadel_gateway_fallbacks_total", PROM_COUNTER,
              "Answers by another model than was asked for", (double)n->fallbacks);
    write_one(out, "citadel_gateway_cut_answers_total", PROM_COUNTER,
              "Answers that an engine did not complete", (double)n->cut);
}
