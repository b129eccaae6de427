#include "sim/metrics.h"

#include "base/text.h"
#include "sys/clock.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum type { COUNTER, GAUGE, HISTOGRAM, BY_END, BY_SOURCE, BY_REASON, BY_SLEEP, CACHE };
enum buckets { NONE, TOKENS, STEP, CHOICES, FIRST, BETWEEN, REQUEST };

static const struct row {
    enum type type;
    const char *name;
    enum buckets buckets;
    unsigned first, last;
    const char *help;
} rows[METRIC_COUNT] = {
#define METRIC(type, name, wire, ...) [METRIC_##name] = {type, "vllm:" wire, __VA_ARGS__},
#include "sim/metrics.def"
#undef METRIC
};

static const double step_bounds[] = {1,   8,    16,   32,   64,   128,  256,
                                     512, 1024, 2048, 4096, 8192, 16384};
static const double choice_bounds[] = {1, 2, 5, 10, 20};
static const double first_bounds[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                      0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10,
                                      20,    40,    80,   160,  640,  2560};
static const double between_bounds[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                                        0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
static const double request_bounds[] = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                        30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};

const char *
finish_name(enum finish finish)
{
    static const char *const names[FINISH_COUNT] = {NULL,    "stop",  "length",
                                                    "abort", "error", "repetition"};
    return names[finish];
}

/* 1, 2, 5, 10, ... up to the longest that there can be. */
static unsigned
make_token_bounds(double *bounds, uint64_t most)
{
    static const uint64_t mantissas[] = {1, 2, 5};
    unsigned count = 0;
    for (uint64_t power = 1; count < METRIC_BUCKETS_MAX - 3; power *= 10) /* 1e12 at most */
        for (size_t i = 0; i < ARRAY_SIZE(mantissas); i++) {
            if (mantissas[i] * power > most)
                return count;
            bounds[count++] = (double)(mantissas[i] * power);
        }
    return count;
}

void
metrics_init(struct metrics *m, uint64_t max_model_len)
{
    *m = (struct metrics){.begun_s = (double)clock_wall_us() / 1e6};
    const struct {
        const double *bounds;
        unsigned count;
    } sets[] = {
        [NONE] = {NULL, 0},
        [TOKENS] = {m->token_bounds, make_token_bounds(m->token_bounds, max_model_len)},
        [STEP] = {step_bounds, ARRAY_SIZE(step_bounds)},
        [CHOICES] = {choice_bounds, ARRAY_SIZE(choice_bounds)},
        [FIRST] = {first_bounds, ARRAY_SIZE(first_bounds)},
        [BETWEEN] = {between_bounds, ARRAY_SIZE(between_bounds)},
        [REQUEST] = {request_bounds, ARRAY_SIZE(request_bounds)},
    };
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        m->meters[i].bounds = sets[rows[i].buckets].bounds;
        m->meters[i].bound_count = sets[rows[i].buckets].count;
    }
}

void
metrics_observe(struct metrics *m, enum metric metric, double value, uint64_t times)
{
    struct meter *meter = &m->meters[metric];
    unsigned i = 0;
    while (i < meter->bound_count && value > meter->bounds[i])
        i++;
    meter->buckets[i] += times;
    meter->count += times;
    meter->value += value * (double)times;
}

/* ---- the page ---- */

/* The shortest text that reads back as the value, with ".0" for whole numbers; from seven digits
 * before the point on, in the form that the library makes for Go: 1e+06. */
void
metrics_add_number(struct buf *out, double value)
{
    char text[40];
    if (value == 0) {
        buf_add_str(out, "0.0");
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*e", digits - 1, value);
        if (strtod(text, NULL) == value)
            break;
    }
    const int mantissa = (int)strcspn(text, "e");
    const int exponent = (int)strtol(text + mantissa + 1, NULL, 10);
    const int digits = mantissa - (text[0] == '-') - (memchr(text, '.', (size_t)mantissa) != NULL);
    if (exponent >= 6)
        buf_printf(out, "%.*se+0%d", mantissa, text, exponent);
    else if (exponent < -4)
        buf_add_str(out, text);
    else
        buf_printf(out, "%.*f", MAX(digits - 1 - exponent, 1), value);
}

void
metrics_add_label(struct buf *out, const char *text)
{
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            buf_add_char(out, '\\');
        if (*c == '\n')
            buf_add_str(out, "\\n");
        else
            buf_add_char(out, *c);
    }
}

void
metrics_add_head(struct buf *out, const char *name, const char *type, const char *help)
{
    const char *total = text_eq(type, "counter") ? "_total" : "";
    buf_printf(out, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, total, help, name, total, type);
}

struct page {
    struct metrics *m;
    const struct metrics_now *now;
    struct buf *out;
    struct buf model; /* as a label */
};

