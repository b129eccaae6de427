#pragma once

/* The binary interface of libnvidia-ml.so.1, as far as this program speaks it: layouts and numbers
 * as documented by the vendor, in declarations of our own. src/gpu calls by it, sim/nvml answers by
 * it; nvml_abi_test.c holds the layouts to the published sizes and offsets.
 *
 * The library never changes what a name means: a changed layout gets a new name (_v2, _v3).
 * Newer structs begin with a version, `size | number << 24`, and a call refuses what it does not
 * know. Absent readings are all ones, or the call answers NVML_ERROR_NOT_SUPPORTED. */

#include <limits.h>
#include <stdint.h>

enum nvml_code {
#define NVML_CODE(name, value, help) NVML_##name = (value),
#include "gpu/nvml_code.def"
#undef NVML_CODE
};

struct nvml_device;    /* handles: only ever passed back */
struct nvml_event_set; /* */

#define NVML_VERSION(type, number) ((unsigned)sizeof(type) | (unsigned)(number) << 24)
#define NVML_ABSENT_U64 UINT64_MAX
#define NVML_ABSENT_U32 UINT_MAX

/* Lengths that suffice for what is copied out, the final zero included. */
enum {
    NVML_NAME_BYTES = 96,
    NVML_UUID_BYTES = 96,
    NVML_SERIAL_BYTES = 30,
    NVML_VERSION_BYTES = 80,
    NVML_VBIOS_BYTES = 32,
    NVML_PART_BYTES = 80,
};

struct nvml_pci {
    char bus_id_legacy[16]; /* 0000:3B:00.0 */
    unsigned domain, bus, device;
    unsigned pci_device_id; /* device << 16 | vendor */
    unsigned pci_subsystem_id;
    char bus_id[32]; /* 00000000:3B:00.0 */
};

struct nvml_memory {
    uint64_t total, free, used; /* used counts what the driver reserves */
};

struct nvml_memory_v2 {
    unsigned version;
    uint64_t total, reserved, free, used; /* used does not */
};

struct nvml_bar1 {
    uint64_t total, free, used;
};

struct nvml_process_v1 {
    unsigned pid;
    uint64_t used_bytes;
};

/* Of _v2 and _v3. Early releases of driver 535 appended a field to _v3 and took it back. */
struct nvml_process {
    unsigned pid;
    uint64_t used_bytes;
    unsigned gpu_instance, compute_instance; /* all ones without MIG */
};

struct nvml_process_utilization {
    unsigned pid;
    uint64_t time_us;
    unsigned sm, memory, encoder, decoder; /* percent */
};

struct nvml_accounting {
    unsigned gpu_percent, memory_percent;
    uint64_t max_bytes, time_ms, start_us;
    unsigned running;
    unsigned reserved[5];
};

struct nvml_utilization {
    unsigned gpu, memory; /* percent */
};

struct nvml_temperature {
    unsigned version;
    int sensor;
    int celsius;
};

struct nvml_ecc_detail {
    uint64_t l1, l2, device, registers;
};

struct nvml_remap_histogram {
    unsigned max, high, partial, low, none;
};

struct nvml_violation {
    uint64_t reference_us, violation_ns;
};

struct nvml_event {
    struct nvml_device *device;
    uint64_t type;
    uint64_t data; /* the code of an Xid, 999 when not known */
    unsigned gpu_instance, compute_instance;
};

union nvml_any {
    double real;
    int i32;
    unsigned u32;
    unsigned long ulong;
    uint64_t u64;
    int64_t i64;
    unsigned short u16;
};

struct nvml_field {
    unsigned id;
    unsigned scope; /* a link, a sensor; 0 */
    int64_t time_us;
    int64_t latency_us;
    int type; /* enum nvml_value_type */
    int code; /* enum nvml_code of this field alone */
    union nvml_any value;
};

