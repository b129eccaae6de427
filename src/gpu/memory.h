#pragma once

/* Is the memory of a GPU really free, and if not, who has it?
 *
 * By process where the processes of a GPU can be seen; by its used bytes where they cannot, as in a
 * container, whose driver tells nobody's pids or those of the host. Answers come from an inventory
 * that has been read (GPU_FAST and GPU_SLOW). */

#include "gpu/inventory.h"

/* What may be in use while nobody uses the GPU: contexts of the display, of tools, of the driver. */
#define GPU_MEMORY_SLACK_BYTES (512 * MIB)

struct gpu_memory_use {
    uint64_t total_bytes, free_bytes, used_bytes;
    uint64_t listed_bytes; /* of used, what listed processes have */
    bool by_process;       /* the list accounts for what is used */
};

/* false when the driver does not tell the memory. */
bool gpu_memory_use(const struct gpu *gpu, struct gpu_memory_use *ret_use);

/* 0 when so much is free; ERR_GPU_NOT_FREE says how much is, and who has the rest. */
int gpu_memory_check_free(const struct gpu *gpu, uint64_t bytes, struct err *reterr) must_check;

/* After a stop: 0 when nothing is left of those that is_ours() tells. Where processes cannot be seen:
 * when no more is used than `before`, read before the start, and the slack. -EAGAIN and
 * ERR_GPU_NOT_FREE: not yet; `before` may be NULL, then it counts as an idle GPU. */
int gpu_memory_check_left(const struct gpu *gpu, const struct gpu *before,
                          bool (*is_ours)(unsigned pid, const void *arg), const void *arg,
                          struct err *reterr) must_check;
