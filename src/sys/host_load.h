#pragma once

/* How busy the host is, as /proc tells. What it does not tell, or not in the form that is known, is NAN. */

#include "base/util.h"

/* MODE("word"): columns of /proc/stat, in their order; time in a guest is part of user and nice. */
#define HOST_CPU_MODES(MODE) \
    MODE(USER, "user")       \
    MODE(NICE, "nice")       \
    MODE(SYSTEM, "system")   \
    MODE(IDLE, "idle")       \
    MODE(IOWAIT, "iowait")   \
    MODE(IRQ, "irq")         \
    MODE(SOFTIRQ, "softirq") \
    MODE(STEAL, "steal")

enum host_cpu_mode {
#define MODE(name, word) HOST_CPU_##name,
    HOST_CPU_MODES(MODE)
#undef MODE
        HOST_CPU_MODE_COUNT
};
const char *host_cpu_word(enum host_cpu_mode mode);

struct host_load {
    double load_1, load_5, load_15;
    double cpus; /* that are online */
    double cpu_seconds[HOST_CPU_MODE_COUNT];
    double memory_size_bytes, memory_free_bytes, memory_available_bytes;
    double swap_size_bytes, swap_free_bytes;
    double uptime_seconds;
};

/* proc: where it is mounted. */
void host_load_read(const char *proc, struct host_load *ret_load);
