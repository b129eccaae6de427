#pragma once

/* NVIDIA's management library, loaded at run time: the program builds and runs without it.
 *
 * Every call may hang for ever when a driver is sick, and none can be taken back: in a process
 * that has to answer, they are made by another process (citadel probe). Loading is once per process
 * and costs up to seconds; handles stay valid until nvml_close(). */

#include "base/err.h"
#include "gpu/nvml_abi.h"

struct nvml {
    void *library;
    bool started;
#define NVML_CALL(name, args) int(*name) args;
#include "gpu/nvml_call.def"
#undef NVML_CALL
};

/* path: NULL for $CITADEL_NVML, or else libnvidia-ml.so.1 where the system finds it. */
int nvml_open(struct nvml *nvml, const char *path, struct err *reterr) must_check;
void nvml_close(struct nvml *nvml);
#define _cleanup_nvml_ _cleanup_(nvml_close)

/* nvml_call(&nvml, DeviceGetName, device, name, sizeof(name)): an enum nvml_code. What this driver
 * does not have answers NVML_ERROR_FUNCTION_NOT_FOUND. */
#define nvml_call(nvml, name, ...) \
    ((nvml)->name ? (nvml)->name(__VA_ARGS__) : (int)NVML_ERROR_FUNCTION_NOT_FOUND)

const char *nvml_code_text(int code); /* in words, "not supported by this GPU" */

/* A call that did not answer NVML_SUCCESS as an error: of what, and -errno. */
int nvml_error(int code, struct err *reterr, const char *fmt, ...) printf_like(3, 4);
