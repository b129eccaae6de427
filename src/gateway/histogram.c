#include "gateway/histogram.h"

#include "fmt/prom.h"

#include <stdio.h>

static const struct {
    uint64_t us;
    const char *seconds;
} bounds[HISTOGRAM_BUCKETS] = {
    {10, "1e-05"},      {25, "2.5e-05"},    {50, "5e-05"},        {100, "0.0001"},
    {250, "0.00025"},   {500, "0.0005"},    {1000, "0.001"},      {2500, "0.0025"},
    {5000, "0.005"},    {10000, "0.01"},    {25000, "0.025"},     {50000, "0.05"},
    {100000, "0.1"},    {250000, "0.25"},   {500000, "0.5"},      {1000000, "1"},
    {2500000, "2.5"},   {5000000, "5"},     {10000000, "10"},     {30000000, "30"},
    {100000000, "100"}, {300000000, "300"}, {1000000000, "1000"},
};

void
histogram_add(struct histogram *h, uint64_t us)
{
    size_t i = 0;
    while (i < HISTOGRAM_BUCKETS && us > bounds[i].us)
        i++;
    h->counts[i]++;
    h->sum_us += us;
}

static bool
is_coarse(size_t i)
{
    return i == HISTOGRAM_BUCKETS || (bounds[i].us >= 1000 && i % 2 == 0);
}

void
histogram_write(struct buf *out, const struct prom_family *family, const struct histogram *h,
                enum histogram_grain grain, const char *label, const char *value)
{
    char names[3][128];
    static const char *const suffixes[] = {"_bucket", "_sum", "_count"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        int len = snprintf(names[i], sizeof(names[i]), "%s%s", family->name, suffixes[i]);
        assert(len > 0 && len < (int)sizeof(names[i]));
    }
    const struct prom_family bucket = {.name = names[0]}, sum = {.name = names[1]},
                             all = {.name = names[2]};
    const char *const *labels = label ? PROM_LABELS(label, value) : NULL;
    uint64_t count = 0;
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++) {
        count += h->counts[i];
        if (grain == HISTOGRAM_COARSE && !is_coarse(i))
            continue;
        const char *bound = i < HISTOGRAM_BUCKETS ? bounds[i].seconds : "+Inf";
        prom_write_sample(out, &bucket, (double)count,
                          label ? PROM_LABELS(label, value, "le", bound)
                                : PROM_LABELS("le", bound));
    }
    prom_write_sample(out, &sum, (double)h->sum_us / 1e6, labels);
    prom_write_sample(out, &all, (double)count, labels);
}
