/* The numbers of reading.def, lane by lane. */

#include "gpu/inventory_int.h"

#include "base/buf.h"
#include "sys/files.h"

#include <stdlib.h>
#include <string.h>

bool
reader_ok(struct reader *r, int code)
{
    if (code == NVML_ERROR_GPU_IS_LOST || code == NVML_ERROR_RESET_REQUIRED ||
        code == NVML_ERROR_INSUFFICIENT_POWER || code == NVML_ERROR_IRQ_ISSUE)
        r->gpu->trouble = code;
    return code == NVML_SUCCESS;
}

/* Drivers leak their marks for "none": all ones, and a few values at the top of int64_t. */
void
reader_take(struct reader *r, int code, struct gpu_value *value, uint64_t n)
{
    if (reader_ok(r, code) && n < (uint64_t)INT64_MAX - 15)
        *value = (struct gpu_value){n, true};
}

/* Fields, many in one call. */
struct field {
    unsigned id;
    struct gpu_value *value;
};

#define FIELDS_MAX 16

static uint64_t
field_u64(const struct nvml_field *field)
{
    switch ((enum nvml_value_type)field->type) {
    case NVML_UNSIGNED:
        return field->value.u32 == NVML_ABSENT_U32 ? NVML_ABSENT_U64 : field->value.u32;
    case NVML_UNSIGNED_LONG:
    case NVML_UNSIGNED_LONG_LONG:
    case NVML_SIGNED_LONG_LONG: /* a negative one is past what reader_take() believes */
        return field->value.u64;
    case NVML_SIGNED:
        return field->value.i32 < 0 ? NVML_ABSENT_U64 : (uint64_t)field->value.i32;
    case NVML_UNSIGNED_SHORT:
        return field->value.u16;
    case NVML_DOUBLE:
    default:
        return NVML_ABSENT_U64;
    }
}

static void
take_fields(struct reader *r, const struct field *fields, size_t count)
{
    struct nvml_field answers[FIELDS_MAX] = {0};
    assert(count <= FIELDS_MAX);
    for (size_t i = 0; i < count; i++)
        answers[i].id = fields[i].id;
    if (!reader_ok(r, ask(r, DeviceGetFieldValues, (int)count, answers)))
        return;
    for (size_t i = 0; i < count; i++)
        if (answers[i].code == NVML_SUCCESS)
            reader_take(r, NVML_SUCCESS, fields[i].value, field_u64(&answers[i]));
}

/* ---- once ---- */

static void
take_compute_capability(struct reader *r)
{
    int major = 0, minor = 0;
    int code = ask(r, DeviceGetCudaComputeCapability, &major, &minor);
    reader_take(r, code, &r->gpu->cuda_major, (uint64_t)major);
    reader_take(r, code, &r->gpu->cuda_minor, (uint64_t)minor);
}

static void
take_power_bounds(struct reader *r)
{
    unsigned least = 0, most = 0;
    int code = ask(r, DeviceGetPowerManagementLimitConstraints, &least, &most);
    reader_take(r, code, &r->gpu->power_min_limit_mw, least);
    reader_take(r, code, &r->gpu->power_max_limit_mw, most);
    take(r, unsigned, power_default_limit_mw, DeviceGetPowerManagementDefaultLimit);
}

static void
take_affinity(struct reader *r)
{
    unsigned long cpus[ARRAY_SIZE(r->gpu->cpus)] = {0}, nodes[1] = {0};
    if (reader_ok(r, ask(r, DeviceGetCpuAffinity, ARRAY_SIZE(cpus), cpus)))
        memcpy(r->gpu->cpus, cpus, sizeof(cpus));
    int code = ask(r, DeviceGetMemoryAffinity, ARRAY_SIZE(nodes), nodes, NVML_AFFINITY_NODE);
    if (nodes[0])
        reader_take(r, code, &r->gpu->numa_node, (uint64_t)__builtin_ctzl(nodes[0]));
}

