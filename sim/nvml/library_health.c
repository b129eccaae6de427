/* Memory errors, what was done about them, and the fields that tell many things at once. */

#include "sim/nvml/library_int.h"

#include <string.h>

static bool
is_ecc(int kind, int span)
{
    return kind >= 0 && kind <= NVML_ECC_UNCORRECTED && span >= 0 && span <= NVML_ECC_AGGREGATE;
}

static uint64_t
ecc_total(const struct fake_gpu *gpu, int kind, int span)
{
    uint64_t total = 0;
    for (unsigned place = 0; place < FAKE_PLACES; place++)
        total += gpu->ecc_errors[kind][span][place];
    return total;
}

int
nvmlDeviceGetTotalEccErrors(struct nvml_device *device, int kind, int span,
                            unsigned long long *ret_count)
{
    ON(device, ret_count && is_ecc(kind, span))
    if (gpu->ecc != 1)
        return NVML_ERROR_NOT_SUPPORTED;
    *ret_count = ecc_total(gpu, kind, span);
    return NVML_SUCCESS;
}

int
nvmlDeviceGetMemoryErrorCounter(struct nvml_device *device, int kind, int span, int place,
                                unsigned long long *ret_count)
{
    ON(device, ret_count && is_ecc(kind, span) && place >= 0 && place < FAKE_PLACES)
    if (gpu->ecc != 1)
        return NVML_ERROR_NOT_SUPPORTED;
    *ret_count = gpu->ecc_errors[kind][span][place];
    return NVML_SUCCESS;
}

int
nvmlDeviceGetDetailedEccErrors(struct nvml_device *device, int kind, int span,
                               struct nvml_ecc_detail *ret_detail)
{
    ON(device, ret_detail && is_ecc(kind, span))
    if (gpu->ecc != 1)
        return NVML_ERROR_NOT_SUPPORTED;
    const uint64_t *errors = gpu->ecc_errors[kind][span];
    *ret_detail = (struct nvml_ecc_detail){errors[NVML_ECC_L1], errors[NVML_ECC_L2],
                                           errors[NVML_ECC_DRAM], errors[NVML_ECC_REGISTERS]};
    return NVML_SUCCESS;
}

int
nvmlDeviceClearEccErrorCounts(struct nvml_device *device, int span)
{
    ON(device, is_ecc(0, span))
    if (gpu->ecc != 1)
        return NVML_ERROR_NOT_SUPPORTED;
    for (int kind = 0; kind <= NVML_ECC_UNCORRECTED; kind++)
        memset(gpu->ecc_errors[kind][span], 0, sizeof(gpu->ecc_errors[kind][span]));
    return NVML_SUCCESS;
}

/* A GPU remaps rows or retires pages. */
static bool
remaps(const struct fake_gpu *gpu)
{
    return gpu->retired_count[0] == FAKE_NONE;
}

int
nvmlDeviceGetRetiredPages_v2(struct nvml_device *device, int cause, unsigned *count,
                             unsigned long long *addresses, unsigned long long *times)
{
    int code;
    ON(device, count && cause >= 0 && cause <= NVML_RETIRED_DOUBLE_BIT)
    if (remaps(gpu))
        return NVML_ERROR_NOT_SUPPORTED;
    unsigned have = MIN(gpu->retired_count[cause], (unsigned)FAKE_PAGES_MAX);
    if (give_list(count, have, addresses, &code))
        for (unsigned i = 0; i < have; i++) {
            addresses[i] = gpu->retired_pages[cause][i];
            if (times)
                times[i] = 0;
        }
    return code;
}

int
nvmlDeviceGetRetiredPages(struct nvml_device *device, int cause, unsigned *count,
                          unsigned long long *addresses)
{
    return nvmlDeviceGetRetiredPages_v2(device, cause, count, addresses, NULL);
}

int
nvmlDeviceGetRetiredPagesPendingStatus(struct nvml_device *device, int *ret_pending)
{
    ON(device, ret_pending)
    *ret_pending = (int)gpu->retired_pending;
    return remaps(gpu) ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}

