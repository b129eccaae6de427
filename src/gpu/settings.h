#pragma once

/* Settings of the GPUs: made as wished, and put back.
 *
 * What was found is written to STATE/gpu/settings.json, and is on the disk, before anything is changed:
 *
 *     {"boot": "...", "gpus": [{"uuid": "GPU-...", "found": {"power_limit_mw": 700000}}]}
 *
 * It has the settings that were changed and no others. What is there is never overwritten, so that
 * doing it twice keeps the first; it goes when all of it was put back. A driver forgets its settings
 * at a reboot, so what was found before one means nothing any more. Whether a clock is locked cannot be
 * asked of the driver: one that we lock counts as having been free. */

#include "base/buf.h"
#include "base/err.h"
#include "gpu/inventory.h"

struct nvml;

enum gpu_setting {
#define GPU_SETTING(name, option, unit, help) GPU_SETTING_##name,
#include "gpu/setting.def"
#undef GPU_SETTING
    GPU_SETTINGS
};

struct gpu_setting_row {
    const char *name, *option, *unit, *help;
};
extern const struct gpu_setting_row gpu_setting_rows[GPU_SETTINGS];

/* Values of some of the settings. */
struct gpu_settings {
    struct gpu_value of[GPU_SETTINGS]; /* not known: not among them */
};

/* What is remembered of this boot. */
struct gpu_memory_file {
    char boot[40];
    size_t count;
    struct gpu_memory_entry {
        char uuid[NVML_UUID_BYTES];
        struct gpu_settings found;
    } gpus[GPU_INVENTORY_MAX];
};

/* What became of a setting of a GPU. */
enum gpu_fate {
    GPU_LEFT,    /* nothing was wished, or remembered */
    GPU_RIGHT,   /* it was so already */
    GPU_CHANGED, /* it is so now */
    GPU_REFUSED, /* the driver does not do it */
};

struct gpu_changes {
    size_t count;
    struct gpu_change {
        unsigned index;
        char name[NVML_NAME_BYTES], uuid[NVML_UUID_BYTES];
        struct gpu_change_of {
            enum gpu_fate fate;
            struct gpu_value before, after;
            struct err why; /* it was refused */
        } of[GPU_SETTINGS];
    } gpus[GPU_INVENTORY_MAX];
};

/* Both call the driver, which may hang for ever: see gpu_settings_run(). An error is of all;
 * what a GPU refuses is in its change, and the others go on. */
int gpu_settings_apply(struct nvml *nvml, const struct gpu_settings *wish, const char *state,
                       struct gpu_changes *ret_changes, struct err *reterr) must_check;
int gpu_settings_restore(struct nvml *nvml, const char *state, struct gpu_changes *ret_changes,
                         struct err *reterr) must_check;

/* The same in a child with a limit, the library loaded there; one at a time on a host. wish: NULL to
 * restore. */
int gpu_settings_run(const struct gpu_settings *wish, const char *state, uint64_t limit_us,
                     struct gpu_changes *ret_changes, struct err *reterr) must_check;

/* The file. One that is not there, or is of another boot, remembers nothing. */
int gpu_memory_load(const char *state, struct gpu_memory_file *ret_memory, struct err *reterr)
    must_check;
int gpu_memory_parse(const char *text, size_t len, struct gpu_memory_file *ret_memory,
                     struct err *reterr) must_check;
void gpu_memory_print(const struct gpu_memory_file *memory, struct buf *out);
const struct gpu_settings *gpu_memory_find(const struct gpu_memory_file *memory, const char *uuid);