enum nvml_value_type {
    NVML_DOUBLE,
    NVML_UNSIGNED,
    NVML_UNSIGNED_LONG,
    NVML_UNSIGNED_LONG_LONG,
    NVML_SIGNED_LONG_LONG,
    NVML_SIGNED,
    NVML_UNSIGNED_SHORT,
};

enum nvml_clock { NVML_CLOCK_GRAPHICS, NVML_CLOCK_SM, NVML_CLOCK_MEMORY, NVML_CLOCK_VIDEO };
enum nvml_clock_id { NVML_CLOCK_NOW, NVML_CLOCK_APP, NVML_CLOCK_APP_DEFAULT, NVML_CLOCK_BOOST_MAX };

enum nvml_threshold {
    NVML_THRESHOLD_SHUTDOWN,
    NVML_THRESHOLD_SLOWDOWN,
    NVML_THRESHOLD_MEMORY_MAX,
    NVML_THRESHOLD_GPU_MAX,
};

enum nvml_compute_mode {
    NVML_COMPUTE_SHARED,
    NVML_COMPUTE_EXCLUSIVE_THREAD,
    NVML_COMPUTE_PROHIBITED,
    NVML_COMPUTE_EXCLUSIVE,
};

enum nvml_ecc_kind { NVML_ECC_CORRECTED, NVML_ECC_UNCORRECTED };
enum nvml_ecc_span { NVML_ECC_VOLATILE, NVML_ECC_AGGREGATE }; /* since the driver started; ever */

enum nvml_ecc_place {
    NVML_ECC_L1,
    NVML_ECC_L2,
    NVML_ECC_DRAM,
    NVML_ECC_REGISTERS,
    NVML_ECC_TEXTURE,
    NVML_ECC_SHARED,
    NVML_ECC_CBU,
    NVML_ECC_SRAM,
};

enum nvml_retired_cause { NVML_RETIRED_SINGLE_BIT, NVML_RETIRED_DOUBLE_BIT };

enum nvml_topology {
    NVML_TOPOLOGY_INTERNAL = 0,
    NVML_TOPOLOGY_SINGLE = 10,
    NVML_TOPOLOGY_MULTIPLE = 20,
    NVML_TOPOLOGY_HOSTBRIDGE = 30,
    NVML_TOPOLOGY_NODE = 40,
    NVML_TOPOLOGY_SYSTEM = 50,
};

enum nvml_p2p_cap {
    NVML_P2P_READ,
    NVML_P2P_WRITE,
    NVML_P2P_NVLINK,
    NVML_P2P_ATOMICS,
    NVML_P2P_PCI
};
enum nvml_p2p { NVML_P2P_OK, NVML_P2P_NO_CHIPSET, NVML_P2P_NO_GPU, NVML_P2P_NO_TOPOLOGY };
enum nvml_affinity_scope { NVML_AFFINITY_NODE, NVML_AFFINITY_SOCKET };
enum nvml_pcie_counter { NVML_PCIE_SENT, NVML_PCIE_RECEIVED };

enum { NVML_LINKS_MAX = 36 }; /* NVLinks of a GPU: 18 up to Blackwell */
enum nvml_link_error {
    NVML_LINK_REPLAY,
    NVML_LINK_RECOVERY,
    NVML_LINK_CRC_FLIT,
    NVML_LINK_CRC_DATA,
    NVML_LINK_ECC_DATA,
};
enum nvml_link_peer { NVML_LINK_TO_GPU = 0, NVML_LINK_TO_SWITCH = 2, NVML_LINK_TO_UNKNOWN = 0xFF };

/* Why the clocks are lower than they could be: bits. */
#define NVML_THROTTLE_IDLE UINT64_C(0x1)
#define NVML_THROTTLE_APP_CLOCKS UINT64_C(0x2)
#define NVML_THROTTLE_POWER_CAP UINT64_C(0x4)
#define NVML_THROTTLE_HW UINT64_C(0x8)
#define NVML_THROTTLE_SYNC_BOOST UINT64_C(0x10)
#define NVML_THROTTLE_SW_THERMAL UINT64_C(0x20)
#define NVML_THROTTLE_HW_THERMAL UINT64_C(0x40)
#define NVML_THROTTLE_POWER_BRAKE UINT64_C(0x80)
#define NVML_THROTTLE_DISPLAY UINT64_C(0x100)

