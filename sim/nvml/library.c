/* libnvidia-ml.so.1, made up: initialisation, handles, what every call does first. */

#include "sim/nvml/library_int.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((visibility("default"))) const char *nvmlErrorString(int code);

struct nvml_device {
    unsigned index;
};

static pthread_mutex_t init_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct fake fake = FAKE_INIT;
static unsigned inits;
static struct nvml_device devices[FAKE_GPUS_MAX]; /* those on the bus at initialisation */
static unsigned device_count;

const char *
nvmlErrorString(int code)
{
    switch (code) {
#define NVML_CODE(name, value, help) \
    case value:                      \
        return help;
#include "gpu/nvml_code.def"
#undef NVML_CODE
    default:
        return "an error without a name";
    }
}

static void
find_devices(void)
{
    unsigned count;
    const struct fake_gpu *gpus = fake_lock(&fake, &count);
    device_count = 0;
    for (unsigned i = 0; i < count; i++)
        if (!gpus[i].lost)
            devices[device_count++].index = i;
    fake_unlock(&fake);
}

static int
init_locked(const char *name)
{
    const char *dir = getenv(FAKE_NVML_ENV);
    struct err err = {0};
    if (inits == 0) {
        if (!dir || !*dir)
            return NVML_ERROR_DRIVER_NOT_LOADED;
        if (fake_open(&fake, dir, &err) < 0) {
            (void)fprintf(stderr, "fake NVML: %s\n", err.what);
            return NVML_ERROR_DRIVER_NOT_LOADED;
        }
    }
    (void)fake_lock(&fake, NULL);
    int code = fake_fault_check(&fake, name, FAKE_ANY);
    fake_unlock(&fake);
    if (code == NVML_SUCCESS && inits++ == 0)
        find_devices();
    if (inits == 0)
        fake_close(&fake);
    return code;
}

static int
init(const char *name)
{
    (void)pthread_mutex_lock(&init_mutex);
    int code = init_locked(name);
    (void)pthread_mutex_unlock(&init_mutex);
    return code;
}

int
nvmlInit(void)
{
    return init(__func__);
}

int
nvmlInit_v2(void)
{
    return init(__func__);
}

int
nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    return init(__func__);
}

int
nvmlShutdown(void)
{
    (void)pthread_mutex_lock(&init_mutex);
    int code = inits > 0 ? NVML_SUCCESS : NVML_ERROR_UNINITIALIZED;
    if (code == NVML_SUCCESS && --inits == 0)
        fake_close(&fake);
    (void)pthread_mutex_unlock(&init_mutex);
    return code;
}

int
device_index(const struct nvml_device *device)
{
    for (unsigned i = 0; i < device_count; i++)
        if (device == &devices[i])
            return (int)device->index;
    return -1;
}

struct nvml_device *
device_of(unsigned index)
{
    for (unsigned i = 0; i < device_count; i++)
        if (devices[i].index == index)
            return &devices[i];
    return NULL;
}

static struct call
begin(const char *name, int index)
{
    struct call call = {.index = (unsigned)index};
    if (__atomic_load_n(&inits, __ATOMIC_ACQUIRE) == 0) {
        call.code = NVML_ERROR_UNINITIALIZED;
        return call;
    }
    call.fake = &fake;
    (void)fake_lock(&fake, NULL);
    call.code = fake_fault_check(&fake, name, index);
    if (call.code == NVML_SUCCESS && index >= 0 && fake.state->gpus[index].lost)
        call.code = NVML_ERROR_GPU_IS_LOST;
    return call;
}

struct call
call_begin(const char *name)
{
    return begin(name, FAKE_ANY);
}

struct call
call_begin_on(const char *name, const struct nvml_device *device)
{
    int index = device_index(device);
    struct call call = begin(name, index);
    if (call.code == NVML_SUCCESS && index < 0)
        call.code = NVML_ERROR_INVALID_ARGUMENT;
    if (call.code == NVML_SUCCESS)
        call.gpu = &call.fake->state->gpus[index];
    return call;
}

void
call_end(struct call *call)
{
    if (call->fake)
        fake_unlock(call->fake);
}

int
give(unsigned *ret, unsigned value)
{
    if (value == FAKE_NONE)
        return NVML_ERROR_NOT_SUPPORTED;
    *ret = value;
    return NVML_SUCCESS;
}

int
give_text(char *text, unsigned bytes, const char *value)
{
    size_t len = strlen(value) + 1;
    if (len > bytes)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    memcpy(text, value, len);
    return NVML_SUCCESS;
}

bool
give_list(unsigned *count, unsigned have, const void *list, int *ret_code)
{
    unsigned room = *count;
    *count = have;
    *ret_code = NVML_SUCCESS;
    if (room < have)
        *ret_code = NVML_ERROR_INSUFFICIENT_SIZE;
    else if (have > 0 && !list)
        *ret_code = NVML_ERROR_INVALID_ARGUMENT;
    return *ret_code == NVML_SUCCESS;
}

