/* The layouts against what is published: sizes, offsets and tags as a C compiler for x86-64 gives
 * them for the vendor's declarations (NVML 13.3). */

#include "gpu/nvml_abi.h"

#include "tap.h"

#define SIZE(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type)
#define AT(type, member, bytes) \
    _Static_assert(offsetof(struct type, member) == (bytes), #type "." #member)

SIZE(nvml_pci, 68);
AT(nvml_pci, domain, 16);
AT(nvml_pci, pci_device_id, 28);
AT(nvml_pci, bus_id, 36);
SIZE(nvml_memory, 24);
SIZE(nvml_memory_v2, 40);
AT(nvml_memory_v2, total, 8);
AT(nvml_memory_v2, reserved, 16);
AT(nvml_memory_v2, free, 24);
AT(nvml_memory_v2, used, 32);
SIZE(nvml_bar1, 24);
SIZE(nvml_process_v1, 16);
AT(nvml_process_v1, used_bytes, 8);
SIZE(nvml_process, 24);
AT(nvml_process, gpu_instance, 16);
AT(nvml_process, compute_instance, 20);
SIZE(nvml_process_utilization, 32);
AT(nvml_process_utilization, sm, 16);
SIZE(nvml_accounting, 56);
AT(nvml_accounting, max_bytes, 8);
AT(nvml_accounting, running, 32);
SIZE(nvml_utilization, 8);
SIZE(nvml_temperature, 12);
SIZE(nvml_ecc_detail, 32);
SIZE(nvml_remap_histogram, 20);
SIZE(nvml_violation, 16);
SIZE(nvml_event, 32);
AT(nvml_event, type, 8);
AT(nvml_event, data, 16);
AT(nvml_event, gpu_instance, 24);
SIZE(nvml_field, 40);
AT(nvml_field, time_us, 8);
AT(nvml_field, latency_us, 16);
AT(nvml_field, type, 24);
AT(nvml_field, code, 28);
AT(nvml_field, value, 32);

TEST(structs_carry_the_published_tags)
{
    CHECK_EQ(NVML_VERSION(struct nvml_memory_v2, 2), 0x02000028);
    CHECK_EQ(NVML_VERSION(struct nvml_temperature, 1), 0x0100000c);
}
