#include "deploy/audit.h"

#include "lifecycle/history.h"
#include "sys/clock.h"

#include <stdio.h>

#define KEEP_US (10 * 365 * 86400 * 1000000ULL)

int
deploy_audit(const char *state_dir, enum event_kind kind, const char *by, const char *text,
             struct err *reterr)
{
    struct event event = {.at_us = clock_wall_us(), .kind = kind};
    struct history history;
    uint64_t torn;
    (void)snprintf(event.by, sizeof(event.by), "%s", by);
    event_set_text(&event, "%s", text);
    int r = history_open(&history, state_dir, HISTORY_OF_DEPLOYMENTS, KEEP_US, 0, &torn, reterr);
    if (r == 0)
        r = history_add(&history, &event, reterr);
    if (r == 0)
        r = history_keep(&history, reterr);
    history_close(&history);
    return r;
}
