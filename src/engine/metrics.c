#include "engine/metrics.h"

#include "base/text.h"
#include "fmt/prom.h"

#include <math.h>
#include <string.h>

enum how { ADD, MOST, SUM, COUNT, BY_END, SLEEP, CACHE, SECONDS };

/* Rows that write the same field compete by age; the oldest spelling loses. */
#define AGES 2

static const struct metric {
    enum engine_dialect dialect;
    const char *name;
    size_t name_len;
    size_t offset; /* of the field */
    enum how how;
    uint8_t age;
} metrics[] = {
#define METRIC(dialect, name, field, how, age, releases) \
    {ENGINE_SAYS_##dialect, name, sizeof(name) - 1, offsetof(struct engine_load, field), how, age},
#include "engine/metrics.def"
#undef METRIC
};

/* Ray exports vLLM's metrics under names of its own. */
static const char *const prefixes[][2] = {
    [ENGINE_SAYS_NOTHING] = {NULL, NULL},
    [ENGINE_SAYS_VLLM] = {"vllm:", "ray_vllm:"},
    [ENGINE_SAYS_LLAMA] = {"llamacpp:", NULL},
};

struct slice {
    const char *text;
    size_t len;
};

static bool
take_prefix(struct slice *name, enum engine_dialect dialect)
{
    for (size_t i = 0; i < ARRAY_SIZE(prefixes[dialect]); i++) {
        const char *prefix = prefixes[dialect][i];
        size_t len = prefix ? strlen(prefix) : 0;
        if (len == 0 || name->len <= len || memcmp(name->text, prefix, len) != 0)
            continue;
        name->text += len;
        name->len -= len;
        return true;
    }
    return false;
}

static bool
take_ending(struct slice *name, const char *ending)
{
    size_t len = strlen(ending);
    if (name->len <= len || memcmp(name->text + name->len - len, ending, len) != 0)
        return false;
    name->len -= len;
    return true;
}

static const struct metric *
find_metric(enum engine_dialect dialect, const struct slice *name, bool of_histogram)
{
    for (const struct metric *m = metrics; m < metrics + ARRAY_SIZE(metrics); m++)
        if (m->dialect == dialect && m->name_len == name->len &&
            (m->how == SUM || m->how == COUNT) == of_histogram &&
            memcmp(m->name, name->text, name->len) == 0)
            return m;
    return NULL;
}

static enum engine_finish
finish_of(const struct prom_sample *s)
{
    static const char *const reasons[] = {[ENGINE_STOP] = "stop",
                                          [ENGINE_LENGTH] = "length",
                                          [ENGINE_ABORT] = "abort",
                                          [ENGINE_ERROR] = "error"};
    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
        if (prom_label_is(s, "finished_reason", reasons[i]))
            return (enum engine_finish)i;
    return ENGINE_OTHER;
}

static void
read_sleep(struct engine_load *load, const struct prom_sample *s)
{
    enum engine_sleep state = ENGINE_SLEEP_UNKNOWN;
    if (s->value != 1)
        return;
    if (prom_label_is(s, "sleep_state", "awake"))
        state = ENGINE_AWAKE;
    else if (prom_label_is(s, "sleep_state", "weights_offloaded"))
        state = ENGINE_ASLEEP_1;
    else if (prom_label_is(s, "sleep_state", "discard_all"))
        state = ENGINE_ASLEEP_2;
    /* A server sleeps as deep as the engine that sleeps deepest. */
    load->sleep = MAX(load->sleep, state);
}

static double
label_number(const struct prom_sample *s, const char *name)
{
    const char *text;
    size_t len;
    double n;
    return prom_label(s, name, &text, &len) && prom_number(text, len, &n) && n > 0 ? n : 0;
}

static void
read_cache(struct engine_load *load, const struct prom_sample *s)
{
    double tokens = label_number(s, "kv_cache_size_tokens");
    if (tokens == 0)
        tokens = label_number(s, "num_gpu_blocks") * label_number(s, "block_size");
    load->kv_tokens += tokens;
}

struct reading {
    enum engine_dialect dialect;
    struct engine_load load;
    uint8_t ages[sizeof(struct engine_load)]; /* by field: 1 + age of the rows that filled it */
};

static void *
field_of(struct reading *r, const struct metric *m)
{
    return (char *)&r->load + m->offset;
}

/* False when a newer name has filled the field; a first newer one empties it. */
static bool
claim_field(struct reading *r, const struct metric *m, size_t bytes)
{
    uint8_t *age = &r->ages[m->offset];
    if (*age && *age - 1 < m->age)
        return false;
    if (*age && *age - 1 > m->age)
        memset(field_of(r, m), 0, bytes);
    *age = m->age + 1;
    return true;
}

static void
read_sample(struct reading *r, const struct metric *m, const struct prom_sample *s, bool is_sum)
{
    double *value = field_of(r, m);
    bool wide = m->how == SUM || m->how == SECONDS;
    if (!claim_field(r, m, wide ? sizeof(struct engine_sum) : sizeof(double)))
        return;
    switch (m->how) {
    case ADD:
    case SECONDS:
        *value += s->value;
        break;
    case MOST:
        *value = MAX(*value, s->value);
        break;
    case SUM:
        *(is_sum ? &((struct engine_sum *)value)->sum : &((struct engine_sum *)value)->count) +=
            s->value;
        break;
    case COUNT:
        *value += is_sum ? 0 : s->value;
        break;
    case BY_END:
        r->load.finished[finish_of(s)] += s->value;
        break;
    case SLEEP:
        read_sleep(&r->load, s);
        break;
    case CACHE:
        read_cache(&r->load, s);
        break;
    }
}

static void
take_sample(struct reading *r, const struct prom_sample *s)
{
    struct slice name = {s->name, s->name_len};
    if (!isfinite(s->value) || s->value < 0 || !take_prefix(&name, r->dialect))
        return;
    const struct metric *m = find_metric(r->dialect, &name, false);
    bool is_sum = !m && take_ending(&name, "_sum");
    if (is_sum || (!m && take_ending(&name, "_count")))
        m = find_metric(r->dialect, &name, true);
    if (!m)
        return;
    read_sample(r, m, s, is_sum);
    if (m->offset == offsetof(struct engine_load, running)) {
        r->load.told = true;
        r->load.engines++;
    }
}

int
engine_load_read(enum engine_dialect dialect, const char *text, size_t len,
                 struct engine_load *ret_load, struct err *reterr)
{
    struct reading r = {.dialect = dialect};
    struct prom_reader reader;
    struct prom_sample sample;
    int got;
    prom_init(&reader, text, len);
    while ((got = prom_next(&reader, &sample, reterr)) > 0)
        take_sample(&r, &sample);
    if (got < 0)
        return got;
    /* Releases without the histogram: tokens move with the steps. */
    if (r.load.steps == 0)
        r.load.steps = r.load.tokens_in + r.load.tokens_out;
    *ret_load = r.load;
    return 0;
}

enum engine_pulse
engine_load_pulse(const struct engine_load *before, const struct engine_load *now)
{
    if (now->steps != before->steps || now->tokens_out != before->tokens_out)
        return ENGINE_WORKING;
    if (now->running + now->waiting == 0)
        return ENGINE_IDLE;
    return before->running + before->waiting > 0 ? ENGINE_STILL : ENGINE_WORKING;
}
