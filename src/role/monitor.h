#pragma once

/* The monitor: watches services, GPUs and disks, does what lifecycle/ decides, writes down what
 * happens, and tells. Nothing depends on it: what runs goes on without it, and the next one takes
 * over from what is durable.
 *
 *     RUN/monitor/control.sock    api/operations.def; everybody may read, root change
 *     monitor.port        GET /health, /metrics/services and /metrics/models, for monitor.allow */

#include "base/err.h"

struct config;

/* Until SIGTERM or SIGINT. program: our own path, for what reads the GPUs. */
int monitor_run(const struct config *config, const char *program, struct err *reterr) must_check;