/* Besides engine and model: label="value", or "". The library sorts them. */
static void
add_sample(struct page *p, const char *name, const char *suffix, const char *label, double value)
{
    bool before = *label && strcmp(label, "model_name") < 0;
    bool after = *label && !before;
    buf_printf(p->out, "%s%s{engine=\"0\",%s%s%s%s%s} ", name, suffix, before ? label : "",
               before ? "," : "", p->model.data, after ? "," : "", after ? label : "");
    metrics_add_number(p->out, value);
    buf_add_char(p->out, '\n');
}

static void
add_histogram(struct page *p, const struct row *row, const struct meter *meter)
{
    uint64_t sum = 0;
    char label[48];
    for (unsigned i = 0; i <= meter->bound_count; i++) {
        _cleanup_buf_ struct buf le = BUF_INIT(40);
        sum += meter->buckets[i];
        if (i < meter->bound_count)
            metrics_add_number(&le, meter->bounds[i]);
        else
            buf_add_str(&le, "+Inf");
        (void)snprintf(label, sizeof(label), "le=\"%s\"", le.data);
        add_sample(p, row->name, "_bucket", label, (double)sum);
    }
    add_sample(p, row->name, "_count", "", (double)meter->count);
    add_sample(p, row->name, "_sum", "", meter->value);
}

/* created: the time of each in place of its value. */
static void
add_ends(struct page *p, const char *name, bool created)
{
    enum finish last = p->now->release >= 20   ? FINISH_REPETITION
                       : p->now->release >= 15 ? FINISH_ERROR
                                               : FINISH_ABORT;
    for (unsigned i = FINISH_STOP; i <= last; i++) {
        char label[48];
        (void)snprintf(label, sizeof(label), "finished_reason=\"%s\"", finish_name((enum finish)i));
        add_sample(p, name, created ? "" : "_total", label,
                   created ? p->m->begun_s : (double)p->m->finished[i]);
    }
}

static void
add_sources(struct page *p, const char *name, bool created)
{
    const struct meter *meters = p->m->meters;
    double hits = meters[METRIC_CACHED_TOKENS].value;
    const struct {
        const char *label;
        double value;
    } sources[] = {{"source=\"local_compute\"", meters[METRIC_PROMPT_TOKENS].value - hits},
                   {"source=\"local_cache_hit\"", hits},
                   {"source=\"external_kv_transfer\"", 0}};
    for (size_t i = 0; i < ARRAY_SIZE(sources); i++)
        add_sample(p, name, created ? "" : "_total", sources[i].label,
                   created ? p->m->begun_s : sources[i].value);
}

static void
add_created(struct page *p, const struct row *row)
{
    char name[96];
    (void)snprintf(name, sizeof(name), "%s_created", row->name);
    metrics_add_head(p->out, name, "gauge", row->help);
    if (row->type == BY_END)
        add_ends(p, name, true);
    else if (row->type == BY_SOURCE)
        add_sources(p, name, true);
    else
        add_sample(p, name, "", "", p->m->begun_s);
}

static void
add_depths(struct page *p, const struct row *row)
{
    static const char *const names[] = {"awake", "weights_offloaded", "discard_all"};
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        char label[48];
        (void)snprintf(label, sizeof(label), "sleep_state=\"%s\"", names[i]);
        add_sample(p, row->name, "", label, p->now->sleep_level == i);
    }
}

static void
add_row(struct page *p, enum metric metric)
{
    const struct row *row = &rows[metric];
    const struct meter *meter = &p->m->meters[metric];
    bool counter = row->type == COUNTER || row->type == BY_END || row->type == BY_SOURCE;
    metrics_add_head(p->out, row->name,
                     counter                  ? "counter"
                     : row->type == HISTOGRAM ? "histogram"
                                              : "gauge",
                     row->help);
    switch (row->type) {
    case COUNTER:
    case GAUGE:
        add_sample(p, row->name, counter ? "_total" : "", "", meter->value);
        break;
    case HISTOGRAM:
        add_histogram(p, row, meter);
        break;
    case BY_END:
        add_ends(p, row->name, false);
        break;
    case BY_SOURCE:
        add_sources(p, row->name, false);
        break;
    case BY_REASON:
        add_sample(p, row->name, "", "reason=\"capacity\"", p->m->meters[METRIC_WAITING].value);
        add_sample(p, row->name, "", "reason=\"deferred\"", 0);
        break;
    case BY_SLEEP:
        add_depths(p, row);
        break;
    case CACHE:
        buf_printf(p->out, "%s{%s} 1.0\n", row->name, p->now->cache_labels);
        break;
    }
    if (counter || row->type == HISTOGRAM)
        add_created(p, row);
}

void
metrics_print(struct metrics *m, const struct metrics_now *now, struct buf *out)
{
    struct page p = {.m = m, .now = now, .out = out, .model = BUF_INIT(64 * KIB)};
    buf_add_str(&p.model, "model_name=\"");
    metrics_add_label(&p.model, now->model);
    buf_add_char(&p.model, '"');
    for (size_t i = 0; i < METRIC_COUNT; i++)
        if (now->release >= rows[i].first && now->release <= rows[i].last)
            add_row(&p, (enum metric)i);
    buf_finish(&p.model);
}
