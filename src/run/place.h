#pragma once

/* Which GPUs a model is given, where the configuration leaves that open, and how much of each. Pure:
 * what there is and what is leased are arguments. */

#include "base/err.h"

struct gpu_inventory;
struct gpu_lease;
struct gpu_leases;

struct place_wish {
    const char *const *devices; /* indices or UUIDs; none: any will do */
    size_t device_count;
    unsigned count;  /* GPUs */
    double fraction; /* of the whole memory of each */
};

/* Fills the parts of the lease: the GPUs that are named, or those with the most memory that nobody
 * has leased. indices: as many as the wish's count. ERR_GPU_LEASED when no such GPUs are
 * free; whether those that are named are, the lease will tell. ERR_GPU_TOO_SMALL when there will never
 * be enough. */
int place_choose(const struct place_wish *wish, const struct gpu_inventory *inventory,
                 const struct gpu_leases *leases, struct gpu_lease *lease, unsigned *indices,
                 struct err *reterr) must_check;
