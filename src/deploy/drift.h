#pragma once

/* What on this machine is not as it was deployed, however that came about: files of the generation
 * that were changed by hand, what stands beside or before its units, links that are gone, units that
 * systemd has not read. Only looks at files. */

#include "base/err.h"

struct arena;

struct deploy_drift {
    const char *what, *fix;
    bool mended; /* by making links and reading units anew, as a deployment does */
};

#define DRIFT_MAX 200 /* so many are told */

/* Nothing is deployed: nothing drifts. by_systemd: links and units of this machine are looked at, too.
 * Everything lives in the arena. */
int deploy_find_drift(const char *store, bool by_systemd, struct arena *arena,
                      struct deploy_drift **ret_items, size_t *ret_count, struct err *reterr)
    must_check;

/* What the host reads beside units: a link at `at` to the file of the current generation. */
struct deploy_host_link {
    const char *at, *file;
};
#define DEPLOY_HOST_LINKS 3
extern const struct deploy_host_link deploy_host_links[DEPLOY_HOST_LINKS];
bool deploy_host_link_is_right(const struct deploy_host_link *link, const char *store);
