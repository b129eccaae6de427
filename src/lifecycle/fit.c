#include "lifecycle/fit.h"

#include "base/quantity.h"
#include "config/config.h"
#include "gpu/lease.h"
#include "gpu/memory.h"
#include "plan/plan.h"
#include "run/place.h"

#include <stdio.h>

static int
tell_leased(const struct config_model *model, const struct gpu *gpu, uint64_t wanted,
            uint64_t leased, uint64_t total, const struct gpu_leases *leases, struct err *reterr)
{
    char holders[200] = "";
    size_t len = 0;
    quantity_text wants, left;
    for (size_t i = 0; i < leases->count && len < sizeof(holders); i++)
        for (size_t p = 0; p < leases->items[i].part_count && len < sizeof(holders); p++)
            if (text_eq(leases->items[i].parts[p].uuid, gpu->uuid))
                len += (size_t)snprintf(holders + len, sizeof(holders) - len, "%s%s",
                                        len ? ", " : "", leases->items[i].holder.name);
    int r = err_set(reterr, ERR_GPU_LEASED, "%s wants %s of GPU %u, and %s leave%s %s of it",
                    model->name, quantity_show_bytes(wanted, wants), gpu->index, holders,
                    leases->count == 1 ? "s" : "", quantity_show_bytes(total - leased, left));
    err_fix(reterr, "citadel stop %s", holders);
    return r;
}

static int
check_part(const struct config_model *model, const struct gpu_lease_part *part,
           const struct gpu *gpu, const struct gpu_leases *leases, struct err *reterr)
{
    uint64_t leased = gpu_leases_sum(leases, part->uuid, part->total_bytes);
    leased = MIN(leased, part->total_bytes);
    if (part->bytes > part->total_bytes - leased)
        return tell_leased(model, gpu, part->bytes, leased, part->total_bytes, leases, reterr);
    return gpu_memory_check_free(gpu, part->bytes, reterr);
}

int
lifecycle_fit(const struct config_model *model, const struct gpu_inventory *inventory,
              const struct gpu_leases *leases, bool fake_driver, struct err *reterr)
{
    enum plan_gpus gpus = plan_gpus_of(model, fake_driver);
    unsigned indices[GPU_LEASE_PARTS_MAX];
    struct gpu_lease lease = {0};
    const struct place_wish wish = {.devices = model->gpus.items,
                                    .device_count = model->gpus.count,
                                    .count = plan_gpu_count(model),
                                    .fraction = model->gpu_memory_fraction};
    bool none = !inventory || inventory->count == 0;
    if (gpus == PLAN_GPUS_NEVER || (gpus == PLAN_GPUS_IF_THERE && none))
        return 0;
    if (none)
        return err_set(reterr, ERR_GPU_NOT_FOUND, "%s needs a GPU, and none can be seen",
                       model->name);
    int r = place_choose(&wish, inventory, leases, &lease, indices, reterr);
    for (size_t i = 0; r == 0 && i < lease.part_count; i++)
        for (size_t g = 0; r == 0 && g < inventory->count; g++)
            if (inventory->gpus[g].index == indices[i])
                r = check_part(model, &lease.parts[i], &inventory->gpus[g], leases, reterr);
    return r;
}
