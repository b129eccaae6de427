#pragma once

/* What the gateway knows of its own work, as Prometheus reads it; nobody is asked for it. */

#include "base/buf.h"

struct relay;

/* What could not be kept, since nobody waits for it. */
struct metrics_lost {
    const char *what; /* a word */
    uint64_t count;
};

void metrics_write(struct buf *out, struct relay *relay, const struct metrics_lost *lost,
                   size_t lost_count);
