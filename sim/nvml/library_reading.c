/* How busy, how hot, how much power, how fast. */

#include "sim/nvml/library_int.h"

#define READING(name, field)                                           \
    int nvmlDeviceGet##name(struct nvml_device *device, unsigned *ret) \
    {                                                                  \
        ON(device, ret)                                                \
        return give(ret, gpu->field);                                  \
    }

#define ENGINE(name, field)                                                                 \
    int nvmlDeviceGet##name##Utilization(struct nvml_device *device, unsigned *ret_percent, \
                                         unsigned *ret_period_us)                           \
    {                                                                                       \
        ON(device, ret_percent &&ret_period_us)                                             \
        *ret_period_us = 167000;                                                            \
        return give(ret_percent, gpu->field);                                               \
    }

READING(PowerUsage, power_mw)
READING(PowerManagementLimit, limit_mw)
READING(PowerManagementDefaultLimit, default_limit_mw)
READING(EnforcedPowerLimit, limit_mw)
READING(NumFans, fans)
ENGINE(Encoder, encoder_percent)
ENGINE(Decoder, decoder_percent)
ENGINE(Jpg, jpg_percent)
ENGINE(Ofa, ofa_percent)

int
nvmlDeviceGetUtilizationRates(struct nvml_device *device, struct nvml_utilization *ret_utilization)
{
    ON(device, ret_utilization)
    int code = give(&ret_utilization->gpu, gpu->gpu_percent);
    return code ? code : give(&ret_utilization->memory, gpu->memory_percent);
}

int
nvmlDeviceGetTemperature(struct nvml_device *device, int sensor, unsigned *ret_celsius)
{
    ON(device, ret_celsius && sensor == 0)
    return give(ret_celsius, gpu->celsius);
}

