#pragma once

/* What the monitor knows of services, as Prometheus reads it. A page is made from what is known
 * already: being read asks nobody anything. */

#include "base/buf.h"

struct monitor;

enum metrics_page { METRICS_SERVICES, METRICS_MODELS };

void metrics_print(const struct monitor *monitor, enum metrics_page page, struct buf *out);
