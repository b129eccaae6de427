#pragma once

/* What the monitor knows of services and of the machine, as Prometheus reads it. A page is made
 * from what is known already: being read asks nobody anything but /proc. */

#include "base/buf.h"

struct monitor;

enum metrics_page {
    METRICS_SERVICES,
    METRICS_MODELS,
    METRICS_GPU,
    METRICS_STORAGE,
    METRICS_SYSTEM,
};

void monitor_metrics_print(const struct monitor *monitor, enum metrics_page page, struct buf *out);
