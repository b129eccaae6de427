#include "gpu/transfer.h"

#include "base/mem.h"

#include <string.h>

void
gpu_transfer_print(const struct gpu_inventory *inventory, const struct err *err, struct buf *out)
{
    buf_add(out, err, sizeof(*err));
    if (!inventory)
        return;
    buf_add(out, inventory, sizeof(*inventory));
    buf_add(out, inventory->gpus, inventory->count * sizeof(*inventory->gpus));
    for (size_t i = 0; i < inventory->count; i++)
        buf_add(out, inventory->gpus[i].processes,
                inventory->gpus[i].process_count * sizeof(*inventory->gpus[i].processes));
}

struct taking {
    const char *at;
    size_t left;
};

/* The next so many bytes as memory of their own; NULL for none, and false when they are not there. */
static bool
take(struct taking *t, size_t len, void **ret_bytes)
{
    *ret_bytes = NULL;
    if (len > t->left)
        return false;
    if (len) {
        *ret_bytes = mem_alloc(len);
        memcpy(*ret_bytes, t->at, len);
    }
    t->at += len;
    t->left -= len;
    return true;
}

static bool
take_into(struct taking *t, void *to, size_t len)
{
    if (len > t->left)
        return false;
    memcpy(to, t->at, len);
    t->at += len;
    t->left -= len;
    return true;
}

static bool
take_gpus(struct taking *t, struct gpu_inventory *inventory)
{
    size_t count = inventory->count;
    void *gpus;
    inventory->count = 0;
    inventory->gpus = NULL;
    if (count > GPU_INVENTORY_MAX || !take(t, count * sizeof(*inventory->gpus), &gpus))
        return false;
    assert(count == 0 || gpus);
    inventory->gpus = gpus;
    for (size_t i = 0; i < count; i++)
        inventory->gpus[i].processes = NULL;
    inventory->count = count;
    for (size_t i = 0; i < count; i++) {
        struct gpu *gpu = &inventory->gpus[i];
        void *processes;
        if (gpu->process_count > GPU_PROCESSES_MAX ||
            !take(t, gpu->process_count * sizeof(*gpu->processes), &processes))
            return false;
        gpu->processes = processes;
    }
    return true;
}

int
gpu_transfer_read(const char *bytes, size_t len, struct gpu_inventory *ret_inventory,
                  struct err *reterr)
{
    struct taking t = {bytes, len};
    struct gpu_inventory inventory = {0};
    struct err told;
    bool whole = take_into(&t, &told, sizeof(told));
    if (whole && told.id != ERR_NONE && told.id < ERR_COUNT) {
        if (reterr)
            *reterr = told;
        return -err_row(told.id)->err;
    }
    whole = whole && take_into(&t, &inventory, sizeof(inventory)) && take_gpus(&t, &inventory);
    if (whole) {
        *ret_inventory = inventory;
        return 0;
    }
    gpu_inventory_finish(&inventory);
    int r = err_set(reterr, ERR_GPU_CALL, "reading the GPUs was cut off");
    err_fix(reterr, "see `nvidia-smi` and `dmesg`");
    return r;
}
