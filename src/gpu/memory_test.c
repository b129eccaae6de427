#include "gpu/memory.h"

#include "gpu_rig.h"
#include "tap.h"

#include <errno.h>
#include <string.h>

static bool
read_all(struct rig *rig, struct gpu_inventory *inventory)
{
    gpu_inventory_finish(inventory);
    return gpu_inventory_read_lanes(&rig->nvml, GPU_FAST | GPU_SLOW, inventory, NULL) == 0;
}

static bool
is_pid(unsigned pid, const void *ours)
{
    return pid == *(const unsigned *)ours;
}

static void
claim_20_gib(void *unused)
{
    static struct fake f = FAKE_INIT;
    unsigned claim;
    (void)unused;
    if (fake_open(&f, tap_dir(), NULL) < 0 || fake_claim(&f, 0, 20 * GIB, &claim) < 0)
        _exit(1);
}

TEST(what_is_free_and_who_has_the_rest)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    _cleanup_gpu_inventory_ struct gpu_inventory inventory = {0};
    struct gpu_memory_use use;
    struct err err = {0};
    char want[256];
    unsigned claim;
    REQUIRE(rig_open(&rig, NULL));
    REQUIRE(fake_claim(&rig.fake, 0, 60 * GIB, &claim) == 0);
    REQUIRE(read_all(&rig, &inventory));
    REQUIRE(gpu_memory_use(&inventory.gpus[0], &use));
    CHECK(use.by_process);
    CHECK_EQ(use.listed_bytes, 60 * GIB);
    CHECK_EQ(gpu_memory_check_free(&inventory.gpus[0], use.free_bytes, &err), 0);
    CHECK_EQ(gpu_memory_check_free(&inventory.gpus[0], 40 * GIB, &err), -EAGAIN);
    (void)snprintf(want, sizeof(want),
                   "GPU 0: 40.0 GiB are needed: 19.1 GiB of 79.6 GiB are free; in use: "
                   "unit (%d) 60.0 GiB",
                   getpid());
    CHECK_STR(err.what, want);
    CHECK_EQ(err.id, ERR_GPU_NOT_FREE);
}

/* After a stop of a process that had 20 GiB, while one that stays has 10. */
TEST(what_is_left_after_a_stop)
{
    static const struct {
        const char *what;
        bool pids_hidden, keeps_memory, killed;
        int want;
    } rows[] = {
        {"gone, seen", false, false, true, 0},
        {"alive, seen", false, false, false, -EAGAIN},
        {"stuck, seen", false, true, true, -EAGAIN},
        {"gone, hidden", true, false, true, 0},
        {"alive, hidden", true, false, false, -EAGAIN},
        {"stuck, hidden", true, true, true, -EAGAIN},
    };
    _cleanup_rig_ struct rig rig = RIG_INIT;
    unsigned claim;
    REQUIRE(rig_open(&rig, NULL));
    REQUIRE(fake_claim(&rig.fake, 0, 10 * GIB, &claim) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_gpu_inventory_ struct gpu_inventory before = {0}, after = {0};
        struct gpu_memory_use use;
        tap_note("%s", rows[i].what);
        struct fake_gpu *gpu = &fake_lock(&rig.fake, NULL)[0];
        gpu->pids_hidden = rows[i].pids_hidden;
        gpu->keeps_memory = rows[i].keeps_memory;
        gpu->stuck_bytes = 0;
        fake_unlock(&rig.fake);
        REQUIRE(read_all(&rig, &before));
        struct rig_child child = rig_fork(claim_20_gib, NULL);
        unsigned ours = (unsigned)child.pid;
        CHECK(rig_said(&child, 10000));
        if (rows[i].killed)
            rig_kill(&child);
        REQUIRE(read_all(&rig, &after));
        struct err err = {0};
        CHECK_EQ(gpu_memory_check_left(&after.gpus[0], &before.gpus[0], is_pid, &ours, &err),
                 rows[i].want);
        REQUIRE(gpu_memory_use(&after.gpus[0], &use));
        CHECK_EQ(use.by_process, !rows[i].pids_hidden && !rows[i].keeps_memory);
        CHECK(rows[i].want == 0 || strstr(err.what, "in use: "));
        if (!rows[i].killed)
            rig_kill(&child);
    }
}

TEST(a_neighbour_that_starts_is_not_taken_for_what_is_left)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    _cleanup_gpu_inventory_ struct gpu_inventory before = {0}, after = {0};
    unsigned claim, ours = 1;
    REQUIRE(rig_open(&rig, NULL) && read_all(&rig, &before));
    REQUIRE(fake_claim(&rig.fake, 0, 30 * GIB, &claim) == 0);
    REQUIRE(read_all(&rig, &after));
    CHECK_EQ(gpu_memory_check_left(&after.gpus[0], &before.gpus[0], is_pid, &ours, NULL), 0);
}

TEST(pids_of_another_world_are_not_believed)
{
    /* 2^22 is above the highest pid that Linux gives. */
    struct gpu_process process = {.pid = 1u << 22, .bytes = {5 * GIB, true}};
    struct gpu gpu = {
        .processes_known = true,
        .processes = &process,
        .process_count = 1,
        .memory_total_bytes = {80 * GIB, true},
        .memory_used_bytes = {5 * GIB, true},
        .memory_free_bytes = {75 * GIB, true},
        .memory_reserved_bytes = {0, true},
    };
    struct gpu_memory_use use;
    REQUIRE(gpu_memory_use(&gpu, &use));
    CHECK(!use.by_process);
    process.pid = (unsigned)getpid();
    REQUIRE(gpu_memory_use(&gpu, &use));
    CHECK(use.by_process);
    gpu.memory_used_bytes.n += GPU_MEMORY_SLACK_BYTES + 1;
    REQUIRE(gpu_memory_use(&gpu, &use));
    CHECK(!use.by_process);
    gpu.memory_used_bytes.known = false;
    CHECK(!gpu_memory_use(&gpu, &use));
    CHECK_EQ(gpu_memory_check_free(&gpu, 0, NULL), -EOPNOTSUPP);
}
