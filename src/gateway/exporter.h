#pragma once

/* Spans of requests, to an OpenTelemetry collector: OTLP over HTTP, in JSON.
 *
 * Nobody waits for it. Spans are collected for a second, or until there are many, and sent in
 * one request, one at a time. One that the collector could not take now (nobody there, no answer
 * in time, 429, 502, 503, 504) is sent once more, after EXPORTER_AGAIN_US or as long as it asks
 * for; then, or when it is refused, its spans are lost. What comes meanwhile waits, up to
 * EXPORTER_BYTES_MAX; the rest is lost. What is lost is counted. */

#include "base/err.h"

struct exporter;
struct loop;
struct papers;
struct span_request;

#define EXPORTER_BYTES_MAX (1 * MIB)
#define EXPORTER_AGAIN_US UINT64_C(2000000)
#define EXPORTER_AGAIN_MAX_S 30

struct exporter_place {
    const char *url;       /* of gateway.trace_url; NULL: spans go nowhere */
    struct papers *papers; /* it takes the context */
};

/* told: how it is, whenever that changes; NULL: spans are taken again. */
struct exporter *exporter_new(struct loop *loop, void (*told)(void *arg, const struct err *trouble),
                              void *arg) must_check;
/* From here on. On failure they go nowhere. */
int exporter_aim(struct exporter *e, const struct exporter_place *place, struct err *reterr)
    must_check;
bool exporter_is_on(const struct exporter *e);            /* NULL is not */
const char *exporter_authority(const struct exporter *e); /* HOST:PORT, while it is on */
void exporter_add(struct exporter *e, const struct span_request *request);

/* Sends what waits while nothing else runs, for so long at most. */
void exporter_flush(struct exporter *e, uint64_t limit_us);
void exporter_free(struct exporter *e);

struct exporter_counts {
    uint64_t sent, lost; /* spans */
};
const struct exporter_counts *exporter_counts(const struct exporter *e);
