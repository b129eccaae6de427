#include "gpu/memory.h"

#include "base/buf.h"
#include "base/quantity.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A pid of another PID namespace is mostly no process here. */
static bool
is_here(unsigned pid)
{
    return pid <= INT32_MAX && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

/* What may be in use on a GPU that nobody uses. An old driver counts in what it keeps for itself. */
static uint64_t
idle_bytes(const struct gpu *gpu)
{
    return GPU_MEMORY_SLACK_BYTES + (gpu->memory_reserved_bytes.known ? 0 : GIB);
}

/* The list is believed when each process on it is one of ours to see, and together they have all that
 * is used, but for what is used on an idle GPU too. */
bool
gpu_memory_use(const struct gpu *gpu, struct gpu_memory_use *ret_use)
{
    if (!gpu->memory_total_bytes.known || !gpu->memory_used_bytes.known ||
        !gpu->memory_free_bytes.known)
        return false;
    struct gpu_memory_use use = {
        .total_bytes = gpu->memory_total_bytes.n,
        .free_bytes = gpu->memory_free_bytes.n,
        .used_bytes = gpu->memory_used_bytes.n,
        .by_process = gpu->processes_known && !gpu->unified,
    };
    for (size_t i = 0; i < gpu->process_count; i++) {
        const struct gpu_process *process = &gpu->processes[i];
        use.listed_bytes += process->bytes.known ? process->bytes.n : 0;
        if (!process->bytes.known || !is_here(process->pid))
            use.by_process = false;
    }
    if (use.used_bytes > use.listed_bytes + idle_bytes(gpu))
        use.by_process = false;
    *ret_use = use;
    return true;
}

/* "python3 (4711) 60.1 GiB, ...", or that nobody can be seen. */
static void
tell_users(const struct gpu *gpu, const struct gpu_memory_use *use, struct buf *out)
{
    quantity_text text;
    for (size_t i = 0; i < gpu->process_count && out->len < 200; i++) {
        const struct gpu_process *process = &gpu->processes[i];
        buf_printf(out, "%s%s (%u) %s", out->len ? ", " : "",
                   process->name[0] ? process->name : "process", process->pid,
                   process->bytes.known ? quantity_show_bytes(process->bytes.n, text) : "?");
    }
    if (!use->by_process && use->used_bytes > use->listed_bytes)
        buf_printf(out, "%s%s that no process seen here accounts for", out->len ? ", " : "",
                   quantity_show_bytes(use->used_bytes - use->listed_bytes, text));
}

static int
not_free(const struct gpu *gpu, const struct gpu_memory_use *use, const char *what,
         struct err *reterr)
{
    _cleanup_buf_ struct buf users = BUF_INIT(1024);
    quantity_text free_text, total_text;
    tell_users(gpu, use, &users);
    int r = err_set(reterr, ERR_GPU_NOT_FREE, "GPU %u: %s: %s of %s are free; in use: %s",
                    gpu->index, what, quantity_show_bytes(use->free_bytes, free_text),
                    quantity_show_bytes(use->total_bytes, total_text),
                    users.len ? users.data : "nothing");
    err_fix(reterr, "stop what uses the GPU (see nvidia-smi), or lower gpu_memory_fraction");
    return r;
}

static int
tells_nothing(const struct gpu *gpu, struct err *reterr)
{
    int r = err_set(reterr, ERR_GPU_NOT_SUPPORTED, "the driver does not tell the memory of GPU %u",
                    gpu->index);
    err_fix(reterr, "see nvidia-smi; or name another GPU in gpus");
    return r;
}

int
gpu_memory_check_free(const struct gpu *gpu, uint64_t bytes, struct err *reterr)
{
    struct gpu_memory_use use;
    char what[96];
    quantity_text text;
    if (!gpu_memory_use(gpu, &use))
        return tells_nothing(gpu, reterr);
    if (bytes <= use.free_bytes)
        return 0;
    (void)snprintf(what, sizeof(what), "%s are needed", quantity_show_bytes(bytes, text));
    return not_free(gpu, &use, what, reterr);
}

int
gpu_memory_check_left(const struct gpu *gpu, const struct gpu *before,
                      bool (*is_ours)(unsigned pid, const void *arg), const void *arg,
                      struct err *reterr)
{
    struct gpu_memory_use use, old = {0};
    if (!gpu_memory_use(gpu, &use))
        return tells_nothing(gpu, reterr);
    for (size_t i = 0; i < gpu->process_count; i++)
        if (is_ours(gpu->processes[i].pid, arg))
            return not_free(gpu, &use, "a process of ours still has memory", reterr);
    if (use.by_process)
        return 0;
    if (before)
        (void)gpu_memory_use(before, &old);
    if (use.used_bytes <= old.used_bytes + idle_bytes(gpu))
        return 0;
    return not_free(gpu, &use, "memory has not come back", reterr);
}
