/* PCIe, NVLink, and which GPU is near which. */

#include "sim/nvml/library_int.h"

#include <stdio.h>
#include <string.h>

#define PCIE(name, field)                                              \
    int nvmlDeviceGet##name(struct nvml_device *device, unsigned *ret) \
    {                                                                  \
        ON(device, ret)                                                \
        return give(ret, gpu->field);                                  \
    }

PCIE(CurrPcieLinkGeneration, pcie_generation)
PCIE(CurrPcieLinkWidth, pcie_lanes)
PCIE(MaxPcieLinkGeneration, pcie_max_generation)
PCIE(GpuMaxPcieLinkGeneration, pcie_max_generation)
PCIE(MaxPcieLinkWidth, pcie_max_lanes)
PCIE(PcieReplayCounter, pcie_replays)

int
nvmlDeviceGetPcieThroughput(struct nvml_device *device, int counter, unsigned *ret_kb_per_s)
{
    ON(device, ret_kb_per_s && (counter == NVML_PCIE_SENT || counter == NVML_PCIE_RECEIVED))
    return give(ret_kb_per_s,
                counter == NVML_PCIE_SENT ? gpu->pcie_sent_kbs : gpu->pcie_received_kbs);
}

/* What every question about one link begins with. */
#define ON_LINK(device, link, valid)               \
    ON(device, (link) < NVML_LINKS_MAX && (valid)) \
    if ((link) >= gpu->links)                      \
        return NVML_ERROR_NOT_SUPPORTED;

int
nvmlDeviceGetNvLinkState(struct nvml_device *device, unsigned link, int *ret_on)
{
    ON_LINK(device, link, ret_on)
    *ret_on = !gpu->link_down[link];
    return NVML_SUCCESS;
}

int
nvmlDeviceGetNvLinkVersion(struct nvml_device *device, unsigned link, unsigned *ret_version)
{
    ON_LINK(device, link, ret_version)
    return give(ret_version, 4);
}

int
nvmlDeviceGetNvLinkCapability(struct nvml_device *device, unsigned link, int capability,
                              unsigned *ret_has)
{
    ON_LINK(device, link, ret_has && capability >= 0 && capability <= 5)
    return give(ret_has, capability != 4); /* all but the bridge of consumer boards */
}

int
nvmlDeviceGetNvLinkErrorCounter(struct nvml_device *device, unsigned link, int counter,
                                unsigned long long *ret_count)
{
    ON_LINK(device, link, ret_count && counter >= 0 && counter <= NVML_LINK_ECC_DATA)
    *ret_count = gpu->link_errors[link][counter];
    return NVML_SUCCESS;
}

int
nvmlDeviceResetNvLinkErrorCounters(struct nvml_device *device, unsigned link)
{
    ON_LINK(device, link, true)
    memset(gpu->link_errors[link], 0, sizeof(gpu->link_errors[link]));
    return NVML_SUCCESS;
}

/* Every link ends at one of four switches. */
int
nvmlDeviceGetNvLinkRemotePciInfo_v2(struct nvml_device *device, unsigned link,
                                    struct nvml_pci *ret_pci)
{
    ON_LINK(device, link, ret_pci)
    *ret_pci = (struct nvml_pci){.bus = 4 + link % 4, .pci_device_id = 0x22a310de};
    (void)snprintf(ret_pci->bus_id_legacy, sizeof(ret_pci->bus_id_legacy), "0000:%02X:00.0",
                   ret_pci->bus & 0xFF);
    (void)snprintf(ret_pci->bus_id, sizeof(ret_pci->bus_id), "00000000:%02X:00.0",
                   ret_pci->bus & 0xFF);
    return NVML_SUCCESS;
}

