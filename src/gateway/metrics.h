#pragma once

/* What the gateway knows of its own work, as Prometheus reads it; nobody is asked for it. */

#include "base/buf.h"

struct relay;

/* How often there was what a word says. */
struct metrics_count {
    const char *word;
    uint64_t count;
};

/* Both end with a word that is NULL. lost: what could not be kept, since nobody waits for it; away:
 * who was turned away before it was known who he is. */
void metrics_write(struct buf *out, struct relay *relay, const struct metrics_count *lost,
                   const struct metrics_count *away);
