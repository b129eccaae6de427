#pragma once

/* Asking the supervisor of a run directory, and the shims below it. */

#include "base/vec.h"
#include "run/state.h"
#include "service/service.h"

struct service_seen {
    struct service_status status;
    struct run_state run; /* of a model whose shim was asked, and answered */
    bool has_run;
    bool silent;   /* it runs, was asked, and did not answer */
    bool unwanted; /* none of its targets starts it: a person does, or who asks for it */
};

struct service_view {
    VEC(struct service_seen) items;
    char containment[16];
    char promise[256];
    unsigned pid;                 /* of the supervisor */
    struct service_source source; /* of ours */
    bool by_systemd;              /* which is then changed by systemd.h */
    uint64_t stopped_us; /* since 1970: when all models were stopped as one; 0: they were not */
};

/* What the supervisor tells. ERR_SERVICE_DOWN when there is none. The view is to be finished in any
 * case. */
int service_view_read(const char *run_dir, struct service_view *ret_view, struct err *reterr)
    must_check;
/* Likewise of what it has answered. */
int service_view_parse(const char *text, size_t len, struct service_view *ret_view,
                       struct err *reterr) must_check;
/* And what the models tell themselves; a shim has a second to answer. name: of one, NULL: of all. */
void service_view_ask(struct service_view *view, const char *run_dir, const char *name);
void service_view_finish(struct service_view *view);
#define _cleanup_service_view_ _cleanup_(service_view_finish)

const struct service_seen *service_view_find(const struct service_view *view, const char *name);

/* Has the supervisor take the current generation from here on, or read anew what it has read. What does
 * not fit is refused, and nothing is changed. */
enum service_read { SERVICE_READ_GENERATION, SERVICE_READ_AGAIN };
int service_ask_read(const char *run_dir, enum service_read what, struct err *reterr) must_check;

/* start, stop or restart of a service, or of `all`. */
int service_ask(const char *run_dir, const char *name, const char *verb, struct err *reterr)
    must_check;