void
read_once(struct reader *r)
{
    const struct field fields[] = {
        {NVML_FIELD_LINK_COUNT, &r->gpu->links},
        {NVML_FIELD_LINK_SPEED, &r->gpu->link_mbs},
    };
    take(r, unsigned, minor, DeviceGetMinorNumber);
    take(r, unsigned, architecture, DeviceGetArchitecture);
    take(r, unsigned, cores, DeviceGetNumGpuCores);
    take(r, unsigned, bus_width_bits, DeviceGetMemoryBusWidth);
    take(r, unsigned, fans, DeviceGetNumFans);
    take(r, unsigned, slowdown_celsius, DeviceGetTemperatureThreshold, NVML_THRESHOLD_SLOWDOWN);
    take(r, unsigned, shutdown_celsius, DeviceGetTemperatureThreshold, NVML_THRESHOLD_SHUTDOWN);
    take(r, unsigned, max_celsius, DeviceGetTemperatureThreshold, NVML_THRESHOLD_GPU_MAX);
    take(r, unsigned, memory_max_celsius, DeviceGetTemperatureThreshold, NVML_THRESHOLD_MEMORY_MAX);
    take(r, unsigned, max_graphics_mhz, DeviceGetMaxClockInfo, NVML_CLOCK_GRAPHICS);
    take(r, unsigned, max_sm_mhz, DeviceGetMaxClockInfo, NVML_CLOCK_SM);
    take(r, unsigned, max_memory_mhz, DeviceGetMaxClockInfo, NVML_CLOCK_MEMORY);
    take(r, unsigned, pcie_max_generation, DeviceGetMaxPcieLinkGeneration);
    take(r, unsigned, pcie_max_lanes, DeviceGetMaxPcieLinkWidth);
    take_compute_capability(r);
    take_power_bounds(r);
    take_affinity(r);
    take_fields(r, fields, ARRAY_SIZE(fields));
}

/* ---- fast ---- */

/* A line of /proc/meminfo, in bytes. */
static bool
read_meminfo(const char *text, const char *name, uint64_t *ret_bytes)
{
    const char *line = strstr(text, name);
    *ret_bytes = line ? strtoull(line + strlen(name), NULL, 10) * KIB : 0;
    return *ret_bytes > 0;
}

/* Some GPUs have no memory of their own: then the host's is what there is. */
static void
take_host_memory(struct reader *r)
{
    _cleanup_buf_ struct buf text = BUF_INIT(64 * KIB);
    uint64_t total, available;
    if (file_read("/proc/meminfo", &text, NULL) < 0 ||
        !read_meminfo(text.data, "MemTotal:", &total) ||
        !read_meminfo(text.data, "MemAvailable:", &available) || available > total)
        return;
    r->gpu->unified = true;
    reader_take(r, NVML_SUCCESS, &r->gpu->memory_total_bytes, total);
    reader_take(r, NVML_SUCCESS, &r->gpu->memory_used_bytes, total - available);
    reader_take(r, NVML_SUCCESS, &r->gpu->memory_free_bytes, available);
}

static bool
is_missing(int code)
{
    return code == NVML_ERROR_FUNCTION_NOT_FOUND || code == NVML_ERROR_NOT_SUPPORTED ||
           code == NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
}

static void
take_memory(struct reader *r)
{
    struct nvml_memory_v2 memory = {.version = NVML_VERSION(struct nvml_memory_v2, 2)};
    struct nvml_memory old = {0};
    int code = ask(r, DeviceGetMemoryInfo_v2, &memory);
    bool is_old = is_missing(code);
    if (is_old) {
        code = ask(r, DeviceGetMemoryInfo, &old);
        memory.total = old.total;
        memory.used = old.used;
        memory.free = old.free;
    }
    if (is_missing(code) || (code == NVML_SUCCESS && memory.total == 0)) {
        take_host_memory(r);
        return;
    }
    reader_take(r, code, &r->gpu->memory_total_bytes, memory.total);
    reader_take(r, code, &r->gpu->memory_used_bytes, memory.used);
    reader_take(r, code, &r->gpu->memory_free_bytes, memory.free);
    if (!is_old)
        reader_take(r, code, &r->gpu->memory_reserved_bytes, memory.reserved);
}