int
nvmlDeviceGetRemappedRows(struct nvml_device *device, unsigned *ret_correctable,
                          unsigned *ret_uncorrectable, unsigned *ret_pending, unsigned *ret_failed)
{
    ON(device, ret_correctable && ret_uncorrectable && ret_pending && ret_failed)
    if (!remaps(gpu))
        return NVML_ERROR_NOT_SUPPORTED;
    *ret_correctable = gpu->remapped_correctable;
    *ret_uncorrectable = gpu->remapped_uncorrectable;
    *ret_pending = gpu->remap_pending;
    *ret_failed = gpu->remap_failed;
    return NVML_SUCCESS;
}

/* Banks by how many of their spare rows are left: an H100 has 640. */
int
nvmlDeviceGetRowRemapperHistogram(struct nvml_device *device,
                                  struct nvml_remap_histogram *ret_histogram)
{
    ON(device, ret_histogram)
    if (!remaps(gpu))
        return NVML_ERROR_NOT_SUPPORTED;
    unsigned used = gpu->remapped_correctable + gpu->remapped_uncorrectable;
    *ret_histogram = (struct nvml_remap_histogram){.max = 640 - MIN(used, 640u), .high = used};
    return NVML_SUCCESS;
}

static uint64_t
throttled_ns(const struct fake_gpu *gpu, uint64_t reason)
{
    return gpu->throttled_ns[__builtin_ctzll(reason)];
}

int
nvmlDeviceGetViolationStatus(struct nvml_device *device, int policy,
                             struct nvml_violation *ret_violation)
{
    static const uint64_t reasons[] = {
        [NVML_POLICY_POWER] = NVML_THROTTLE_POWER_CAP,
        [NVML_POLICY_THERMAL] = NVML_THROTTLE_SW_THERMAL,
        [NVML_POLICY_SYNC_BOOST] = NVML_THROTTLE_SYNC_BOOST,
        [NVML_POLICY_BOARD_LIMIT] = NVML_THROTTLE_POWER_BRAKE,
    };
    ON(device, ret_violation && policy >= 0)
    if (policy >= (int)ARRAY_SIZE(reasons))
        return NVML_ERROR_NOT_SUPPORTED;
    *ret_violation = (struct nvml_violation){fake_now_us(), throttled_ns(gpu, reasons[policy])};
    return NVML_SUCCESS;
}

static uint64_t
link_total(const struct fake_gpu *gpu, enum nvml_link_error error)
{
    uint64_t total = 0;
    for (unsigned link = 0; link < gpu->links; link++)
        total += gpu->link_errors[link][error];
    return total;
}

