#pragma once

/* Whether a model is started because somebody needs it: when it fits beside what is loaded, and nobody
 * keeps it from that. Nothing is evicted for it. Pure. */

#include "lifecycle/well.h"

struct config_model;
struct gpu_inventory;
struct gpu_leases;

struct lifecycle_need {
    const struct config_model *model;
    struct lifecycle_known known;          /* with a record */
    bool asked_to;                         /* it is on its way to what our last order was */
    const struct gpu_inventory *inventory; /* this and the rest as for lifecycle_fit() */
    const struct gpu_leases *leases;
    bool fake_driver;
};

/* 1: it is to be started. 0: it runs, or is on its way. Else an error that says who keeps it from that,
 * or who has the memory. */
int lifecycle_ensure(const struct lifecycle_need *need, struct err *reterr) must_check;