#define NVML_EVENT_ECC_CORRECTED UINT64_C(0x1)
#define NVML_EVENT_ECC_UNCORRECTED UINT64_C(0x2)
#define NVML_EVENT_PSTATE UINT64_C(0x4)
#define NVML_EVENT_XID UINT64_C(0x8)
#define NVML_EVENT_CLOCK UINT64_C(0x10)
#define NVML_XID_UNKNOWN 999

enum nvml_policy {
    NVML_POLICY_POWER,
    NVML_POLICY_THERMAL,
    NVML_POLICY_SYNC_BOOST,
    NVML_POLICY_BOARD_LIMIT,
    NVML_POLICY_LOW_UTILIZATION,
    NVML_POLICY_RELIABILITY,
};

/* Fields of DeviceGetFieldValues. */
enum nvml_field_id {
    NVML_FIELD_ECC_MODE = 1,
    NVML_FIELD_ECC_MODE_PENDING = 2,
    NVML_FIELD_ECC_CORRECTED_VOLATILE = 3,
    NVML_FIELD_ECC_UNCORRECTED_VOLATILE = 4,
    NVML_FIELD_ECC_CORRECTED_AGGREGATE = 5,
    NVML_FIELD_ECC_UNCORRECTED_AGGREGATE = 6,
    NVML_FIELD_RETIRED_SINGLE_BIT = 29,
    NVML_FIELD_RETIRED_DOUBLE_BIT = 30,
    NVML_FIELD_RETIRED_PENDING = 31,
    NVML_FIELD_LINK_CRC_FLIT_TOTAL = 38,
    NVML_FIELD_LINK_CRC_DATA_TOTAL = 45,
    NVML_FIELD_LINK_REPLAY_TOTAL = 52,
    NVML_FIELD_LINK_RECOVERY_TOTAL = 59,
    NVML_FIELD_THROTTLED_POWER_CAP = 74, /* ns, like the others */
    NVML_FIELD_THROTTLED_SYNC_BOOST = 76,
    NVML_FIELD_MEMORY_TEMPERATURE = 82,
    NVML_FIELD_ENERGY = 83,     /* mJ */
    NVML_FIELD_LINK_SPEED = 90, /* MB/s, the same for all links */
    NVML_FIELD_LINK_COUNT = 91,
    NVML_FIELD_PCIE_REPLAY = 94,
    NVML_FIELD_REMAPPED_CORRECTABLE = 142,
    NVML_FIELD_REMAPPED_UNCORRECTABLE = 143,
    NVML_FIELD_REMAPPED_PENDING = 144,
    NVML_FIELD_REMAPPED_FAILURE = 145,
    NVML_FIELD_LINK_STATE = 165, /* scope: the link */
    NVML_FIELD_POWER_AVERAGE = 185,
    NVML_FIELD_POWER_INSTANT = 186,
    NVML_FIELD_RECOVERY_ACTION = 230,
    NVML_FIELD_THROTTLED_SW_THERMAL = 269,
    NVML_FIELD_THROTTLED_HW_THERMAL = 270,
    NVML_FIELD_THROTTLED_POWER_BRAKE = 271,
};

/* What the driver wants done to the GPU; told by a field and by Xid 154. */
enum nvml_recovery {
    NVML_RECOVERY_NONE,
    NVML_RECOVERY_RESET,
    NVML_RECOVERY_REBOOT,
    NVML_RECOVERY_DRAIN_P2P,
    NVML_RECOVERY_DRAIN_AND_RESET,
    NVML_RECOVERY_IMEX,
};
