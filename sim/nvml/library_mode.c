/* How a GPU is set. */

#include "sim/nvml/library_int.h"

int
nvmlDeviceGetPersistenceMode(struct nvml_device *device, int *ret_on)
{
    ON(device, ret_on)
    *ret_on = (int)gpu->persistence;
    return NVML_SUCCESS;
}

int
nvmlDeviceSetPersistenceMode(struct nvml_device *device, int on)
{
    ON(device, on == 0 || on == 1)
    gpu->persistence = (unsigned)on;
    return NVML_SUCCESS;
}

int
nvmlDeviceGetComputeMode(struct nvml_device *device, int *ret_mode)
{
    ON(device, ret_mode)
    *ret_mode = (int)gpu->compute_mode;
    return NVML_SUCCESS;
}

int
nvmlDeviceSetComputeMode(struct nvml_device *device, int mode)
{
    ON(device, mode >= NVML_COMPUTE_SHARED && mode <= NVML_COMPUTE_EXCLUSIVE)
    if (mode == NVML_COMPUTE_EXCLUSIVE_THREAD)
        return NVML_ERROR_NOT_SUPPORTED;
    gpu->compute_mode = (unsigned)mode;
    return NVML_SUCCESS;
}

int
nvmlDeviceGetEccMode(struct nvml_device *device, int *ret_on, int *ret_pending)
{
    ON(device, ret_on && ret_pending)
    if (gpu->ecc == FAKE_NONE)
        return NVML_ERROR_NOT_SUPPORTED;
    *ret_on = (int)gpu->ecc;
    *ret_pending = (int)gpu->ecc_pending;
    return NVML_SUCCESS;
}

/* Takes effect at the next boot. */
int
nvmlDeviceSetEccMode(struct nvml_device *device, int on)
{
    ON(device, on == 0 || on == 1)
    if (gpu->ecc == FAKE_NONE)
        return NVML_ERROR_NOT_SUPPORTED;
    gpu->ecc_pending = (unsigned)on;
    return NVML_SUCCESS;
}

int
nvmlDeviceGetDefaultEccMode(struct nvml_device *device, int *ret_on)
{
    ON(device, ret_on)
    *ret_on = 1;
    return gpu->ecc == FAKE_NONE ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}

int
nvmlDeviceGetMigMode(struct nvml_device *device, unsigned *ret_on, unsigned *ret_pending)
{
    ON(device, ret_on && ret_pending)
    int code = give(ret_on, gpu->mig);
    return code ? code : give(ret_pending, gpu->mig_pending);
}

/* At once when nobody uses the GPU; else it stays pending. */
int
nvmlDeviceSetMigMode(struct nvml_device *device, unsigned on, int *ret_activation)
{
    struct fake_memory memory;
    ON(device, ret_activation && on <= 1)
    if (gpu->mig == FAKE_NONE)
        return NVML_ERROR_NOT_SUPPORTED;
    fake_memory_locked(call.fake, call.index, &memory);
    gpu->mig_pending = on;
    *ret_activation = memory.used_bytes > 0 ? NVML_ERROR_IN_USE : NVML_SUCCESS;
    if (*ret_activation == NVML_SUCCESS)
        gpu->mig = on;
    return NVML_SUCCESS;
}

int
nvmlDeviceGetMaxMigDeviceCount(struct nvml_device *device, unsigned *ret_count)
{
    ON(device, ret_count)
    return give(ret_count, gpu->mig == FAKE_NONE ? 0 : 7);
}

int
nvmlDeviceIsMigDeviceHandle(struct nvml_device *device, unsigned *ret_is)
{
    ON(device, ret_is)
    return give(ret_is, 0);
}

int
nvmlDeviceSetPowerManagementLimit(struct nvml_device *device, unsigned mw)
{
    ON(device, mw >= gpu->min_limit_mw && mw <= gpu->max_limit_mw)
    gpu->limit_mw = mw;
    return NVML_SUCCESS;
}

int
nvmlDeviceSetApplicationsClocks(struct nvml_device *device, unsigned memory_mhz,
                                unsigned graphics_mhz)
{
    ON(device, memory_mhz == gpu->max_clock_mhz[NVML_CLOCK_MEMORY] && graphics_mhz > 0)
    if (graphics_mhz > gpu->max_clock_mhz[NVML_CLOCK_GRAPHICS])
        return NVML_ERROR_FREQ_NOT_SUPPORTED;
    gpu->app_memory_mhz = memory_mhz;
    gpu->app_graphics_mhz = graphics_mhz;
    return NVML_SUCCESS;
}

int
nvmlDeviceResetApplicationsClocks(struct nvml_device *device)
{
    ON(device, true)
    gpu->app_memory_mhz = gpu->app_graphics_mhz = 0;
    return NVML_SUCCESS;
}

static void
lock_clocks(unsigned locked[2], unsigned min_mhz, unsigned max_mhz)
{
    locked[0] = min_mhz;
    locked[1] = max_mhz;
}

int
nvmlDeviceSetGpuLockedClocks(struct nvml_device *device, unsigned min_mhz, unsigned max_mhz)
{
    ON(device, max_mhz > 0 && min_mhz <= max_mhz)
    lock_clocks(gpu->locked_gpu_mhz, min_mhz, max_mhz);
    return NVML_SUCCESS;
}

int
nvmlDeviceResetGpuLockedClocks(struct nvml_device *device)
{
    ON(device, true)
    lock_clocks(gpu->locked_gpu_mhz, 0, 0);
    return NVML_SUCCESS;
}

int
nvmlDeviceSetMemoryLockedClocks(struct nvml_device *device, unsigned min_mhz, unsigned max_mhz)
{
    ON(device, max_mhz > 0 && min_mhz <= max_mhz)
    lock_clocks(gpu->locked_memory_mhz, min_mhz, max_mhz);
    return NVML_SUCCESS;
}

int
nvmlDeviceResetMemoryLockedClocks(struct nvml_device *device)
{
    ON(device, true)
    lock_clocks(gpu->locked_memory_mhz, 0, 0);
    return NVML_SUCCESS;
}
