#pragma once

/* The inside of the fake library: every exported function begins with ON() or NOWHERE(), which
 * check that the library is initialised and the GPU there, make the faults happen, and hold the lock
 * of the shared state until the function returns. */

#include "sim/nvml/fake_int.h"

#define NVML_CALL(name, args) __attribute__((visibility("default"))) int nvml##name args;
#include "gpu/nvml_call.def"
#undef NVML_CALL

struct call {
    struct fake *fake;
    struct fake_gpu *gpu;
    unsigned index; /* of the GPU */
    int code;       /* the answer, unless it is NVML_SUCCESS */
};

struct call call_begin(const char *name);
struct call call_begin_on(const char *name, const struct nvml_device *device);
void call_end(struct call *call);

#define NOWHERE(valid)                                           \
    _cleanup_(call_end) struct call call = call_begin(__func__); \
    if (call.code == NVML_SUCCESS && !(valid))                   \
        call.code = NVML_ERROR_INVALID_ARGUMENT;                 \
    if (call.code != NVML_SUCCESS)                               \
        return call.code;

#define ON(device, valid)                                                   \
    _cleanup_(call_end) struct call call = call_begin_on(__func__, device); \
    struct fake_gpu *gpu unused_arg = call.gpu;                             \
    if (call.code == NVML_SUCCESS && !(valid))                              \
        call.code = NVML_ERROR_INVALID_ARGUMENT;                            \
    if (call.code != NVML_SUCCESS)                                          \
        return call.code;

/* Answers. */
int give(unsigned *ret, unsigned value); /* FAKE_NONE: not supported */
int give_text(char *text, unsigned bytes, const char *value);

/* A list of `have` things, of which the caller takes *count: whether to fill it in, else the answer.
 * *count is set to `have`. */
bool give_list(unsigned *count, unsigned have, const void *list, int *ret_code);

/* The GPU behind a handle, -1 for none; the handle of a GPU, NULL when it cannot be seen. */
int device_index(const struct nvml_device *device);
struct nvml_device *device_of(unsigned index);
