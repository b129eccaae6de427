#include "gpu/settings_int.h"

#include "base/text.h"
#include "gpu/nvml.h"
#include "sys/errand.h"
#include "sys/fault.h"
#include "sys/files.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

/* ---- one setting of one GPU: enum nvml_code ---- */

static int
get_persistence(struct nvml *nvml, struct nvml_device *device, uint64_t *ret)
{
    int on = 0;
    int code = nvml_call(nvml, DeviceGetPersistenceMode, device, &on);
    *ret = on != 0;
    return code;
}

static int
set_persistence(struct nvml *nvml, struct nvml_device *device, uint64_t value)
{
    return nvml_call(nvml, DeviceSetPersistenceMode, device, (int)value);
}

static int
get_compute_mode(struct nvml *nvml, struct nvml_device *device, uint64_t *ret)
{
    int mode = 0;
    int code = nvml_call(nvml, DeviceGetComputeMode, device, &mode);
    *ret = (uint64_t)mode;
    return code;
}

static int
set_compute_mode(struct nvml *nvml, struct nvml_device *device, uint64_t value)
{
    return nvml_call(nvml, DeviceSetComputeMode, device, (int)value);
}

static int
get_power_limit_mw(struct nvml *nvml, struct nvml_device *device, uint64_t *ret)
{
    unsigned mw = 0;
    int code = nvml_call(nvml, DeviceGetPowerManagementLimit, device, &mw);
    *ret = mw;
    return code;
}

static int
set_power_limit_mw(struct nvml *nvml, struct nvml_device *device, uint64_t value)
{
    return nvml_call(nvml, DeviceSetPowerManagementLimit, device, (unsigned)value);
}

/* The driver has no call that tells; it does have one that tells whether there are such clocks. */
static int
get_clock(struct nvml *nvml, struct nvml_device *device, int clock, uint64_t *ret)
{
    unsigned mhz = 0;
    *ret = 0;
    return nvml_call(nvml, DeviceGetMaxClockInfo, device, clock, &mhz);
}

static int
get_graphics_mhz(struct nvml *nvml, struct nvml_device *device, uint64_t *ret)
{
    return get_clock(nvml, device, NVML_CLOCK_GRAPHICS, ret);
}

static int
set_graphics_mhz(struct nvml *nvml, struct nvml_device *device, uint64_t value)
{
    if (value == 0)
        return nvml_call(nvml, DeviceResetGpuLockedClocks, device);
    return nvml_call(nvml, DeviceSetGpuLockedClocks, device, 0, (unsigned)value);
}

static int
get_memory_mhz(struct nvml *nvml, struct nvml_device *device, uint64_t *ret)
{
    return get_clock(nvml, device, NVML_CLOCK_MEMORY, ret);
}

static int
set_memory_mhz(struct nvml *nvml, struct nvml_device *device, uint64_t value)
{
    if (value == 0)
        return nvml_call(nvml, DeviceResetMemoryLockedClocks, device);
    return nvml_call(nvml, DeviceSetMemoryLockedClocks, device, (unsigned)value, (unsigned)value);
}

static const struct {
    int (*get)(struct nvml *nvml, struct nvml_device *device, uint64_t *ret);
    int (*set)(struct nvml *nvml, struct nvml_device *device, uint64_t value);
} calls[GPU_SETTINGS] = {
#define GPU_SETTING(name, option, unit, help) {get_##name, set_##name},
#include "gpu/setting.def"
#undef GPU_SETTING
};

static bool
is_clock(enum gpu_setting setting)
{
    return setting == GPU_SETTING_graphics_mhz || setting == GPU_SETTING_memory_mhz;
}

/* ---- all GPUs ---- */

struct changing {
    struct nvml *nvml;
    struct nvml_device *devices[GPU_INVENTORY_MAX];
    struct gpu_changes *changes;
    struct gpu_memory_file memory;
};

static int
list_gpus(struct changing *c, struct err *reterr)
{
    unsigned count = 0;
    int code = nvml_call(c->nvml, DeviceGetCount_v2, &count);
    if (code != NVML_SUCCESS)
        return nvml_error(code, reterr, "counting the GPUs");
    c->changes->count = 0;
    for (unsigned i = 0; i < MIN(count, (unsigned)GPU_INVENTORY_MAX); i++) {
        struct gpu_change *gpu = &c->changes->gpus[c->changes->count];
        *gpu = (struct gpu_change){.index = i};
        code = nvml_call(c->nvml, DeviceGetHandleByIndex_v2, i, &c->devices[c->changes->count]);
        if (code == NVML_SUCCESS)
            code = nvml_call(c->nvml, DeviceGetUUID, c->devices[c->changes->count], gpu->uuid,
                             sizeof(gpu->uuid));
        if (code != NVML_SUCCESS)
            continue; /* one that is lost has nothing to be set */
        (void)nvml_call(c->nvml, DeviceGetName, c->devices[c->changes->count], gpu->name,
                        sizeof(gpu->name));
        c->changes->count++;
    }
    return 0;
}