static int
tell(uint64_t *ret_value, bool has, uint64_t value)
{
    *ret_value = value;
    return has ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

static int
field_value(const struct fake_gpu *gpu, unsigned id, unsigned scope, uint64_t *ret_value)
{
    bool has_ecc = gpu->ecc == 1, has_links = gpu->links > 0, retires = !remaps(gpu);
    switch (id) {
    case NVML_FIELD_ECC_MODE:
        return tell(ret_value, gpu->ecc != FAKE_NONE, gpu->ecc);
    case NVML_FIELD_ECC_MODE_PENDING:
        return tell(ret_value, gpu->ecc != FAKE_NONE, gpu->ecc_pending);
    case NVML_FIELD_ECC_CORRECTED_VOLATILE:
        return tell(ret_value, has_ecc, ecc_total(gpu, NVML_ECC_CORRECTED, NVML_ECC_VOLATILE));
    case NVML_FIELD_ECC_UNCORRECTED_VOLATILE:
        return tell(ret_value, has_ecc, ecc_total(gpu, NVML_ECC_UNCORRECTED, NVML_ECC_VOLATILE));
    case NVML_FIELD_ECC_CORRECTED_AGGREGATE:
        return tell(ret_value, has_ecc, ecc_total(gpu, NVML_ECC_CORRECTED, NVML_ECC_AGGREGATE));
    case NVML_FIELD_ECC_UNCORRECTED_AGGREGATE:
        return tell(ret_value, has_ecc, ecc_total(gpu, NVML_ECC_UNCORRECTED, NVML_ECC_AGGREGATE));
    case NVML_FIELD_RETIRED_SINGLE_BIT:
        return tell(ret_value, retires, gpu->retired_count[NVML_RETIRED_SINGLE_BIT]);
    case NVML_FIELD_RETIRED_DOUBLE_BIT:
        return tell(ret_value, retires, gpu->retired_count[NVML_RETIRED_DOUBLE_BIT]);
    case NVML_FIELD_RETIRED_PENDING:
        return tell(ret_value, retires, gpu->retired_pending);
    case NVML_FIELD_LINK_CRC_FLIT_TOTAL:
        return tell(ret_value, has_links, link_total(gpu, NVML_LINK_CRC_FLIT));
    case NVML_FIELD_LINK_CRC_DATA_TOTAL:
        return tell(ret_value, has_links, link_total(gpu, NVML_LINK_CRC_DATA));
    case NVML_FIELD_LINK_REPLAY_TOTAL:
        return tell(ret_value, has_links, link_total(gpu, NVML_LINK_REPLAY));
    case NVML_FIELD_LINK_RECOVERY_TOTAL:
        return tell(ret_value, has_links, link_total(gpu, NVML_LINK_RECOVERY));
    case NVML_FIELD_LINK_SPEED:
        return tell(ret_value, has_links, gpu->link_mbs);
    case NVML_FIELD_LINK_COUNT:
        return tell(ret_value, has_links, gpu->links);
    case NVML_FIELD_LINK_STATE:
        return tell(ret_value, scope < gpu->links, !gpu->link_down[scope % FAKE_LINKS_MAX]);
    case NVML_FIELD_MEMORY_TEMPERATURE:
        return tell(ret_value, gpu->memory_celsius != FAKE_NONE, gpu->memory_celsius);
    case NVML_FIELD_ENERGY:
        return tell(ret_value, true, gpu->energy_nj / 1000000);
    case NVML_FIELD_PCIE_REPLAY:
        return tell(ret_value, true, gpu->pcie_replays);
    case NVML_FIELD_REMAPPED_CORRECTABLE:
        return tell(ret_value, remaps(gpu), gpu->remapped_correctable);
    case NVML_FIELD_REMAPPED_UNCORRECTABLE:
        return tell(ret_value, remaps(gpu), gpu->remapped_uncorrectable);
    case NVML_FIELD_REMAPPED_PENDING:
        return tell(ret_value, remaps(gpu), gpu->remap_pending);
    case NVML_FIELD_REMAPPED_FAILURE:
        return tell(ret_value, remaps(gpu), gpu->remap_failed);
    case NVML_FIELD_POWER_AVERAGE:
    case NVML_FIELD_POWER_INSTANT:
        return tell(ret_value, gpu->power_mw != FAKE_NONE, gpu->power_mw);
    case NVML_FIELD_RECOVERY_ACTION:
        return tell(ret_value, true, gpu->recovery);
    case NVML_FIELD_THROTTLED_POWER_CAP:
        return tell(ret_value, true, throttled_ns(gpu, NVML_THROTTLE_POWER_CAP));
    case NVML_FIELD_THROTTLED_SYNC_BOOST:
        return tell(ret_value, true, throttled_ns(gpu, NVML_THROTTLE_SYNC_BOOST));
    case NVML_FIELD_THROTTLED_SW_THERMAL:
        return tell(ret_value, true, throttled_ns(gpu, NVML_THROTTLE_SW_THERMAL));
    case NVML_FIELD_THROTTLED_HW_THERMAL:
        return tell(ret_value, true, throttled_ns(gpu, NVML_THROTTLE_HW_THERMAL));
    case NVML_FIELD_THROTTLED_POWER_BRAKE:
        return tell(ret_value, true, throttled_ns(gpu, NVML_THROTTLE_POWER_BRAKE));
    default:
        return NVML_ERROR_NOT_SUPPORTED;
    }
}

int
nvmlDeviceGetFieldValues(struct nvml_device *device, int count, struct nvml_field *fields)
{
    ON(device, fields && count > 0)
    for (int i = 0; i < count; i++) {
        uint64_t value = 0;
        fields[i].time_us = (int64_t)fake_now_us();
        fields[i].latency_us = 0;
        fields[i].code = field_value(gpu, fields[i].id, fields[i].scope, &value);
        fields[i].type = NVML_UNSIGNED_LONG_LONG;
        fields[i].value.u64 = value;
    }
    return NVML_SUCCESS;
}
