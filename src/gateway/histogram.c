#include "gateway/histogram.h"

#include "fmt/prom.h"

#include <stdio.h>

static const uint64_t bounds_us[HISTOGRAM_BUCKETS] = {
    10,      25,      50,       100,      250,       500,       1000,      2500,
    5000,    10000,   25000,    50000,    100000,    250000,    500000,    1000000,
    2500000, 5000000, 10000000, 30000000, 100000000, 300000000, 1000000000};

void
histogram_add(struct histogram *h, uint64_t us)
{
    size_t i = 0;
    while (i < HISTOGRAM_BUCKETS && us > bounds_us[i])
        i++;
    h->counts[i]++;
    h->sum_us += us;
}

static bool
is_coarse(size_t i)
{
    return i == HISTOGRAM_BUCKETS || (bounds_us[i] >= 1000 && i % 2 == 0);
}

static void
write_one(struct buf *out, const char *name, const char *suffix, double value,
          const char *const *labels)
{
    char full[128];
    int len = snprintf(full, sizeof(full), "%s%s", name, suffix);
    assert(len > 0 && len < (int)sizeof(full));
    const struct prom_family family = {.name = full};
    prom_write_sample(out, &family, value, labels);
}

void
histogram_write(struct buf *out, const struct prom_family *family, const struct histogram *h,
                enum histogram_grain grain, const char *label, const char *value)
{
    uint64_t count = 0;
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++) {
        char bound[32] = "+Inf";
        count += h->counts[i];
        if (grain == HISTOGRAM_COARSE && !is_coarse(i))
            continue;
        if (i < HISTOGRAM_BUCKETS)
            (void)snprintf(bound, sizeof(bound), "%g", (double)bounds_us[i] / 1e6);
        write_one(out, family->name, "_bucket", (double)count,
                  label ? PROM_LABELS(label, value, "le", bound) : PROM_LABELS("le", bound));
    }
    const char *const *labels = label ? PROM_LABELS(label, value) : NULL;
    write_one(out, family->name, "_sum", (double)h->sum_us / 1e6, labels);
    write_one(out, family->name, "_count", (double)count, labels);
}
