#pragma once

/* Asking the supervisor of a run directory, and the shims below it. */

#include "base/vec.h"
#include "run/state.h"
#include "service/service.h"

struct service_seen {
    struct service_status status;
    struct run_state run; /* of a model whose shim answers */
    bool has_run;
};

struct service_view {
    VEC(struct service_seen) items;
    char containment[16];
    unsigned pid; /* of the supervisor */
};

/* ERR_SERVICE_DOWN when nobody supervises there. */
int service_view_read(const char *run_dir, struct service_view *ret_view, struct err *reterr)
    must_check;
void service_view_finish(struct service_view *view);
#define _cleanup_service_view_ _cleanup_(service_view_finish)

const struct service_seen *service_view_find(const struct service_view *view, const char *name);

/* Whether it is as it should be; the reason, else. One that nobody wants is healthy when stopped. */
bool service_is_healthy(const struct service_seen *seen, const char **ret_why);

/* start, stop or restart of a service, or of `all`. */
int service_ask(const char *run_dir, const char *name, const char *verb, struct err *reterr)
    must_check;
