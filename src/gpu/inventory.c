#include "gpu/inventory.h"

#include "base/mem.h"
#include "base/quantity.h"
#include "base/text.h"
#include "gpu/inventory_int.h"
#include "sys/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct gpu_reading gpu_readings[] = {
#define GPU_READING(field, LANE, help) {#field, GPU_##LANE, offsetof(struct gpu, field), help},
#include "gpu/reading.def"
#undef GPU_READING
    {0},
};

struct gpu_value
gpu_reading_of(const struct gpu *gpu, const struct gpu_reading *reading)
{
    return *(const struct gpu_value *)((const char *)gpu + reading->at);
}

/* 00000000:3B:00.0 in the driver's form; here as the kernel writes it. */
static void
read_bus_id(struct reader *r)
{
    struct nvml_pci pci = {0};
    int code = ask(r, DeviceGetPciInfo_v3, &pci);
    if (code == NVML_ERROR_FUNCTION_NOT_FOUND)
        code = ask(r, DeviceGetPciInfo_v2, &pci);
    if (reader_ok(r, code))
        (void)snprintf(r->gpu->bus_id, sizeof(r->gpu->bus_id), "%04x:%02x:%02x.0",
                       pci.domain & 0xFFFFFF, pci.bus & 0xFF, pci.device & 0xFF);
}

/* Texts stay empty where there are none. */
static void
read_names(struct reader *r)
{
    struct gpu *gpu = r->gpu;
    (void)reader_ok(r, ask(r, DeviceGetUUID, gpu->uuid, sizeof(gpu->uuid)));
    (void)reader_ok(r, ask(r, DeviceGetName, gpu->name, sizeof(gpu->name)));
    (void)reader_ok(r, ask(r, DeviceGetSerial, gpu->serial, sizeof(gpu->serial)));
    (void)reader_ok(r, ask(r, DeviceGetVbiosVersion, gpu->vbios, sizeof(gpu->vbios)));
    read_bus_id(r);
}

static struct nvml_device *
read_gpu(struct nvml *nvml, unsigned lanes, struct gpu *gpu)
{
    struct reader r = {.nvml = nvml, .gpu = gpu};
    int code = nvml_call(nvml, DeviceGetHandleByIndex_v2, gpu->index, &r.device);
    if (code != NVML_SUCCESS) {
        gpu->trouble = code;
        return NULL;
    }
    read_names(&r);
    if (lanes & GPU_ONCE)
        read_once(&r);
    if (lanes & GPU_FAST)
        read_fast(&r);
    if (lanes & GPU_SLOW)
        read_slow(&r);
    return r.device;
}

static void
read_pairs(struct nvml *nvml, struct nvml_device *const *devices, struct gpu_inventory *inventory)
{
    for (size_t i = 0; i < inventory->count; i++)
        for (size_t k = 0; k < inventory->count; k++) {
            int level = 0, status = -1;
            if (i == k || !devices[i] || !devices[k] || inventory->gpus[i].trouble ||
                inventory->gpus[k].trouble ||
                nvml_call(nvml, DeviceGetTopologyCommonAncestor, devices[i], devices[k], &level) !=
                    NVML_SUCCESS)
                continue;
            int code = nvml_call(nvml, DeviceGetP2PStatus, devices[i], devices[k], NVML_P2P_NVLINK,
                                 &status);
            inventory->pairs[i][k].known = true;
            inventory->pairs[i][k].level = (uint8_t)level;
            inventory->pairs[i][k].linked = code == NVML_SUCCESS && status == NVML_P2P_OK;
        }
}

