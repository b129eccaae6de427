#include "gpu/nvml.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libnvidia-ml.so.1"

const char *
nvml_code_text(int code)
{
    switch (code) {
#define NVML_CODE(name, value, help) \
    case value:                      \
        return help;
#include "gpu/nvml_code.def"
#undef NVML_CODE
    default:
        return "an error that this program does not know";
    }
}

static enum err_id
id_of(int code)
{
    switch (code) {
    case NVML_ERROR_DRIVER_NOT_LOADED:
    case NVML_ERROR_LIBRARY_NOT_FOUND:
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return ERR_GPU_NO_DRIVER;
    case NVML_ERROR_GPU_IS_LOST:
    case NVML_ERROR_RESET_REQUIRED:
    case NVML_ERROR_INSUFFICIENT_POWER:
    case NVML_ERROR_IRQ_ISSUE:
        return ERR_GPU_SICK;
    case NVML_ERROR_NOT_SUPPORTED:
    case NVML_ERROR_FUNCTION_NOT_FOUND:
    case NVML_ERROR_ARGUMENT_VERSION_MISMATCH:
    case NVML_ERROR_DEPRECATED:
        return ERR_GPU_NOT_SUPPORTED;
    case NVML_ERROR_NO_PERMISSION:
        return ERR_NOT_PERMITTED;
    case NVML_ERROR_NOT_FOUND:
    case NVML_ERROR_GPU_NOT_FOUND:
        return ERR_GPU_NOT_FOUND;
    default:
        return ERR_GPU_CALL;
    }
}

static const char *
fix_of(int code)
{
    switch (code) {
    case NVML_ERROR_DRIVER_NOT_LOADED:
        return "load it with `modprobe nvidia`, or see `dmesg` for why it does not load";
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return "the driver was updated: reboot, or reload its kernel modules";
    case NVML_ERROR_GPU_IS_LOST:
    case NVML_ERROR_IRQ_ISSUE:
        return "reboot the machine; if it comes back, have the board inspected";
    case NVML_ERROR_RESET_REQUIRED:
        return "stop what uses the GPU, then `nvidia-smi --gpu-reset -i GPU`";
    default:
        return NULL;
    }
}

int
nvml_error(int code, struct err *reterr, const char *fmt, ...)
{
    char of[256];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(of, sizeof(of), fmt, args);
    va_end(args);
    int r = err_set(reterr, id_of(code), "%s: %s (NVML %d)", of, nvml_code_text(code), code);
    const char *fix = fix_of(code);
    if (fix)
        err_fix(reterr, "%s", fix);
    return r;
}

static const struct {
    const char *symbol;
    size_t at; /* in struct nvml */
} calls[] = {
#define NVML_CALL(name, args) {"nvml" #name, offsetof(struct nvml, name)},
#include "gpu/nvml_call.def"
#undef NVML_CALL
};

/* POSIX has dlsym() answer functions as void *; C has no cast for it. */
static void
resolve(struct nvml *nvml)
{
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        void *symbol = dlsym(nvml->library, calls[i].symbol);
        memcpy((char *)nvml + calls[i].at, &symbol, sizeof(symbol));
    }
}

static int
start(struct nvml *nvml)
{
    if (nvml->Init_v2)
        return nvml->Init_v2();
    return nvml_call(nvml, Init);
}

int
nvml_open(struct nvml *nvml, const char *path, struct err *reterr)
{
    *nvml = (struct nvml){0};
    if (!path)
        path = getenv("CITADEL_NVML");
    if (!path || !*path)
        path = LIBRARY;
    nvml->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!nvml->library) {
        int r = err_set(reterr, ERR_GPU_NO_LIBRARY, "no NVIDIA driver here: %s", dlerror());
        err_fix(reterr, "install the NVIDIA driver; in a container, start it with GPUs");
        return r;
    }
    resolve(nvml);
    int code = start(nvml);
    if (code != NVML_SUCCESS) {
        nvml_close(nvml);
        return nvml_error(code, reterr, "NVML does not start");
    }
    nvml->started = true;
    return 0;
}

void
nvml_close(struct nvml *nvml)
{
    if (nvml->started)
        (void)nvml_call(nvml, Shutdown);
    if (nvml->library)
        (void)dlclose(nvml->library);
    *nvml = (struct nvml){0};
}
