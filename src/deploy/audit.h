#pragma once

/* Who changed what of what is deployed: a line of the history (lifecycle/history.h), on the disk when it
 * returns. For who has the lock of deployments (lock.h). */

#include "lifecycle/event.h"

struct err;

int deploy_audit(const char *state_dir, enum event_kind kind, const char *by, const char *text,
                 struct err *reterr) must_check;
