#pragma once

/* Having a process that runs read its configuration anew: a model's shim, the monitor, the
 * gateway. It takes up what it can while it runs, and tells what it has read only at its start:
 *
 *     POST /reload  ->  {"live": [{"path": ..., "from": ..., "to": ...}], "restart": [likewise]}
 *
 * With anything in `restart`, nothing was taken up. A configuration that is wrong is refused. */

#include "base/err.h"
#include "fmt/value.h"

/* The answer lives in the arena. ERR_SERVICE_DOWN: it does not run, or has not come so far. */
int service_reread(const char *run_dir, const char *name, struct arena *arena,
                   struct value **ret_answer, struct err *reterr) must_check;

/* Likewise where it is known that all can be taken up; else that is an error: ERR_SERVICE_FAILED. */
int service_reread_all(const char *run_dir, const char *name, struct err *reterr) must_check;
