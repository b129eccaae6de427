#pragma once

/* An inventory on its way from one process of this program to another of the same build: structs as
 * they lie in memory.
 *
 *     struct err             id ERR_NONE: the rest follows
 *     struct gpu_inventory   its pointers mean nothing
 *     struct gpu             count times, likewise
 *     struct gpu_process     process_count times for each GPU */

#include "base/buf.h"
#include "gpu/inventory.h"

#define GPU_TRANSFER_MAX                                 \
    (sizeof(struct err) + sizeof(struct gpu_inventory) + \
     GPU_INVENTORY_MAX * (sizeof(struct gpu) + GPU_PROCESSES_MAX * sizeof(struct gpu_process)))

/* inventory: NULL when err tells why there is none. */
void gpu_transfer_print(const struct gpu_inventory *inventory, const struct err *err,
                        struct buf *out);

/* What was told: 0 and an inventory, to be finished; or the error of the other side, or ERR_GPU_CALL
 * when it was cut off. */
int gpu_transfer_read(const char *bytes, size_t len, struct gpu_inventory *ret_inventory,
                      struct err *reterr) must_check;
