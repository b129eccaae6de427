#include "run/place.h"

#include "gpu/inventory.h"
#include "gpu/lease.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

/* Three GPUs of 80 GiB; `a` has 40 GiB of the first, `b` 70 of the second. */
struct rig {
    struct gpu gpus[3];
    struct gpu_inventory inventory;
    struct gpu_lease held[2];
    struct gpu_leases leases;
};

static void
fill(struct rig *rig)
{
    *rig = (struct rig){.inventory = {.count = 3, .gpus = rig->gpus},
                        .leases = {.items = rig->held, .count = 2}};
    for (unsigned i = 0; i < 3; i++) {
        rig->gpus[i].index = i;
        (void)snprintf(rig->gpus[i].uuid, sizeof(rig->gpus[i].uuid), "GPU-%u", i);
        rig->gpus[i].memory_total_bytes = (struct gpu_value){80 * GIB, true};
    }
    for (unsigned i = 0; i < 2; i++) {
        struct gpu_lease *lease = &rig->held[i];
        (void)snprintf(lease->holder.name, sizeof(lease->holder.name), "%c", 'a' + i);
        lease->part_count = 1;
        lease->parts[0].bytes = (i ? 70 : 40) * GIB;
        lease->parts[0].total_bytes = 80 * GIB;
        memcpy(lease->parts[0].uuid, rig->gpus[i].uuid, 6);
    }
}

TEST(gpus_are_chosen_by_what_is_not_leased)
{
    static const struct {
        const char *devices[3];
        unsigned count;
        double fraction;
        enum err_id id;
        unsigned first, second;
    } rows[] = {
        {{0}, 1, 0.9, ERR_NONE, 2, 0},
        {{0}, 2, 0.5, ERR_NONE, 0, 2}, /* 2 has more, 0 comes first */
        {{0}, 2, 0.6, ERR_GPU_LEASED, 0, 0},
        {{0}, 4, 0.1, ERR_GPU_TOO_SMALL, 0, 0},
        {{0}, 33, 0.1, ERR_GPU_TOO_SMALL, 0, 0},
        {{"1"}, 1, 0.1, ERR_NONE, 1, 0},
        {{"1"}, 1, 0.9, ERR_NONE, 1, 0}, /* taking the lease tells that it is not free */
        {{"1", "0"}, 2, 0.1, ERR_NONE, 1, 0},
        {{"1"}, 2, 0.1, ERR_GPU_TOO_SMALL, 0, 0},
        {{"1", "1"}, 2, 0.1, ERR_GPU_TOO_SMALL, 0, 0},
        {{"7"}, 1, 0.1, ERR_GPU_NOT_FOUND, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct rig rig;
        struct gpu_lease lease;
        unsigned indices[GPU_LEASE_PARTS_MAX];
        struct err err = {0};
        struct place_wish wish = {rows[i].devices, 0, rows[i].count, rows[i].fraction};
        while (wish.device_count < 3 && rows[i].devices[wish.device_count])
            wish.device_count++;
        fill(&rig);
        int r = place_choose(&wish, &rig.inventory, &rig.leases, &lease, indices, &err);
        tap_note("row %zu: %s", i, err.what);
        CHECK_EQ(r == 0, rows[i].id == ERR_NONE);
        CHECK_EQ(err.id, rows[i].id);
        if (r < 0)
            continue;
        CHECK_EQ(lease.part_count, rows[i].count);
        CHECK_EQ(indices[0], rows[i].first);
        if (rows[i].count > 1)
            CHECK_EQ(indices[1], rows[i].second);
        CHECK_EQ(lease.parts[0].bytes, (uint64_t)(80.0 * (double)GIB * rows[i].fraction));
    }
}

TEST(who_is_in_the_way_is_named)
{
    struct rig rig;
    struct gpu_lease lease;
    unsigned indices[GPU_LEASE_PARTS_MAX];
    struct err err;
    fill(&rig);
    rig.gpus[2].trouble = NVML_ERROR_GPU_IS_LOST;
    struct place_wish wish = {NULL, 0, 1, 0.9};
    CHECK(place_choose(&wish, &rig.inventory, &rig.leases, &lease, indices, &err) < 0);
    CHECK_STR(err.what, "72.0 GiB of GPU 0 are needed, and 40.0 GiB are not leased to a");
}
