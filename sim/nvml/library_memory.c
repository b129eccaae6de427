/* Memory, and the processes that use it. */

#include "sim/nvml/library_int.h"

#include <string.h>

int
nvmlDeviceGetMemoryInfo_v2(struct nvml_device *device, struct nvml_memory_v2 *ret_memory)
{
    struct fake_memory memory;
    ON(device, ret_memory)
    if (ret_memory->version != NVML_VERSION(struct nvml_memory_v2, 2))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    fake_memory_locked(call.fake, call.index, &memory);
    ret_memory->total = memory.total_bytes;
    ret_memory->reserved = memory.reserved_bytes;
    ret_memory->free = memory.free_bytes;
    ret_memory->used = memory.used_bytes;
    return NVML_SUCCESS;
}

int
nvmlDeviceGetMemoryInfo(struct nvml_device *device, struct nvml_memory *ret_memory)
{
    struct fake_memory memory;
    ON(device, ret_memory)
    fake_memory_locked(call.fake, call.index, &memory);
    ret_memory->total = memory.total_bytes;
    ret_memory->free = memory.free_bytes;
    ret_memory->used = memory.used_bytes + memory.reserved_bytes;
    return NVML_SUCCESS;
}

int
nvmlDeviceGetBAR1MemoryInfo(struct nvml_device *device, struct nvml_bar1 *ret_memory)
{
    ON(device, ret_memory)
    uint64_t total = 128 * GIB, used = 2 * MIB;
    *ret_memory = (struct nvml_bar1){total, total - used, used};
    return NVML_SUCCESS;
}

/* The processes on a GPU that can be seen, each once with the sum of its claims. */
static unsigned
processes_of(struct fake *f, unsigned gpu, struct nvml_process list[FAKE_CLAIMS_MAX])
{
    unsigned count = 0;
    fake_reap(f);
    if (f->state->gpus[gpu].pids_hidden)
        return 0;
    for (unsigned i = 0; i < FAKE_CLAIMS_MAX; i++) {
        const struct fake_claim *claim = &f->state->claims[i];
        if (!claim->used || claim->gpu != gpu || !fake_sees(claim))
            continue;
        unsigned at = 0;
        while (at < count && list[at].pid != (unsigned)claim->pid)
            at++;
        if (at == count)
            list[count++] =
                (struct nvml_process){(unsigned)claim->pid, 0, NVML_ABSENT_U32, NVML_ABSENT_U32};
        list[at].used_bytes += claim->bytes;
    }
    return count;
}

int
nvmlDeviceGetComputeRunningProcesses_v3(struct nvml_device *device, unsigned *count,
                                        struct nvml_process *list)
{
    struct nvml_process have[FAKE_CLAIMS_MAX];
    int code;
    ON(device, count)
    unsigned have_count = processes_of(call.fake, call.index, have);
    if (give_list(count, have_count, list, &code) && have_count > 0)
        memcpy(list, have, have_count * sizeof(*have));
    return code;
}

int
nvmlDeviceGetComputeRunningProcesses_v2(struct nvml_device *device, unsigned *count,
                                        struct nvml_process *list)
{
    return nvmlDeviceGetComputeRunningProcesses_v3(device, count, list);
}

int
nvmlDeviceGetComputeRunningProcesses(struct nvml_device *device, unsigned *count,
                                     struct nvml_process_v1 *list)
{
    struct nvml_process have[FAKE_CLAIMS_MAX];
    int code;
    ON(device, count)
    unsigned have_count = processes_of(call.fake, call.index, have);
    if (give_list(count, have_count, list, &code))
        for (unsigned i = 0; list && i < have_count; i++)
            list[i] = (struct nvml_process_v1){have[i].pid, have[i].used_bytes};
    return code;
}

/* No process draws, and MPS is not used. */
#define NO_PROCESSES(name, type)                                                            \
    int nvmlDeviceGet##name(struct nvml_device *device, unsigned *count, struct type *list) \
    {                                                                                       \
        ON(device, count)                                                                   \
        (void)list;                                                                         \
        *count = 0;                                                                         \
        return NVML_SUCCESS;                                                                \
    }

NO_PROCESSES(GraphicsRunningProcesses, nvml_process_v1)
NO_PROCESSES(GraphicsRunningProcesses_v2, nvml_process)
NO_PROCESSES(GraphicsRunningProcesses_v3, nvml_process)
NO_PROCESSES(MPSComputeRunningProcesses, nvml_process_v1)
NO_PROCESSES(MPSComputeRunningProcesses_v2, nvml_process)
NO_PROCESSES(MPSComputeRunningProcesses_v3, nvml_process)

/* All processes of a GPU are equally busy. */
int
nvmlDeviceGetProcessUtilization(struct nvml_device *device, struct nvml_process_utilization *list,
                                unsigned *count, unsigned long long since_us)
{
    struct nvml_process have[FAKE_CLAIMS_MAX];
    int code;
    ON(device, count)
    uint64_t now_us = fake_now_us();
    unsigned have_count = processes_of(call.fake, call.index, have);
    if (have_count == 0 || since_us >= now_us)
        return NVML_ERROR_NOT_FOUND;
    if (!list) {
        *count = have_count;
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    if (give_list(count, have_count, list, &code))
        for (unsigned i = 0; list && i < have_count; i++)
            list[i] = (struct nvml_process_utilization){
                .pid = have[i].pid,
                .time_us = now_us,
                .sm = gpu->gpu_percent / have_count,
                .memory = gpu->memory_percent / have_count,
            };
    return code;
}

int
nvmlDeviceGetAccountingMode(struct nvml_device *device, int *ret_on)
{
    ON(device, ret_on)
    *ret_on = (int)gpu->accounting;
    return NVML_SUCCESS;
}

int
nvmlDeviceSetAccountingMode(struct nvml_device *device, int on)
{
    ON(device, on == 0 || on == 1)
    gpu->accounting = (unsigned)on;
    return NVML_SUCCESS;
}

/* Accounts are kept of the living only. */
int
nvmlDeviceGetAccountingPids(struct nvml_device *device, unsigned *count, unsigned *list)
{
    struct nvml_process have[FAKE_CLAIMS_MAX];
    int code;
    ON(device, count)
    if (!gpu->accounting)
        return NVML_ERROR_NOT_SUPPORTED;
    unsigned have_count = processes_of(call.fake, call.index, have);
    if (give_list(count, have_count, list, &code))
        for (unsigned i = 0; list && i < have_count; i++)
            list[i] = have[i].pid;
    return code;
}

int
nvmlDeviceGetAccountingStats(struct nvml_device *device, unsigned pid,
                             struct nvml_accounting *ret_stats)
{
    struct nvml_process have[FAKE_CLAIMS_MAX];
    ON(device, ret_stats)
    if (!gpu->accounting)
        return NVML_ERROR_NOT_SUPPORTED;
    unsigned have_count = processes_of(call.fake, call.index, have);
    for (unsigned i = 0; i < have_count; i++) {
        if (have[i].pid != pid)
            continue;
        *ret_stats = (struct nvml_accounting){
            .gpu_percent = gpu->gpu_percent / have_count,
            .memory_percent = gpu->memory_percent / have_count,
            .max_bytes = have[i].used_bytes,
            .running = 1,
        };
        return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_FOUND;
}

int
nvmlDeviceGetAccountingBufferSize(struct nvml_device *device, unsigned *ret_count)
{
    ON(device, ret_count)
    return give(ret_count, FAKE_CLAIMS_MAX);
}

int
nvmlDeviceClearAccountingPids(struct nvml_device *device)
{
    ON(device, true)
    return NVML_SUCCESS;
}
