#pragma once

/* How long something took, counted in the buckets that Prometheus reads: from what a proxy takes to
 * what a long answer does. Zeroed: nothing was counted. */

#include "base/buf.h"

struct prom_family;

#define HISTOGRAM_BUCKETS 23
struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS + 1]; /* the last: longer than all bounds */
    uint64_t sum_us;
};

void histogram_add(struct histogram *h, uint64_t us);

/* COARSE: every other bound, from 1 ms on: of what there are many. */
enum histogram_grain { HISTOGRAM_FINE, HISTOGRAM_COARSE };

/* The samples of one, behind its family; label: before `le`, with its value; NULL: none. */
void histogram_write(struct buf *out, const struct prom_family *family, const struct histogram *h,
                     enum histogram_grain grain, const char *label, const char *value);
