#pragma once

/* Whether a model fits now beside what is loaded. Pure. */

#include "base/err.h"

struct config_model;
struct gpu_inventory;
struct gpu_leases;

/* 0 when there is room for it on some GPUs, or on those that it names; else ERR_GPU_LEASED,
 * ERR_GPU_NOT_FREE or ERR_GPU_TOO_SMALL, and who has the memory. fake_driver: as in plan.h. inventory:
 * NULL where no GPU can be seen. */
int lifecycle_fit(const struct config_model *model, const struct gpu_inventory *inventory,
                  const struct gpu_leases *leases, bool fake_driver, struct err *reterr) must_check;
