#pragma once

/* What /metrics tells of HTTP, as prometheus-fastapi-instrumentator does: by endpoint, method and
 * class of status. */

#include "base/buf.h"

#define TRAFFIC_ROWS_MAX 80
#define TRAFFIC_NONE (TRAFFIC_ROWS_MAX - 1) /* paths that are no endpoint */

struct traffic {
    struct traffic_row {
        const char *path, *method;
        uint64_t by_class[6]; /* of status: [2] is 2xx */
        uint64_t request_bytes, response_bytes;
        uint64_t buckets[4];
        double seconds;
        double begun_s;
    } rows[TRAFFIC_ROWS_MAX];
    const struct traffic_row *seen[TRAFFIC_ROWS_MAX]; /* in the order of their first requests */
    size_t seen_count;
    uint64_t buckets[24]; /* of all */
    double seconds;
    double begun_s;
};

struct traffic_event {
    unsigned row;
    const char *path, *method;
    unsigned status;
    uint64_t request_bytes, response_bytes; /* by Content-Length, else 0 */
    double seconds;
};
void traffic_init(struct traffic *traffic);
void traffic_count(struct traffic *traffic, const struct traffic_event *event);
void traffic_print(const struct traffic *traffic, struct buf *out);

/* The families of the process and of Python, which stand before those of the engine. */
void traffic_print_process(const struct traffic *traffic, struct buf *out);