int
nvmlDeviceGetTemperatureV(struct nvml_device *device, struct nvml_temperature *temperature)
{
    ON(device, temperature && temperature->sensor == 0)
    if (temperature->version != NVML_VERSION(struct nvml_temperature, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    temperature->celsius = (int)gpu->celsius;
    return gpu->celsius == FAKE_NONE ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}

int
nvmlDeviceGetTemperatureThreshold(struct nvml_device *device, int threshold, unsigned *ret_celsius)
{
    ON(device, ret_celsius)
    switch (threshold) {
    case NVML_THRESHOLD_SHUTDOWN:
        return give(ret_celsius, gpu->shutdown_celsius);
    case NVML_THRESHOLD_SLOWDOWN:
        return give(ret_celsius, gpu->slowdown_celsius);
    case NVML_THRESHOLD_MEMORY_MAX:
        return give(ret_celsius, gpu->memory_max_celsius);
    case NVML_THRESHOLD_GPU_MAX:
        return give(ret_celsius, gpu->max_celsius);
    default:
        return NVML_ERROR_NOT_SUPPORTED;
    }
}

int
nvmlDeviceGetFanSpeed_v2(struct nvml_device *device, unsigned fan, unsigned *ret_percent)
{
    ON(device, ret_percent)
    if (gpu->fans == 0)
        return NVML_ERROR_NOT_SUPPORTED;
    return fan < gpu->fans ? give(ret_percent, gpu->fan_percent) : NVML_ERROR_INVALID_ARGUMENT;
}

int
nvmlDeviceGetFanSpeed(struct nvml_device *device, unsigned *ret_percent)
{
    return nvmlDeviceGetFanSpeed_v2(device, 0, ret_percent);
}

int
nvmlDeviceGetPowerManagementMode(struct nvml_device *device, int *ret_on)
{
    ON(device, ret_on)
    *ret_on = 1;
    return NVML_SUCCESS;
}

int
nvmlDeviceGetPowerManagementLimitConstraints(struct nvml_device *device, unsigned *ret_min_mw,
                                             unsigned *ret_max_mw)
{
    ON(device, ret_min_mw && ret_max_mw)
    int code = give(ret_min_mw, gpu->min_limit_mw);
    return code ? code : give(ret_max_mw, gpu->max_limit_mw);
}

int
nvmlDeviceGetTotalEnergyConsumption(struct nvml_device *device, unsigned long long *ret_mj)
{
    ON(device, ret_mj)
    *ret_mj = gpu->energy_nj / 1000000;
    return NVML_SUCCESS;
}

int
nvmlDeviceGetPerformanceState(struct nvml_device *device, int *ret_state)
{
    ON(device, ret_state)
    *ret_state = (int)gpu->pstate;
    return NVML_SUCCESS;
}

int
nvmlDeviceGetPowerState(struct nvml_device *device, int *ret_state)
{
    return nvmlDeviceGetPerformanceState(device, ret_state);
}

static bool
is_clock(int clock)
{
    return clock >= 0 && clock < FAKE_CLOCKS;
}

/* The clock an application is given, where it is set; memory has one, all others follow graphics. */
static unsigned
app_clock(const struct fake_gpu *gpu, int clock)
{
    unsigned set = clock == NVML_CLOCK_MEMORY ? gpu->app_memory_mhz : gpu->app_graphics_mhz;
    return set ? MIN(set, gpu->max_clock_mhz[clock]) : gpu->max_clock_mhz[clock];
}

static unsigned
present_clock(const struct fake_gpu *gpu, int clock)
{
    const unsigned *locked =
        clock == NVML_CLOCK_MEMORY ? gpu->locked_memory_mhz : gpu->locked_gpu_mhz;
    unsigned mhz = MIN(gpu->clock_mhz[clock], app_clock(gpu, clock));
    if (locked[1] == 0)
        return mhz;
    return MIN(MAX(mhz, locked[0]), MIN(locked[1], gpu->max_clock_mhz[clock]));
}

int
nvmlDeviceGetClock(struct nvml_device *device, int clock, int which, unsigned *ret_mhz)
{
    ON(device, ret_mhz && is_clock(clock))
    switch (which) {
    case NVML_CLOCK_NOW:
        return give(ret_mhz, present_clock(gpu, clock));
    case NVML_CLOCK_APP:
        return give(ret_mhz, app_clock(gpu, clock));
    case NVML_CLOCK_APP_DEFAULT:
    case NVML_CLOCK_BOOST_MAX:
        return give(ret_mhz, gpu->max_clock_mhz[clock]);
    default:
        return NVML_ERROR_INVALID_ARGUMENT;
    }
}

int
nvmlDeviceGetClockInfo(struct nvml_device *device, int clock, unsigned *ret_mhz)
{
    return nvmlDeviceGetClock(device, clock, NVML_CLOCK_NOW, ret_mhz);
}

int
nvmlDeviceGetApplicationsClock(struct nvml_device *device, int clock, unsigned *ret_mhz)
{
    return nvmlDeviceGetClock(device, clock, NVML_CLOCK_APP, ret_mhz);
}

int
nvmlDeviceGetDefaultApplicationsClock(struct nvml_device *device, int clock, unsigned *ret_mhz)
{
    return nvmlDeviceGetClock(device, clock, NVML_CLOCK_APP_DEFAULT, ret_mhz);
}

int
nvmlDeviceGetMaxCustomerBoostClock(struct nvml_device *device, int clock, unsigned *ret_mhz)
{
    return nvmlDeviceGetClock(device, clock, NVML_CLOCK_BOOST_MAX, ret_mhz);
}

int
nvmlDeviceGetMaxClockInfo(struct nvml_device *device, int clock, unsigned *ret_mhz)
{
    ON(device, ret_mhz && is_clock(clock))
    return give(ret_mhz, gpu->max_clock_mhz[clock]);
}

int
nvmlDeviceGetSupportedMemoryClocks(struct nvml_device *device, unsigned *count, unsigned *list)
{
    int code;
    ON(device, count)
    if (give_list(count, 1, list, &code))
        list[0] = gpu->max_clock_mhz[NVML_CLOCK_MEMORY];
    return code;
}

/* From the highest down, as drivers list them: in steps of 15 MHz, eight of them here. */
int
nvmlDeviceGetSupportedGraphicsClocks(struct nvml_device *device, unsigned memory_mhz,
                                     unsigned *count, unsigned *list)
{
    int code;
    ON(device, count)
    if (memory_mhz != gpu->max_clock_mhz[NVML_CLOCK_MEMORY])
        return NVML_ERROR_NOT_FOUND;
    if (give_list(count, 8, list, &code))
        for (unsigned i = 0; i < 8; i++)
            list[i] = gpu->max_clock_mhz[NVML_CLOCK_GRAPHICS] - 15 * i;
    return code;
}

int
nvmlDeviceGetCurrentClocksEventReasons(struct nvml_device *device, unsigned long long *ret_bits)
{
    ON(device, ret_bits)
    *ret_bits = gpu->throttle;
    return NVML_SUCCESS;
}

int
nvmlDeviceGetCurrentClocksThrottleReasons(struct nvml_device *device, unsigned long long *ret_bits)
{
    return nvmlDeviceGetCurrentClocksEventReasons(device, ret_bits);
}

int
nvmlDeviceGetSupportedClocksEventReasons(struct nvml_device *device, unsigned long long *ret_bits)
{
    ON(device, ret_bits)
    *ret_bits = (1u << FAKE_REASONS) - 1;
    return NVML_SUCCESS;
}

int
nvmlDeviceGetSupportedClocksThrottleReasons(struct nvml_device *device,
                                            unsigned long long *ret_bits)
{
    return nvmlDeviceGetSupportedClocksEventReasons(device, ret_bits);
}
