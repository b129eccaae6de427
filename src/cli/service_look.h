#pragma once

/* A service as verbs show it: what its supervisor and its shim tell, with what is remembered of it and
 * what it has leased. */

#include "base/err.h"
#include "lifecycle/well.h"
#include "run/record.h"

struct cli_running;
struct json_writer;
struct service_seen;

struct service_look {
    const struct service_seen *seen;
    bool is_model;
    struct run_record record;
    struct err lost; /* why that cannot be read; id ERR_NONE: it can */
    bool is_well;
    const char *why;                /* not; else NULL */
    uint64_t next_us;               /* when it is tried again by itself, since 1970; 0: it is not */
    uint64_t gpu_bytes;             /* leased, of all its GPUs */
    const char *file;               /* of this command, */
    bool is_deployed, is_asked_for; /* which asks for it, or not; what is no model is both */
};
/* It is in the file, and nothing has come of that yet. */
bool service_look_is_absent(const struct service_look *look);

struct service_looks {
    struct service_look *items; /* those of the view, then what is missing */
    size_t count;
};

/* What runs outlives it. */
void cli_look_at_services(const struct cli_running *running, struct service_looks *ret_looks);
void service_looks_finish(struct service_looks *looks);
#define _cleanup_service_looks_ _cleanup_(service_looks_finish)

/* Of one by what its supervisor tells alone. */
void cli_look_from_afar(const struct service_seen *seen, struct service_look *ret_look);

/* All that is known of it, as a map. */
void service_look_print(const struct service_look *look, struct json_writer *w);

struct lifecycle_known service_look_known(const struct service_look *look);