static void
take_utilization(struct reader *r)
{
    struct nvml_utilization utilization = {0};
    unsigned percent = 0, period;
    int code = ask(r, DeviceGetUtilizationRates, &utilization);
    reader_take(r, code, &r->gpu->gpu_percent, utilization.gpu);
    reader_take(r, code, &r->gpu->memory_percent, utilization.memory);
    code = ask(r, DeviceGetEncoderUtilization, &percent, &period);
    reader_take(r, code, &r->gpu->encoder_percent, percent);
    code = ask(r, DeviceGetDecoderUtilization, &percent, &period);
    reader_take(r, code, &r->gpu->decoder_percent, percent);
}

/* The new name of the call, or the old. */
static void
take_throttle(struct reader *r)
{
    unsigned long long bits = 0;
    int code = ask(r, DeviceGetCurrentClocksEventReasons, &bits);
    if (code == NVML_ERROR_FUNCTION_NOT_FOUND)
        code = ask(r, DeviceGetCurrentClocksThrottleReasons, &bits);
    reader_take(r, code, &r->gpu->throttle_bits, bits);
}

void
read_fast(struct reader *r)
{
    struct gpu *gpu = r->gpu;
    const struct field fields[] = {
        {NVML_FIELD_MEMORY_TEMPERATURE, &gpu->memory_temperature_celsius},
        {NVML_FIELD_POWER_INSTANT, &gpu->power_instant_mw},
        {NVML_FIELD_THROTTLED_POWER_CAP, &gpu->throttled_power_cap_ns_total},
        {NVML_FIELD_THROTTLED_SYNC_BOOST, &gpu->throttled_sync_boost_ns_total},
        {NVML_FIELD_THROTTLED_SW_THERMAL, &gpu->throttled_sw_thermal_ns_total},
        {NVML_FIELD_THROTTLED_HW_THERMAL, &gpu->throttled_hw_thermal_ns_total},
        {NVML_FIELD_THROTTLED_POWER_BRAKE, &gpu->throttled_power_brake_ns_total},
    };
    take_memory(r);
    take_utilization(r);
    take(r, unsigned, temperature_celsius, DeviceGetTemperature, 0);
    take(r, unsigned, power_mw, DeviceGetPowerUsage);
    take(r, unsigned long long, energy_mj_total, DeviceGetTotalEnergyConsumption);
    take(r, unsigned, graphics_mhz, DeviceGetClockInfo, NVML_CLOCK_GRAPHICS);
    take(r, unsigned, sm_mhz, DeviceGetClockInfo, NVML_CLOCK_SM);
    take(r, unsigned, memory_mhz, DeviceGetClockInfo, NVML_CLOCK_MEMORY);
    take(r, int, performance_state, DeviceGetPerformanceState);
    take_throttle(r);
    take_fields(r, fields, ARRAY_SIZE(fields));
}

/* ---- slow ---- */

static void
take_modes(struct reader *r)
{
    int ecc = 0, ecc_pending = 0;
    unsigned mig = 0, mig_pending = 0;
    take(r, int, persistence, DeviceGetPersistenceMode);
    take(r, int, compute_mode, DeviceGetComputeMode);
    int code = ask(r, DeviceGetEccMode, &ecc, &ecc_pending);
    reader_take(r, code, &r->gpu->ecc, (uint64_t)ecc);
    reader_take(r, code, &r->gpu->ecc_pending, (uint64_t)ecc_pending);
    code = ask(r, DeviceGetMigMode, &mig, &mig_pending);
    reader_take(r, code, &r->gpu->mig, mig);
    reader_take(r, code, &r->gpu->mig_pending, mig_pending);
}

static void
take_retired(struct reader *r, enum nvml_retired_cause cause, struct gpu_value *value)
{
    unsigned count = 0;
    int code = ask(r, DeviceGetRetiredPages, cause, &count, NULL);
    reader_take(r, code == NVML_ERROR_INSUFFICIENT_SIZE ? NVML_SUCCESS : code, value, count);
}

