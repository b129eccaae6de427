/* What a GPU is, and where. */

#include "sim/nvml/library_int.h"

#include <stdio.h>
#include <string.h>

#define TEXT(name, field)                                                           \
    int nvmlDeviceGet##name(struct nvml_device *device, char *text, unsigned bytes) \
    {                                                                               \
        ON(device, text)                                                            \
        return give_text(text, bytes, gpu->field);                                  \
    }

#define NUMBER(name, type, value)                                  \
    int nvmlDeviceGet##name(struct nvml_device *device, type *ret) \
    {                                                              \
        ON(device, ret)                                            \
        *ret = (value);                                            \
        return NVML_SUCCESS;                                       \
    }

TEXT(Name, name)
TEXT(UUID, uuid)
TEXT(Serial, serial)
TEXT(VbiosVersion, vbios)
TEXT(BoardPartNumber, part)
TEXT(InforomImageVersion, inforom)

NUMBER(MinorNumber, unsigned, call.index)
NUMBER(BoardId, unsigned, gpu->bus << 8)
NUMBER(MultiGpuBoard, unsigned, 0)
NUMBER(Brand, int, gpu->brand)
NUMBER(Architecture, unsigned, gpu->architecture)
NUMBER(NumGpuCores, unsigned, gpu->cores)
NUMBER(MemoryBusWidth, unsigned, gpu->bus_width)
NUMBER(DisplayMode, int, 0)
NUMBER(DisplayActive, int, 0)

int
nvmlDeviceGetCudaComputeCapability(struct nvml_device *device, int *ret_major, int *ret_minor)
{
    ON(device, ret_major && ret_minor)
    *ret_major = (int)gpu->cuda_major;
    *ret_minor = (int)gpu->cuda_minor;
    return NVML_SUCCESS;
}

int
nvmlDeviceGetPciInfo_v3(struct nvml_device *device, struct nvml_pci *ret_pci)
{
    ON(device, ret_pci)
    *ret_pci = (struct nvml_pci){
        .domain = gpu->domain,
        .bus = gpu->bus,
        .pci_device_id = gpu->pci_device_id,
        .pci_subsystem_id = gpu->pci_subsystem_id,
    };
    (void)snprintf(ret_pci->bus_id_legacy, sizeof(ret_pci->bus_id_legacy), "%04X:%02X:00.0",
                   gpu->domain & 0xFFFF, gpu->bus & 0xFF);
    (void)snprintf(ret_pci->bus_id, sizeof(ret_pci->bus_id), "%08X:%02X:00.0", gpu->domain,
                   gpu->bus & 0xFF);
    return NVML_SUCCESS;
}

/* The forms before the long bus id: a caller's struct may be too short to hold it. */
int
nvmlDeviceGetPciInfo_v2(struct nvml_device *device, struct nvml_pci *ret_pci)
{
    struct nvml_pci pci;
    int code = ret_pci ? nvmlDeviceGetPciInfo_v3(device, &pci) : NVML_ERROR_INVALID_ARGUMENT;
    if (code == NVML_SUCCESS)
        memcpy(ret_pci, &pci, offsetof(struct nvml_pci, bus_id));
    return code;
}

int
nvmlDeviceGetPciInfo(struct nvml_device *device, struct nvml_pci *ret_pci)
{
    return nvmlDeviceGetPciInfo_v2(device, ret_pci);
}