static void
refuse(const struct gpu_change *gpu, enum gpu_setting setting, int code, struct gpu_change_of *of)
{
    const struct gpu_setting_row *row = &gpu_setting_rows[setting];
    of->fate = GPU_REFUSED;
    (void)nvml_error(code, &of->why, "GPU %u: %s", gpu->index, row->option);
    if (of->why.id == ERR_NOT_PERMITTED)
        err_fix(&of->why, "run it as root");
    else if (!of->why.fix[0])
        err_fix(&of->why, "leave gpu.%s out, or set it to another value", row->option);
}

/* What a power limit may be is told with it: the driver only says that it is an invalid argument. */
static bool
is_in_range(struct changing *c, size_t i, uint64_t mw, struct gpu_change_of *of)
{
    unsigned least = 0, most = 0;
    int code =
        nvml_call(c->nvml, DeviceGetPowerManagementLimitConstraints, c->devices[i], &least, &most);
    if (code != NVML_SUCCESS || (mw >= least && mw <= most))
        return true;
    of->fate = GPU_REFUSED;
    (void)err_set(&of->why, ERR_GPU_SETTING,
                  "GPU %u: a power limit of %u W is not possible, only %u to %u W",
                  c->changes->gpus[i].index, (unsigned)(mw / 1000), least / 1000, most / 1000);
    err_fix(&of->why, "set gpu.power_limit to a value between them");
    return false;
}

/* ---- as wished ---- */

/* Decides what is to be changed, and notes what was found of it. */
static void
look(struct changing *c, size_t i, enum gpu_setting setting, uint64_t wanted)
{
    struct gpu_change *gpu = &c->changes->gpus[i];
    struct gpu_change_of *of = &gpu->of[setting];
    int code = calls[setting].get(c->nvml, c->devices[i], &of->before.n);
    of->before.known = code == NVML_SUCCESS && !is_clock(setting);
    of->after = (struct gpu_value){wanted, true};
    if (code != NVML_SUCCESS) {
        refuse(gpu, setting, code, of);
        return;
    }
    if (of->before.known && of->before.n == wanted) {
        of->fate = GPU_RIGHT;
        return;
    }
    if (setting == GPU_SETTING_power_limit_mw && !is_in_range(c, i, wanted, of))
        return;
    struct gpu_settings *found = settings_entry(&c->memory, gpu->uuid);
    if (!found) {
        refuse(gpu, setting, NVML_ERROR_INSUFFICIENT_RESOURCES, of);
        return;
    }
    if (!found->of[setting].known)
        found->of[setting] = (struct gpu_value){of->before.n, true};
    of->fate = GPU_CHANGED;
}

/* That a driver has taken a value is believed when it tells it. */
static void
change(struct changing *c, size_t i, enum gpu_setting setting)
{
    struct gpu_change *gpu = &c->changes->gpus[i];
    struct gpu_change_of *of = &gpu->of[setting];
    uint64_t now = 0;
    int r = fault_point("nvml");
    int code = r < 0 ? NVML_ERROR_UNKNOWN : calls[setting].set(c->nvml, c->devices[i], of->after.n);
    if (code != NVML_SUCCESS) {
        refuse(gpu, setting, code, of);
        return;
    }
    if (is_clock(setting) || calls[setting].get(c->nvml, c->devices[i], &now) != NVML_SUCCESS ||
        now == of->after.n)
        return;
    of->fate = GPU_REFUSED;
    (void)err_set(&of->why, ERR_GPU_CALL, "GPU %u: %s was set to %llu%s and is %llu all the same",
                  gpu->index, gpu_setting_rows[setting].option, (unsigned long long)of->after.n,
                  gpu_setting_rows[setting].unit, (unsigned long long)now);
    err_fix(&of->why, "see whether another program sets it, nvidia-persistenced or nvidia-smi");
}

int
gpu_settings_apply(struct nvml *nvml, const struct gpu_settings *wish, const char *state,
                   struct gpu_changes *ret_changes, struct err *reterr)
{
    struct changing c = {.nvml = nvml, .changes = ret_changes};
    bool differs = false;
    int r = gpu_memory_load(state, &c.memory, reterr);
    if (r == 0)
        r = list_gpus(&c, reterr);
    if (r < 0)
        return r;
    for (size_t i = 0; i < ret_changes->count; i++)
        for (enum gpu_setting s = 0; s < GPU_SETTINGS; s++)
            if (wish->of[s].known) {
                look(&c, i, s, wish->of[s].n);
                differs = differs || ret_changes->gpus[i].of[s].fate == GPU_CHANGED;
            }
    r = differs ? settings_save(state, &c.memory, reterr) : 0;
    if (r < 0)
        return r;
    for (size_t i = 0; i < ret_changes->count; i++)
        for (enum gpu_setting s = 0; s < GPU_SETTINGS; s++)
            if (ret_changes->gpus[i].of[s].fate == GPU_CHANGED)
                change(&c, i, s);
    return 0;
}