static void
take_memory_errors(struct reader *r)
{
    struct gpu *gpu = r->gpu;
    unsigned correctable = 0, uncorrectable = 0, pending = 0, failed = 0;
    take(r, unsigned long long, ecc_corrected_total, DeviceGetTotalEccErrors, NVML_ECC_CORRECTED,
         NVML_ECC_VOLATILE);
    take(r, unsigned long long, ecc_uncorrected_total, DeviceGetTotalEccErrors,
         NVML_ECC_UNCORRECTED, NVML_ECC_VOLATILE);
    take(r, unsigned long long, ecc_corrected_lifetime, DeviceGetTotalEccErrors, NVML_ECC_CORRECTED,
         NVML_ECC_AGGREGATE);
    take(r, unsigned long long, ecc_uncorrected_lifetime, DeviceGetTotalEccErrors,
         NVML_ECC_UNCORRECTED, NVML_ECC_AGGREGATE);
    take_retired(r, NVML_RETIRED_SINGLE_BIT, &gpu->retired_pages_single_bit);
    take_retired(r, NVML_RETIRED_DOUBLE_BIT, &gpu->retired_pages_double_bit);
    take(r, int, retired_pending, DeviceGetRetiredPagesPendingStatus);
    int code = ask(r, DeviceGetRemappedRows, &correctable, &uncorrectable, &pending, &failed);
    reader_take(r, code, &gpu->remapped_rows_correctable, correctable);
    reader_take(r, code, &gpu->remapped_rows_uncorrectable, uncorrectable);
    reader_take(r, code, &gpu->remap_pending, pending);
    reader_take(r, code, &gpu->remap_failed, failed);
}

static void
take_pcie(struct reader *r)
{
    struct nvml_bar1 bar1 = {0};
    int code = ask(r, DeviceGetBAR1MemoryInfo, &bar1);
    reader_take(r, code, &r->gpu->bar1_total_bytes, bar1.total);
    reader_take(r, code, &r->gpu->bar1_used_bytes, bar1.used);
    take(r, unsigned, pcie_generation, DeviceGetCurrPcieLinkGeneration);
    take(r, unsigned, pcie_lanes, DeviceGetCurrPcieLinkWidth);
    take(r, unsigned, pcie_replays_total, DeviceGetPcieReplayCounter);
    take(r, unsigned, pcie_sent_kbs, DeviceGetPcieThroughput, NVML_PCIE_SENT);
    take(r, unsigned, pcie_received_kbs, DeviceGetPcieThroughput, NVML_PCIE_RECEIVED);
}

/* Links are numbered without a gap; the first that is not supported ends them. */
static void
take_links_up(struct reader *r)
{
    uint64_t up = 0;
    int on;
    for (unsigned link = 0; link < NVML_LINKS_MAX; link++) {
        on = 0;
        int code = ask(r, DeviceGetNvLinkState, link, &on);
        if (!reader_ok(r, code))
            return;
        up += on == 1;
        reader_take(r, code, &r->gpu->links_up, up);
    }
}

void
read_slow(struct reader *r)
{
    const struct field fields[] = {
        {NVML_FIELD_RECOVERY_ACTION, &r->gpu->recovery_action},
        {NVML_FIELD_LINK_CRC_FLIT_TOTAL, &r->gpu->link_crc_flit_errors_total},
        {NVML_FIELD_LINK_CRC_DATA_TOTAL, &r->gpu->link_crc_data_errors_total},
        {NVML_FIELD_LINK_REPLAY_TOTAL, &r->gpu->link_replays_total},
        {NVML_FIELD_LINK_RECOVERY_TOTAL, &r->gpu->link_recoveries_total},
    };
    take(r, unsigned, fan_percent, DeviceGetFanSpeed);
    take(r, unsigned, power_limit_mw, DeviceGetPowerManagementLimit);
    take(r, unsigned, power_enforced_limit_mw, DeviceGetEnforcedPowerLimit);
    take_modes(r);
    take_memory_errors(r);
    take_pcie(r);
    take_links_up(r);
    take_fields(r, fields, ARRAY_SIZE(fields));
    read_processes(r);
}
