#pragma once

/* What the gateway knows of its own work, as Prometheus reads it; nobody is asked for it. */

#include "base/buf.h"

struct relay;

void metrics_write(struct buf *out, const struct relay *relay);