int
nvmlSystemGetDriverVersion(char *text, unsigned bytes)
{
    NOWHERE(text)
    return give_text(text, bytes, call.fake->state->driver);
}

int
nvmlSystemGetNVMLVersion(char *text, unsigned bytes)
{
    char version[NVML_VERSION_BYTES + 16];
    NOWHERE(text)
    const struct fake_state *state = call.fake->state;
    (void)snprintf(version, sizeof(version), "%u.%s", state->cuda_version / 1000, state->driver);
    return give_text(text, bytes, version);
}

int
nvmlSystemGetCudaDriverVersion(int *ret_version)
{
    NOWHERE(ret_version)
    *ret_version = (int)call.fake->state->cuda_version;
    return NVML_SUCCESS;
}

int
nvmlSystemGetCudaDriverVersion_v2(int *ret_version)
{
    return nvmlSystemGetCudaDriverVersion(ret_version);
}

int
nvmlSystemGetProcessName(unsigned pid, char *text, unsigned bytes)
{
    char path[48], name[256];
    NOWHERE(text)
    (void)snprintf(path, sizeof(path), "/proc/%u/cmdline", pid);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, name, sizeof(name) - 1);
    if (len <= 0)
        return NVML_ERROR_NOT_FOUND;
    name[len] = '\0'; /* of the arguments, which end with zeros, the first */
    return give_text(text, bytes, name);
}

int
nvmlDeviceGetCount_v2(unsigned *ret_count)
{
    NOWHERE(ret_count)
    return give(ret_count, device_count);
}

int
nvmlDeviceGetCount(unsigned *ret_count)
{
    return nvmlDeviceGetCount_v2(ret_count);
}

static int
give_handle(const struct call *call, struct nvml_device *device, struct nvml_device **ret_device)
{
    if (call->fake->state->gpus[device->index].lost)
        return NVML_ERROR_GPU_IS_LOST;
    *ret_device = device;
    return NVML_SUCCESS;
}

int
nvmlDeviceGetHandleByIndex_v2(unsigned index, struct nvml_device **ret_device)
{
    NOWHERE(ret_device && index < device_count)
    return give_handle(&call, &devices[index], ret_device);
}

int
nvmlDeviceGetHandleByIndex(unsigned index, struct nvml_device **ret_device)
{
    return nvmlDeviceGetHandleByIndex_v2(index, ret_device);
}

int
nvmlDeviceGetHandleByUUID(const char *uuid, struct nvml_device **ret_device)
{
    NOWHERE(uuid && ret_device)
    for (unsigned i = 0; i < device_count; i++)
        if (strcmp(uuid, call.fake->state->gpus[devices[i].index].uuid) == 0)
            return give_handle(&call, &devices[i], ret_device);
    return NVML_ERROR_NOT_FOUND;
}

int
nvmlDeviceGetHandleBySerial(const char *serial, struct nvml_device **ret_device)
{
    NOWHERE(serial && ret_device)
    for (unsigned i = 0; i < device_count; i++)
        if (strcmp(serial, call.fake->state->gpus[devices[i].index].serial) == 0)
            return give_handle(&call, &devices[i], ret_device);
    return NVML_ERROR_NOT_FOUND;
}

/* domain:bus:device.function, domain:bus:device or bus:device.function, in hexadecimal. */
static bool
read_bus_id(const char *text, unsigned long *ret_domain, unsigned long *ret_bus,
            unsigned long *ret_device)
{
    unsigned long part[3];
    unsigned count = 0;
    char *end;
    for (;;) {
        part[count++] = strtoul(text, &end, 16);
        if (end == text || *end != ':' || count == ARRAY_SIZE(part))
            break;
        text = end + 1;
    }
    bool has_function = *end == '.' && end[1];
    if (count < 2 || end == text || (*end && !has_function) || (count == 2 && !has_function))
        return false;
    *ret_domain = count == 3 ? part[0] : 0;
    *ret_bus = part[count - 2];
    *ret_device = part[count - 1];
    return true;
}

int
nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, struct nvml_device **ret_device)
{
    unsigned long domain, bus, device;
    NOWHERE(bus_id && ret_device && read_bus_id(bus_id, &domain, &bus, &device))
    for (unsigned i = 0; i < device_count; i++) {
        const struct fake_gpu *gpu = &call.fake->state->gpus[devices[i].index];
        if (gpu->domain == domain && gpu->bus == bus && device == 0)
            return give_handle(&call, &devices[i], ret_device);
    }
    return NVML_ERROR_NOT_FOUND;
}

int
nvmlDeviceGetHandleByPciBusId(const char *bus_id, struct nvml_device **ret_device)
{
    return nvmlDeviceGetHandleByPciBusId_v2(bus_id, ret_device);
}

int
nvmlDeviceGetIndex(struct nvml_device *device, unsigned *ret_index)
{
    ON(device, ret_index)
    return give(ret_index, (unsigned)(device - devices));
}