static void
read_driver(struct nvml *nvml, struct gpu_inventory *inventory)
{
    int version = 0;
    (void)nvml_call(nvml, SystemGetDriverVersion, inventory->driver, sizeof(inventory->driver));
    (void)nvml_call(nvml, SystemGetNVMLVersion, inventory->nvml, sizeof(inventory->nvml));
    int code = nvml_call(nvml, SystemGetCudaDriverVersion_v2, &version);
    if (code == NVML_ERROR_FUNCTION_NOT_FOUND)
        code = nvml_call(nvml, SystemGetCudaDriverVersion, &version);
    if (code == NVML_SUCCESS && version > 0)
        inventory->cuda_version = (unsigned)version;
}

int
gpu_inventory_read_lanes(struct nvml *nvml, unsigned lanes, struct gpu_inventory *ret_inventory,
                         struct err *reterr)
{
    struct nvml_device *devices[GPU_INVENTORY_MAX] = {0};
    struct gpu_inventory inventory = {0};
    unsigned count = 0;
    uint64_t begin_us = clock_now_us();
    int code = nvml_call(nvml, DeviceGetCount_v2, &count);
    if (code != NVML_SUCCESS)
        return nvml_error(code, reterr, "counting the GPUs");
    inventory.count = MIN(count, (unsigned)GPU_INVENTORY_MAX);
    inventory.gpus = mem_alloc(inventory.count * sizeof(struct gpu));
    read_driver(nvml, &inventory);
    for (unsigned i = 0; i < inventory.count; i++) {
        inventory.gpus[i].index = i;
        devices[i] = read_gpu(nvml, lanes, &inventory.gpus[i]);
    }
    if (lanes & GPU_ONCE)
        read_pairs(nvml, devices, &inventory);
    inventory.spent_us = clock_now_us() - begin_us;
    *ret_inventory = inventory;
    return 0;
}

int
gpu_inventory_read(struct gpu_inventory *ret_inventory, struct err *reterr)
{
    _cleanup_nvml_ struct nvml nvml = {0};
    int r = nvml_open(&nvml, NULL, reterr);
    return r < 0 ? r : gpu_inventory_read_lanes(&nvml, GPU_ALL, ret_inventory, reterr);
}

void
gpu_inventory_finish(struct gpu_inventory *inventory)
{
    for (size_t i = 0; i < inventory->count; i++)
        free(inventory->gpus[i].processes);
    free(inventory->gpus);
    inventory->gpus = NULL;
    inventory->count = 0;
}

/* 0000:3b:00.0, with more or fewer zeros before, or only 3b:00.0; in any case. */
static bool
is_bus_id(const struct gpu *gpu, const char *name)
{
    size_t len = strlen(name);
    while (len > 12 && *name == '0') {
        name++;
        len--;
    }
    const char *own = gpu->bus_id;
    if (len == 7 && text_starts(own, "0000:"))
        own += 5;
    return own[0] && strcasecmp(own, name) == 0;
}

static bool
is_named(const struct gpu *gpu, const char *name, bool *ret_exact)
{
    uint64_t index;
    *ret_exact = text_eq(gpu->uuid, name) || is_bus_id(gpu, name) ||
                 (quantity_parse_u64(name, &index, NULL) == 0 && index == gpu->index);
    return *ret_exact || (text_starts(name, "GPU-") && text_starts(gpu->uuid, name));
}

int
gpu_find(const struct gpu_inventory *inventory, const char *name, const struct gpu **ret_gpu,
         struct err *reterr)
{
    const struct gpu *found = NULL;
    size_t matches = 0;
    for (size_t i = 0; i < inventory->count; i++) {
        bool exact;
        if (!is_named(&inventory->gpus[i], name, &exact))
            continue;
        found = &inventory->gpus[i];
        matches++;
        if (exact) {
            matches = 1;
            break;
        }
    }
    if (matches == 1) {
        *ret_gpu = found;
        return 0;
    }
    int r = err_set(reterr, ERR_GPU_NOT_FOUND,
                    matches ? "'%s' begins the UUID of %zu GPUs of %zu"
                            : "no GPU is '%s': %zu of %zu match",
                    name, matches, inventory->count);
    err_fix(reterr, "see nvidia-smi -L");
    return r;
}
