#include "gateway/metrics.h"

#include "fmt/prom.h"
#include "gateway/backend.h"
#include "gateway/relay.h"
#include "gateway/tally.h"
#include "sys/clock.h"

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

static const struct {
    struct prom_family family;
    size_t offset; /* in struct relay_counts */
} times_of_all[] = {
#define TIMES_OF_ALL(member, name, help) \
    {{name, PROM_HISTOGRAM, help}, offsetof(struct relay_counts, member)},
#include "gateway/metric.def"
};

static double
tally_value(const struct tally *t, size_t column)
{
    const double values[] = {
#define OF_KEY(member, name, type, help) (double)t->member,
#include "gateway/metric.def"
    };
    assert(column < ARRAY_SIZE(values));
    return values[column];
}

static const struct prom_family of_keys[] = {
#define OF_KEY(member, name, type, help) {name, PROM_##type, help},
#include "gateway/metric.def"
};

static const struct {
    struct prom_family family;
    size_t offset; /* in struct tally_times */
} times_of_keys[] = {
#define TIMES_OF_KEY(member, name, help) \
    {{name, PROM_HISTOGRAM, help}, offsetof(struct tally_times, member)},
#include "gateway/metric.def"
};

static const struct histogram *
histogram_at(const void *times_, size_t offset)
{
    return (const struct histogram *)((const char *)times_ + offset);
}

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
            histogram_write(out, family, histogram_at(backend_times(b), offset), HISTOGRAM_FINE,
                            backend_is_peer(b) ? "peer" : "model", backend_name(b));
    }
}

static void
write_models(struct buf *out, const struct relay *relay)
{
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
}

static void
write_all_together(struct buf *out, const struct relay_counts *n)
{
    for (size_t k = 0; k < ARRAY_SIZE(times_of_all); k++) {
        prom_write_family(out, &times_of_all[k].family);
        histogram_write(out, &times_of_all[k].family, histogram_at(n, times_of_all[k].offset),
                        HISTOGRAM_FINE, NULL, NULL);
    }
    write_one(out, "citadel_gateway_requests_in_flight", PROM_GAUGE,
              "Requests for models, from their head to their end", n->requests);
    write_one(out, "citadel_gateway_bodies_bytes", PROM_GAUGE, "Requests' bodies that are kept",
              (double)n->bodies_bytes);
    write_one(out, "citadel_gateway_fallbacks_total", PROM_COUNTER,
              "Answers by another model than was asked for", (double)n->fallbacks);
    write_one(out, "citadel_gateway_cut_answers_total", PROM_COUNTER,
              "Answers that an engine did not complete", (double)n->cut);
    write_one(out, "citadel_gateway_held_answers_total", PROM_COUNTER,
              "Answers that waited for their reader", (double)n->held);
}

static void
write_times_of_keys(struct buf *out, const struct tallies *tallies)
{
    for (size_t k = 0; k < ARRAY_SIZE(times_of_keys); k++) {
        const struct tally *tally;
        const char *name;
        prom_write_family(out, &times_of_keys[k].family);
        for (size_t i = 0; i < TALLIES_COUNT; i++)
            if ((tally = tallies_at(tallies, i, &name)) && tally->times)
                histogram_write(out, &times_of_keys[k].family,
                                histogram_at(tally->times, times_of_keys[k].offset),
                                HISTOGRAM_COARSE, "key", name);
    }
}

/* A name is told as long as its key is good. */
static void
write_keys(struct buf *out, struct tallies *tallies)
{
    tallies_sweep(tallies, clock_wall_us());
    for (size_t k = 0; k < ARRAY_SIZE(of_keys); k++) {
        const struct tally *tally;
        const char *name;
        prom_write_family(out, &of_keys[k]);
        for (size_t i = 0; i < TALLIES_COUNT; i++)
            if ((tally = tallies_at(tallies, i, &name)))
                prom_write_sample(out, &of_keys[k], tally_value(tally, k),
                                  PROM_LABELS("key", name));
    }
    write_times_of_keys(out, tallies);
}

static void
write_counts(struct buf *out, const struct prom_family *family, const char *label,
             const struct metrics_count *counts)
{
    prom_write_family(out, family);
    for (; counts->word; counts++)
        prom_write_sample(out, family, (double)counts->count, PROM_LABELS(label, counts->word));
}

void
metrics_write(struct buf *out, struct relay *relay, const struct metrics_count *lost,
              const struct metrics_count *away)
{
    static const struct prom_family of_lost = {"citadel_gateway_lost_total", PROM_COUNTER,
                                               "What was told of requests and could not be kept: "
                                               "its disk or its reader was too slow, or failed"},
                                    of_away = {
                                        "citadel_gateway_turned_away_total", PROM_COUNTER,
                                        "Requests that were refused before it was known whose they "
                                        "are: they showed no key that is good, came from where "
                                        "nobody may ask, asked for what is not there, or were no "
                                        "HTTP as it should be"};
    write_models(out, relay);
    write_all_together(out, relay_counts(relay));
    write_keys(out, relay_tallies(relay));
    write_counts(out, &of_lost, "what", lost);
    write_counts(out, &of_away, "why", away);
}
