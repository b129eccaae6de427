#pragma once

/* What the engine counts, and the page that tells it. metrics.def has the rows. */

#include "base/buf.h"

enum metric {
#define METRIC(type, name, ...) METRIC_##name,
#include "sim/metrics.def"
#undef METRIC
    METRIC_COUNT
};

enum finish {
    FINISH_NOT,
    FINISH_STOP,
    FINISH_LENGTH,
    FINISH_ABORT,
    FINISH_ERROR,
    FINISH_REPETITION,
    FINISH_COUNT
};
const char *finish_name(enum finish finish); /* "stop"; NULL: not yet */

#define METRIC_BUCKETS_MAX 40

/* A value, or a histogram. */
struct meter {
    double value; /* the sum of a histogram */
    uint64_t count;
    const double *bounds; /* NULL: no histogram */
    unsigned bound_count;
    uint64_t buckets[METRIC_BUCKETS_MAX]; /* not summed up; the last is above all bounds */
};

struct metrics {
    struct meter meters[METRIC_COUNT];
    uint64_t finished[FINISH_COUNT];
    double token_bounds[METRIC_BUCKETS_MAX];
    double begun_s;
};

void metrics_init(struct metrics *m, uint64_t max_model_len);

static inline void
metrics_add(struct metrics *m, enum metric metric, uint64_t n)
{
    m->meters[metric].value += (double)n;
}

/* So many times the same. */
void metrics_observe(struct metrics *m, enum metric metric, double value, uint64_t times);

/* What is only known when it is asked for. */
struct metrics_now {
    const char *model;
    unsigned release;
    unsigned sleep_level;     /* 0: awake */
    const char *cache_labels; /* name="value", ...: of cache_config_info */
};
void metrics_print(struct metrics *m, const struct metrics_now *now, struct buf *out);

/* A number as Python's client library prints it. */
void metrics_add_number(struct buf *out, double value);
void metrics_add_label(struct buf *out, const char *text); /* as a label's value may stand */
/* "# HELP", "# TYPE"; a counter's name is without "_total". */
void metrics_add_head(struct buf *out, const char *name, const char *type, const char *help);
