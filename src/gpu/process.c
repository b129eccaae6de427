/* Who has memory of a GPU: lists of those who compute, who draw, and who do so through MPS; one
 * process may be on several. */

#include "gpu/inventory_int.h"

#include "base/mem.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int list_fn(struct nvml_device *device, unsigned *count, struct nvml_process *list);
typedef int list_v1_fn(struct nvml_device *device, unsigned *count, struct nvml_process_v1 *list);

/* The layout goes by the name of the function: v2 and v3 share one, the oldest is shorter. */
struct lister {
    list_fn *v3, *v2;
    list_v1_fn *v1;
};

static int
list_v1(struct reader *r, list_v1_fn *list, unsigned *count, struct nvml_process *ret_list)
{
    static const size_t bytes = GPU_PROCESSES_MAX * sizeof(struct nvml_process_v1);
    _cleanup_free_ struct nvml_process_v1 *old = mem_alloc(bytes);
    int code = list(r->device, count, old);
    for (unsigned i = 0; code == NVML_SUCCESS && i < *count; i++)
        ret_list[i] = (struct nvml_process){.pid = old[i].pid, .used_bytes = old[i].used_bytes};
    return code;
}

/* GPU_PROCESSES_MAX is room for all; a GPU with more answers that it is not. */
static int
list(struct reader *r, const struct lister *lister, struct nvml_process *ret_list,
     unsigned *ret_count)
{
    *ret_count = GPU_PROCESSES_MAX;
    if (r->gpu->trouble)
        return r->gpu->trouble;
    if (lister->v3)
        return lister->v3(r->device, ret_count, ret_list);
    if (lister->v2)
        return lister->v2(r->device, ret_count, ret_list);
    if (lister->v1)
        return list_v1(r, lister->v1, ret_count, ret_list);
    return NVML_ERROR_FUNCTION_NOT_FOUND;
}

/* Of "/usr/bin/python3 -m x" the "python3"; bytes that could drive a terminal become '?'. */
static void
name_process(struct reader *r, struct gpu_process *process)
{
    char path[1024] = "";
    int code = nvml_call(r->nvml, SystemGetProcessName, process->pid, path, sizeof(path));
    if (code != NVML_SUCCESS)
        return;
    path[sizeof(path) - 1] = '\0';
    path[strcspn(path, " ")] = '\0';
    const char *slash = strrchr(path, '/');
    (void)snprintf(process->name, sizeof(process->name), "%.*s", (int)sizeof(process->name) - 1,
                   slash ? slash + 1 : path);
    for (char *c = process->name; *c; c++)
        if (!isprint((unsigned char)*c))
            *c = '?';
}

static struct gpu_process *
find_process(struct gpu *gpu, unsigned pid)
{
    for (size_t i = 0; i < gpu->process_count; i++)
        if (gpu->processes[i].pid == pid)
            return &gpu->processes[i];
    return NULL;
}

static void
add_process(struct reader *r, const struct nvml_process *found, bool graphics)
{
    struct gpu *gpu = r->gpu;
    struct gpu_process *process = find_process(gpu, found->pid);
    if (!process) {
        if (gpu->process_count == GPU_PROCESSES_MAX)
            return;
        process = &gpu->processes[gpu->process_count++];
        process->pid = found->pid;
        name_process(r, process);
    }
    process->graphics |= graphics;
    reader_take(r, NVML_SUCCESS, &process->bytes, found->used_bytes);
}

void
read_processes(struct reader *r)
{
    const struct nvml *n = r->nvml;
    const struct lister listers[] = {
        {n->DeviceGetComputeRunningProcesses_v3, n->DeviceGetComputeRunningProcesses_v2,
         n->DeviceGetComputeRunningProcesses},
        {n->DeviceGetMPSComputeRunningProcesses_v3, n->DeviceGetMPSComputeRunningProcesses_v2,
         n->DeviceGetMPSComputeRunningProcesses},
        {n->DeviceGetGraphicsRunningProcesses_v3, n->DeviceGetGraphicsRunningProcesses_v2,
         n->DeviceGetGraphicsRunningProcesses},
    };
    struct nvml_process *found = mem_alloc(GPU_PROCESSES_MAX * sizeof(*found));
    r->gpu->processes = mem_alloc(GPU_PROCESSES_MAX * sizeof(*r->gpu->processes));
    for (size_t i = 0; i < ARRAY_SIZE(listers); i++) {
        unsigned count;
        int code = list(r, &listers[i], found, &count);
        if (i == 0)
            r->gpu->processes_known = code == NVML_SUCCESS;
        for (unsigned k = 0; reader_ok(r, code) && k < MIN(count, GPU_PROCESSES_MAX); k++)
            add_process(r, &found[k], i == 2);
    }
    free(found);
}