/* ---- as it was ---- */

static void
put_back(struct changing *c, size_t i, struct gpu_settings *found, enum gpu_setting setting)
{
    struct gpu_change_of *of = &c->changes->gpus[i].of[setting];
    int code = calls[setting].get(c->nvml, c->devices[i], &of->before.n);
    of->before.known = code == NVML_SUCCESS && !is_clock(setting);
    of->after = found->of[setting];
    of->fate = of->before.known && of->before.n == of->after.n ? GPU_RIGHT : GPU_CHANGED;
    if (of->fate == GPU_CHANGED)
        change(c, i, setting);
    if (of->fate != GPU_REFUSED)
        found->of[setting].known = false;
}

int
gpu_settings_restore(struct nvml *nvml, const char *state, struct gpu_changes *ret_changes,
                     struct err *reterr)
{
    struct changing c = {.nvml = nvml, .changes = ret_changes};
    int r = gpu_memory_load(state, &c.memory, reterr);
    if (r == 0)
        r = list_gpus(&c, reterr);
    if (r < 0 || c.memory.count == 0)
        return r;
    for (size_t i = 0; i < ret_changes->count; i++) {
        if (!gpu_memory_find(&c.memory, ret_changes->gpus[i].uuid))
            continue;
        struct gpu_settings *found = settings_entry(&c.memory, ret_changes->gpus[i].uuid);
        for (enum gpu_setting s = GPU_SETTINGS; found && s > 0; s--)
            if (found->of[s - 1].known)
                put_back(&c, i, found, s - 1);
    }
    settings_drop_empty(&c.memory);
    return settings_save(state, &c.memory, reterr);
}

/* ---- in a child ---- */

struct errand {
    const struct gpu_settings *wish;
    const char *state;
};

static void
work(int to, const void *arg)
{
    const struct errand *e = arg;
    static struct gpu_changes changes;
    _cleanup_nvml_ struct nvml nvml = {0};
    struct err err = {0};
    int r = nvml_open(&nvml, NULL, &err);
    if (r == 0)
        r = e->wish ? gpu_settings_apply(&nvml, e->wish, e->state, &changes, &err)
                    : gpu_settings_restore(&nvml, e->state, &changes, &err);
    (void)(errand_tell(to, &err, sizeof(err)) &&
           (r < 0 || errand_tell(to, &changes, sizeof(changes))));
}

/* The same program wrote it: structs as they lie in memory. */
static int
take(const struct buf *told, struct gpu_changes *ret_changes, struct err *reterr)
{
    struct err err;
    if (told->len >= sizeof(err)) {
        memcpy(&err, told->data, sizeof(err));
        if (err.id != ERR_NONE) {
            if (reterr)
                *reterr = err;
            return -err_row(err.id)->err;
        }
        if (told->len == sizeof(err) + sizeof(*ret_changes)) {
            memcpy(ret_changes, told->data + sizeof(err), sizeof(*ret_changes));
            return 0;
        }
    }
    int r = err_set(reterr, ERR_GPU_CALL, "setting the GPUs was cut off");
    err_fix(reterr, "see `nvidia-smi` and `dmesg`");
    return r;
}

static int
tell_hung(uint64_t limit_us, struct err *reterr)
{
    int r = err_set(reterr, ERR_GPU_SICK, "the NVIDIA driver has not answered for %llu s",
                    (unsigned long long)limit_us / 1000000);
    err_fix(reterr, "see `nvidia-smi` and `dmesg`; what was found before is remembered");
    return r;
}

/* Two at once would each remember what the other has set. */
static int
take_lock(const char *state, struct err *reterr)
{
    _cleanup_free_ char *dir = mem_printf("%s/gpu", state), *path = mem_printf("%s/lock", dir);
    int r = file_make_dirs(dir, 0755, reterr);
    if (r < 0)
        return r;
    int fd = file_open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return root_err(reterr, fd, "cannot open '%s'", path);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    r = errno == EWOULDBLOCK
            ? err_set(reterr, ERR_CHANGE_BUSY, "another process is setting the GPUs")
            : err_set_errno(reterr, errno, "cannot lock '%s'", path);
    cleanup_close(&fd);
    return r;
}

int
gpu_settings_run(const struct gpu_settings *wish, const char *state, uint64_t limit_us,
                 struct gpu_changes *ret_changes, struct err *reterr)
{
    _cleanup_buf_ struct buf told = BUF_INIT(sizeof(struct err) + sizeof(*ret_changes));
    const struct errand errand = {wish, state};
    _cleanup_close_ int lock = take_lock(state, reterr);
    if (lock < 0)
        return lock;
    int r = errand_run(work, &errand, limit_us, &told);
    if (r == -ETIMEDOUT)
        return tell_hung(limit_us, reterr);
    return take(&told, ret_changes, reterr);
}
