#pragma once

/* Pages of metrics.h that are about the machine. */

#include "base/buf.h"

struct monitor;

void monitor_metrics_gpus(const struct monitor *m, struct buf *out);
void monitor_metrics_storage(const struct monitor *m, struct buf *out);
void monitor_metrics_backups(const struct monitor *m, struct buf *out);
void monitor_metrics_system(struct buf *out);
