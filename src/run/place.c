#include "run/place.h"

#include "base/quantity.h"
#include "gpu/inventory.h"
#include "gpu/lease.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int refuse(struct err *reterr, enum err_id id, const char *fix, const char *fmt, ...)
    printf_like(4, 5);

static int
refuse(struct err *reterr, enum err_id id, const char *fix, const char *fmt, ...)
{
    char what[sizeof(reterr->what)];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    int r = err_set(reterr, id, "%s", what);
    err_fix(reterr, "%s", fix);
    return r;
}

static uint64_t
share(const struct gpu *gpu, double fraction)
{
    return (uint64_t)((double)gpu->memory_total_bytes.n * fraction);
}

static uint64_t
unleased(const struct gpu *gpu, const struct gpu_leases *leases)
{
    uint64_t total = gpu->memory_total_bytes.n;
    uint64_t leased = gpu_leases_sum(leases, gpu->uuid, total);
    return leased < total ? total - leased : 0;
}

static bool
is_usable(const struct gpu *gpu)
{
    return gpu->trouble == NVML_SUCCESS && gpu->memory_total_bytes.known;
}

static void
add_part(struct gpu_lease *lease, const struct gpu *gpu, double fraction, unsigned *indices)
{
    struct gpu_lease_part *part = &lease->parts[lease->part_count];
    *part = (struct gpu_lease_part){.bytes = share(gpu, fraction),
                                    .total_bytes = gpu->memory_total_bytes.n};
    (void)snprintf(part->uuid, sizeof(part->uuid), "%s", gpu->uuid);
    indices[lease->part_count++] = gpu->index;
}

static bool
is_taken(const struct gpu_lease *lease, const struct gpu *gpu)
{
    for (size_t i = 0; i < lease->part_count; i++)
        if (strcmp(lease->parts[i].uuid, gpu->uuid) == 0)
            return true;
    return false;
}

static int
choose_named(const struct place_wish *wish, const struct gpu_inventory *inventory,
             struct gpu_lease *lease, unsigned *indices, struct err *reterr)
{
    if (wish->device_count != wish->count)
        return refuse(reterr, ERR_GPU_TOO_SMALL, "name as many in gpus, or none",
                      "gpus names %zu, and tensor_parallel times pipeline_parallel is %u",
                      wish->device_count, wish->count);
    for (size_t i = 0; i < wish->device_count; i++) {
        const struct gpu *gpu;
        int r = gpu_find(inventory, wish->devices[i], &gpu, reterr);
        if (r < 0)
            return r;
        if (is_taken(lease, gpu))
            return refuse(reterr, ERR_GPU_TOO_SMALL, "name each once, by index or by UUID",
                          "gpus names GPU %u twice", gpu->index);
        if (!is_usable(gpu))
            return refuse(reterr, ERR_GPU_SICK, "see nvidia-smi; or name another in gpus",
                          "GPU %u cannot be used now", gpu->index);
        add_part(lease, gpu, wish->fraction, indices);
    }
    return 0;
}

/* With the most unleased memory; of equals, the first. */
static const struct gpu *
find_emptiest(const struct gpu_inventory *inventory, const struct gpu_leases *leases,
              const struct gpu_lease *lease)
{
    const struct gpu *best = NULL;
    for (size_t i = 0; i < inventory->count; i++) {
        const struct gpu *gpu = &inventory->gpus[i];
        if (is_usable(gpu) && !is_taken(lease, gpu) &&
            (!best || unleased(gpu, leases) > unleased(best, leases)))
            best = gpu;
    }
    return best;
}

static int
refuse_share(const struct gpu *gpu, uint64_t needs, uint64_t has, const struct gpu_leases *leases,
             struct err *reterr)
{
    char holders[160] = "";
    size_t len = 0;
    quantity_text needs_text, has_text;
    for (size_t i = 0; i < leases->count && len < sizeof(holders); i++)
        for (size_t p = 0; p < leases->items[i].part_count && len < sizeof(holders); p++)
            if (strcmp(leases->items[i].parts[p].uuid, gpu->uuid) == 0)
                len += (size_t)snprintf(holders + len, sizeof(holders) - len, "%s%s",
                                        len ? ", " : "", leases->items[i].holder.name);
    int r = err_set(reterr, ERR_GPU_LEASED, "%s of GPU %u are needed, and %s are not leased to %s",
                    quantity_show_bytes(needs, needs_text), gpu->index,
                    quantity_show_bytes(has, has_text), holders[0] ? holders : "anybody");
    err_fix(reterr, "stop one of them, or lower gpu_memory_fraction");
    return r;
}

/* Neighbours are often wired to each other: an engine is given them in the machine's order. */
static void
put_in_order(struct gpu_lease *lease, unsigned *indices)
{
    for (size_t i = 1; i < lease->part_count; i++)
        for (size_t j = i; j > 0 && indices[j - 1] > indices[j]; j--) {
            struct gpu_lease_part part = lease->parts[j];
            unsigned index = indices[j];
            lease->parts[j] = lease->parts[j - 1];
            indices[j] = indices[j - 1];
            lease->parts[j - 1] = part;
            indices[j - 1] = index;
        }
}

static int
choose_any(const struct place_wish *wish, const struct gpu_inventory *inventory,
           const struct gpu_leases *leases, struct gpu_lease *lease, unsigned *indices,
           struct err *reterr)
{
    while (lease->part_count < wish->count) {
        const struct gpu *gpu = find_emptiest(inventory, leases, lease);
        if (!gpu)
            return refuse(reterr, ERR_GPU_TOO_SMALL, "lower tensor_parallel; or see nvidia-smi",
                          "%u GPUs are needed; %zu can be used here", wish->count,
                          lease->part_count);
        uint64_t needs = share(gpu, wish->fraction), has = unleased(gpu, leases);
        if (has < needs)
            return refuse_share(gpu, needs, has, leases, reterr);
        add_part(lease, gpu, wish->fraction, indices);
    }
    put_in_order(lease, indices);
    return 0;
}

int
place_choose(const struct place_wish *wish, const struct gpu_inventory *inventory,
             const struct gpu_leases *leases, struct gpu_lease *lease, unsigned *indices,
             struct err *reterr)
{
    lease->part_count = 0;
    if (wish->count > GPU_LEASE_PARTS_MAX)
        return refuse(reterr, ERR_GPU_TOO_SMALL, "lower tensor_parallel or pipeline_parallel",
                      "%u GPUs are more than the %d that can be leased", wish->count,
                      GPU_LEASE_PARTS_MAX);
    if (wish->device_count)
        return choose_named(wish, inventory, lease, indices, reterr);
    return choose_any(wish, inventory, leases, lease, indices, reterr);
}
