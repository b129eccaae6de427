#pragma once

/* A made-up NVIDIA driver, shared by the processes of a test or a demo: a directory, named to the
 * fake libnvidia-ml.so.1 by $CITADEL_FAKE_NVML. This header is its other side: what an engine
 * without a GPU uses to take GPU memory, and a test to make things go wrong.
 *
 *   DIR/gpus    what GPUs there are (fake_describe.c tells the form); two H100 without it
 *   DIR/state   struct fake_state, mapped by all; made from `gpus` by whoever comes first
 *   DIR/claims  empty; a claim holds a lock on the byte of its slot for as long as its owner lives
 *
 * The state is under a robust mutex: a process that dies inside leaves the others going. So every
 * change is complete at each of its stores, the one that makes it count coming last. */

#include "base/err.h"
#include "gpu/nvml_abi.h"

#include <pthread.h>
#include <sys/types.h>

#define FAKE_NVML_ENV "CITADEL_FAKE_NVML"

enum {
    FAKE_GPUS_MAX = 16,
    FAKE_LINKS_MAX = 18,
    FAKE_CLAIMS_MAX = 256,
    FAKE_FAULTS_MAX = 16,
    FAKE_EVENTS_MAX = 64,
    FAKE_PAGES_MAX = 8,
    FAKE_PLACES = NVML_ECC_SRAM + 1,
    FAKE_CLOCKS = NVML_CLOCK_VIDEO + 1,
    FAKE_REASONS = 9, /* bits NVML_THROTTLE_* */
    FAKE_ANY = -1,
    FAKE_HANG = -1,
};

#define FAKE_NONE UINT_MAX /* of an unsigned below: this GPU does not support it */

/* One GPU. Plain values: read or set them between fake_lock() and fake_unlock(). */
struct fake_gpu {
    char name[NVML_NAME_BYTES], uuid[48], serial[NVML_SERIAL_BYTES], vbios[NVML_VBIOS_BYTES];
    char part[32], inforom[32];
    unsigned domain, bus, pci_device_id, pci_subsystem_id;
    unsigned architecture, cuda_major, cuda_minor, cores, bus_width;
    int brand;

    bool lost;         /* fell off the bus */
    bool pids_hidden;  /* processes cannot be seen, as from inside a container */
    bool keeps_memory; /* memory of a process that dies stays taken */

    uint64_t total_bytes, reserved_bytes;
    uint64_t stuck_bytes; /* taken by nobody */

    unsigned gpu_percent, memory_percent, encoder_percent, decoder_percent, jpg_percent,
        ofa_percent;
    unsigned celsius, memory_celsius, slowdown_celsius, shutdown_celsius, max_celsius,
        memory_max_celsius;
    unsigned fans, fan_percent;
    unsigned power_mw, limit_mw, default_limit_mw, min_limit_mw, max_limit_mw;
    unsigned pstate;
    unsigned clock_mhz[FAKE_CLOCKS], max_clock_mhz[FAKE_CLOCKS];
    unsigned app_graphics_mhz, app_memory_mhz;        /* 0: default */
    unsigned locked_gpu_mhz[2], locked_memory_mhz[2]; /* least and most, 0: not locked */
    uint64_t throttle;                                /* bits NVML_THROTTLE_* */

    unsigned persistence, compute_mode, accounting;
    unsigned ecc, ecc_pending, mig, mig_pending;
    uint64_t ecc_errors[2][2][FAKE_PLACES]; /* by enum nvml_ecc_kind, _span, _place */
    uint64_t retired_pages[2][FAKE_PAGES_MAX];
    unsigned retired_count[2]; /* by enum nvml_retired_cause; [0] FAKE_NONE: rows are remapped */
    unsigned retired_pending;
    unsigned remapped_correctable, remapped_uncorrectable, remap_pending, remap_failed;
    unsigned recovery; /* enum nvml_recovery */

    unsigned pcie_generation, pcie_max_generation, pcie_lanes, pcie_max_lanes, pcie_replays;
    unsigned pcie_sent_kbs, pcie_received_kbs;
    unsigned links, link_mbs;
    bool link_down[FAKE_LINKS_MAX];
    uint64_t link_errors[FAKE_LINKS_MAX][NVML_LINK_ECC_DATA + 1];
    unsigned numa_node;
    uint64_t cpus; /* bits */

    /* Sums over time, kept by fake_lock() from power_mw and throttle. */
    uint64_t energy_nj;
    uint64_t throttled_ns[FAKE_REASONS];
};

struct fake_state;

struct fake {
    struct fake_state *state;
    int hold_fd; /* its locks are our claims */
    int look_fd; /* asks for those of others: a descriptor does not see its own locks */
};

/* Opens the directory, which must be there, and makes the state if need be. Closing ends the claims
 * made through it. */
int fake_open(struct fake *f, const char *dir, struct err *reterr) must_check;
void fake_close(struct fake *f);
#define FAKE_INIT                    \
    {                                \
        .hold_fd = -1, .look_fd = -1 \
    }
#define _cleanup_fake_ _cleanup_(fake_close)

/* The GPUs, for as long as the lock is held. */
struct fake_gpu *fake_lock(struct fake *f, unsigned *ret_count); /* ret_count may be NULL */
void fake_unlock(struct fake *f);

/* GPU memory of the calling process, which ends with it at the latest; several claims add up. Grows
 * and shrinks by a new claim before the end of the old. -ENOMEM when the GPU has not so much left. */
int fake_claim(struct fake *f, unsigned gpu, uint64_t bytes, unsigned *ret_claim) must_check;
void fake_release(struct fake *f, unsigned claim);

struct fake_memory {
    uint64_t total_bytes, reserved_bytes, used_bytes, free_bytes;
};
void fake_memory(struct fake *f, unsigned gpu, struct fake_memory *ret);

/* A call that goes wrong. */
struct fake_fault {
    char call[64]; /* "nvmlDeviceGetPowerUsage", or "*" */
    int gpu;       /* index, or FAKE_ANY; calls without a GPU only know FAKE_ANY */
    int code;      /* enum nvml_code, or FAKE_HANG: it returns when the faults are cleared */
    unsigned skip; /* so many calls go well before */
};
int fake_fault(struct fake *f, const struct fake_fault *fault) must_check; /* -ENOSPC: too many */
void fake_clear_faults(struct fake *f);

/* Waits until so many calls, in all, have begun to hang; false after timeout_ms. */
bool fake_await_hangs(struct fake *f, unsigned count, unsigned timeout_ms);

/* News, for whoever has an event set. fake_lose() is Xid 79 and all that follows from it. */
void fake_xid(struct fake *f, unsigned gpu, unsigned code);
void fake_ecc_error(struct fake *f, unsigned gpu, enum nvml_ecc_kind kind,
                    enum nvml_ecc_place place);
void fake_lose(struct fake *f, unsigned gpu);
