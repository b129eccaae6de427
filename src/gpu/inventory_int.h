#pragma once

/* How one GPU is read: question by question, until one shows that it is in trouble. What is asked
 * after that would not be answered, and might hang. */

#include "gpu/inventory.h"
#include "gpu/nvml.h"

struct reader {
    struct nvml *nvml;
    struct nvml_device *device;
    struct gpu *gpu;
};

/* An enum nvml_code. */
#define ask(r, call, ...) \
    ((r)->gpu->trouble ? (r)->gpu->trouble : nvml_call((r)->nvml, call, (r)->device, ##__VA_ARGS__))

/* Notes trouble; true for NVML_SUCCESS. */
bool reader_ok(struct reader *r, int code);

/* Notes a value, when there is one. */
void reader_take(struct reader *r, int code, struct gpu_value *value, uint64_t n);

/* Of calls whose last argument is a pointer to the only answer: take(r, unsigned, power_mw,
 * DeviceGetPowerUsage), with the arguments before it, if any, behind. */
#define take(r, type, field, call, ...)                                         \
    do {                                                                        \
        type answer_ = 0;                                                       \
        int code_ = ask(r, call, ##__VA_ARGS__, &answer_);                      \
        reader_take(r, code_, &(r)->gpu->field,                                 \
                    answer_ == (type)-1 ? NVML_ABSENT_U64 : (uint64_t)answer_); \
    } while (0)

void read_once(struct reader *r);
void read_fast(struct reader *r);
void read_slow(struct reader *r);
void read_processes(struct reader *r);
