#pragma once

/* The GPUs of this machine, and how they are. Everything that a driver does not tell is unknown;
 * nothing is guessed.
 *
 * Reading may hang for ever (nvml.h): run it where that does no harm. */

#include "base/err.h"
#include "gpu/nvml_abi.h"

struct nvml;

#define GPU_INVENTORY_MAX 32  /* GPUs */
#define GPU_PROCESSES_MAX 512 /* of a GPU */

struct gpu_value {
    uint64_t n;
    bool known;
};

enum { GPU_ONCE = 1, GPU_FAST = 2, GPU_SLOW = 4, GPU_ALL = GPU_ONCE | GPU_FAST | GPU_SLOW };

struct gpu_process {
    unsigned pid; /* of the host: inside a container, it may be another's or nobody's */
    bool graphics;
    struct gpu_value bytes;
    char name[64]; /* may be empty */
};

struct gpu {
    unsigned index;
    int trouble; /* enum nvml_code: it is lost, wants a reset or refuses; NVML_SUCCESS: all is well */
    bool unified; /* its memory is the host's: the figures of memory are those of the host */
    char name[NVML_NAME_BYTES], uuid[NVML_UUID_BYTES], serial[NVML_SERIAL_BYTES];
    char vbios[NVML_VBIOS_BYTES];
    char bus_id[16];      /* 0000:3b:00.0 */
    uint64_t cpus[16];    /* of the host that are near: bits; all 0 when not known */
    bool processes_known; /* GPU_SLOW */
    size_t process_count;
    struct gpu_process *processes;
#define GPU_READING(field, LANE, help) struct gpu_value field;
#include "gpu/reading.def"
#undef GPU_READING
};

/* The same numbers as a list, for who shows all of them; it ends with a name NULL. */
struct gpu_reading {
    const char *name;
    unsigned lane;
    size_t at; /* in struct gpu */
    const char *help;
};
extern const struct gpu_reading gpu_readings[];
struct gpu_value gpu_reading_of(const struct gpu *gpu, const struct gpu_reading *reading);

struct gpu_inventory {
    char driver[NVML_VERSION_BYTES], nvml[NVML_VERSION_BYTES];
    unsigned cuda_version; /* that the driver can do: 1000 * major + 10 * minor, 0 when not known */
    size_t count;
    struct gpu *gpus;
    uint64_t spent_us; /* inside the driver */
    struct {
        uint8_t level;      /* enum nvml_topology: the nearest that two GPUs have in common */
        bool known, linked; /* linked: by NVLink */
    } pairs[GPU_INVENTORY_MAX][GPU_INVENTORY_MAX];
};

/* Loads the library, reads all and lets it go. A GPU in trouble is listed, with little known. */
int gpu_inventory_read(struct gpu_inventory *ret_inventory, struct err *reterr) must_check;

/* For a process that stays: reads some lanes of a library that is open. What belongs to another
 * lane is unknown; names are always read. */
int gpu_inventory_read_lanes(struct nvml *nvml, unsigned lanes, struct gpu_inventory *ret_inventory,
                             struct err *reterr) must_check;
void gpu_inventory_finish(struct gpu_inventory *inventory);
#define _cleanup_gpu_inventory_ _cleanup_(gpu_inventory_finish)

/* The GPU of an index ("0"), a UUID or a beginning of it that only one has, or a bus id. */
int gpu_find(const struct gpu_inventory *inventory, const char *name, const struct gpu **ret_gpu,
             struct err *reterr) must_check;
