#pragma once

/* Xid: the numbered errors of the NVIDIA driver, what they mean and what to do about them. */

#include "gpu/nvml_abi.h"

#include <stdbool.h>
#include <stddef.h>

enum gpu_xid_severity {
    GPU_XID_UNUSED,
    GPU_XID_INFO,
    GPU_XID_WARNING,
    GPU_XID_ERROR,
    GPU_XID_CRITICAL,
};

enum gpu_xid_suspect {
    GPU_XID_NOBODY,
    GPU_XID_PROGRAM, /* whatever runs on the GPU: noise to who minds the machine */
    GPU_XID_DRIVER,
    GPU_XID_MEMORY,
    GPU_XID_LINK,
    GPU_XID_BOARD, /* power, temperature, PCIe, wear */
};

enum gpu_xid_action {
#define XID_ACTION(NAME, name, help) GPU_XID_##NAME,
#include "gpu/xid_action.def"
#undef XID_ACTION
    GPU_XID_ACTIONS
};

struct gpu_xid_row {
    unsigned code;
    const char *name; /* of the vendor */
    enum gpu_xid_severity severity;
    enum gpu_xid_suspect suspect;
    enum gpu_xid_action action, then;
    const char *help; /* what happened; NULL when unused */
};

struct gpu_xid_action_row {
    const char *name, *help;
};

/* The row of a code; NULL for one that the table does not know. */
const struct gpu_xid_row *gpu_xid_row(unsigned code);
const struct gpu_xid_action_row *gpu_xid_action_row(enum gpu_xid_action action);

/* One error as the kernel log tells it. */
struct gpu_xid {
    bool is_switch; /* an SXid, of an NVSwitch: its codes are others */
    bool fatal;     /* of an SXid */
    unsigned code;
    char bus_id[16]; /* 0000:3b:00.0 */
    bool pid_known;
    unsigned pid;
    char process[32]; /* empty when not known */
    bool recovery_known;
    enum nvml_recovery recovery; /* of Xid 154: what the driver wants done from now on */
};

/* Reads a line of the kernel log, in whatever dress: dmesg, syslog, /dev/kmsg. False for all other
 * lines, and for the lines of figures that follow an SXid. */
bool gpu_xid_parse(const char *line, size_t len, struct gpu_xid *ret_xid);