int
nvmlDeviceGetNvLinkRemotePciInfo(struct nvml_device *device, unsigned link,
                                 struct nvml_pci *ret_pci)
{
    struct nvml_pci pci;
    if (!ret_pci)
        return NVML_ERROR_INVALID_ARGUMENT;
    int code = nvmlDeviceGetNvLinkRemotePciInfo_v2(device, link, &pci);
    if (code == NVML_SUCCESS)
        memcpy(ret_pci, &pci, offsetof(struct nvml_pci, bus_id));
    return code;
}

int
nvmlDeviceGetNvLinkRemoteDeviceType(struct nvml_device *device, unsigned link, int *ret_type)
{
    ON_LINK(device, link, ret_type)
    *ret_type = NVML_LINK_TO_SWITCH;
    return NVML_SUCCESS;
}

/* Two GPUs under one socket share a host bridge. */
static enum nvml_topology
level_between(const struct fake_gpu *one, const struct fake_gpu *other)
{
    if (one == other)
        return NVML_TOPOLOGY_INTERNAL;
    return one->numa_node == other->numa_node ? NVML_TOPOLOGY_NODE : NVML_TOPOLOGY_SYSTEM;
}

int
nvmlDeviceGetTopologyCommonAncestor(struct nvml_device *one, struct nvml_device *other,
                                    int *ret_level)
{
    ON(one, ret_level && device_index(other) >= 0)
    *ret_level = level_between(gpu, &call.fake->state->gpus[device_index(other)]);
    return NVML_SUCCESS;
}

int
nvmlDeviceGetTopologyNearestGpus(struct nvml_device *device, int level, unsigned *count,
                                 struct nvml_device **list)
{
    struct nvml_device *near[FAKE_GPUS_MAX];
    unsigned near_count = 0;
    int code;
    ON(device, count)
    for (unsigned i = 0; i < call.fake->state->gpu_count; i++) {
        struct nvml_device *other = device_of(i);
        if (i != call.index && other && (int)level_between(gpu, &gpu[i - call.index]) == level)
            near[near_count++] = other;
    }
    bool only_counts = *count == 0; /* which is no error here */
    if (give_list(count, near_count, list, &code) && near_count > 0)
        memcpy(list, near, near_count * sizeof(struct nvml_device *));
    return only_counts ? (int)NVML_SUCCESS : code;
}

int
nvmlDeviceGetP2PStatus(struct nvml_device *one, struct nvml_device *other, int capability,
                       int *ret_status)
{
    ON(one, ret_status && device_index(other) >= 0 && capability >= 0)
    const struct fake_gpu *peer = &call.fake->state->gpus[device_index(other)];
    bool linked = gpu->links > 0 && peer->links > 0;
    *ret_status = linked || capability == NVML_P2P_PCI ? NVML_P2P_OK : NVML_P2P_NO_GPU;
    return NVML_SUCCESS;
}

int
nvmlDeviceOnSameBoard(struct nvml_device *one, struct nvml_device *other, int *ret_same)
{
    ON(one, ret_same && device_index(other) >= 0)
    *ret_same = one == other;
    return NVML_SUCCESS;
}

int
nvmlDeviceGetCpuAffinityWithinScope(struct nvml_device *device, unsigned words, unsigned long *cpus,
                                    unsigned scope)
{
    ON(device, cpus && words > 0 && scope <= NVML_AFFINITY_SOCKET)
    memset(cpus, 0, words * sizeof(*cpus));
    cpus[0] = gpu->cpus;
    return NVML_SUCCESS;
}

int
nvmlDeviceGetCpuAffinity(struct nvml_device *device, unsigned words, unsigned long *cpus)
{
    return nvmlDeviceGetCpuAffinityWithinScope(device, words, cpus, NVML_AFFINITY_NODE);
}

int
nvmlDeviceGetMemoryAffinity(struct nvml_device *device, unsigned words, unsigned long *nodes,
                            unsigned scope)
{
    ON(device, nodes && words > 0 && scope <= NVML_AFFINITY_SOCKET)
    memset(nodes, 0, words * sizeof(*nodes));
    nodes[0] = 1ul << gpu->numa_node;
    return NVML_SUCCESS;
}
