#include "gpu/inventory.h"

#include "gpu_rig.h"
#include "tap.h"

#include <errno.h>
#include <string.h>

/* The names of what is not known of a GPU, each after a blank. */
static const char *
unknown_of(const struct gpu *gpu)
{
    static char names[4096];
    size_t len = 0;
    names[0] = '\0';
    for (const struct gpu_reading *r = gpu_readings; r->name; r++)
        if (!gpu_reading_of(gpu, r).known)
            len += (size_t)snprintf(names + len, sizeof(names) - len, " %s", r->name);
    return names;
}

static size_t
count_known(const struct gpu *gpu)
{
    size_t count = 0;
    for (const struct gpu_reading *r = gpu_readings; r->name; r++)
        count += gpu_reading_of(gpu, r).known;
    return count;
}

static bool
read_all(struct rig *rig, struct gpu_inventory *inventory)
{
    struct err err = {0};
    gpu_inventory_finish(inventory);
    if (gpu_inventory_read_lanes(&rig->nvml, GPU_ALL, inventory, &err) < 0)
        tap_fail(__FILE__, __LINE__, "%s", err.what);
    return inventory->count > 0;
}

TEST(all_of_an_h100_is_known)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    _cleanup_gpu_inventory_ struct gpu_inventory inventory = {0};
    unsigned claim;
    REQUIRE(rig_open(&rig, NULL));
    REQUIRE(fake_claim(&rig.fake, 1, 3 * GIB, &claim) == 0);
    (void)setenv("CITADEL_NVML", FAKE_NVML_PATH, 1);
    REQUIRE(gpu_inventory_read(&inventory, NULL) == 0);
    (void)unsetenv("CITADEL_NVML");
    REQUIRE(inventory.count == 2);
    CHECK_STR(inventory.driver, "580.95.05");
    CHECK_STR(inventory.nvml, "13.580.95.05");
    CHECK_EQ(inventory.cuda_version, 13000);
    const struct gpu *gpu = &inventory.gpus[1];
    CHECK_STR(unknown_of(gpu), " fan_percent retired_pages_single_bit retired_pages_double_bit"
                               " retired_pending");
    CHECK_STR(gpu->name, "NVIDIA H100 80GB HBM3");
    CHECK_STR(gpu->uuid, "GPU-00000002-0000-4000-8000-000000000002");
    CHECK_STR(gpu->bus_id, "0000:1a:00.0");
    CHECK_STR(gpu->serial, "1650022000002");
    CHECK_STR(gpu->vbios, "96.00.74.00.01");
    CHECK_EQ(gpu->trouble, NVML_SUCCESS);
    CHECK(!gpu->unified && gpu->cpus[0] == 0xffffffff00000000 && gpu->numa_node.n == 1);
    CHECK_EQ(gpu->memory_used_bytes.n, 3 * GIB);
    CHECK_EQ(gpu->links_up.n, 18);
    REQUIRE(gpu->processes_known && gpu->process_count == 1);
    CHECK_EQ(gpu->processes[0].pid, getpid());
    CHECK_EQ(gpu->processes[0].bytes.n, 3 * GIB);
    CHECK_STR(gpu->processes[0].name, "unit");
    CHECK(inventory.pairs[0][1].known && inventory.pairs[0][1].linked);
    CHECK_EQ(inventory.pairs[0][1].level, NVML_TOPOLOGY_SYSTEM);
    CHECK(!inventory.pairs[0][0].known);
}

TEST(a_small_card_tells_less)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    _cleanup_gpu_inventory_ struct gpu_inventory inventory = {0};
    REQUIRE(rig_open(&rig, "gpu NVIDIA GeForce RTX 4090\nmemory 24GiB\necc no\nlinks 0\nfans 2\n"
                           "compute 8.9\n"));
    fake_lock(&rig.fake, NULL)[0].mig = FAKE_NONE;
    fake_unlock(&rig.fake);
    REQUIRE(read_all(&rig, &inventory));
    CHECK_STR(unknown_of(&inventory.gpus[0]),
              " links link_mbs ecc ecc_pending mig mig_pending ecc_corrected_total"
              " ecc_uncorrected_total ecc_corrected_lifetime ecc_uncorrected_lifetime"
              " retired_pages_single_bit retired_pages_double_bit retired_pending links_up"
              " link_crc_flit_errors_total link_crc_data_errors_total link_replays_total"
              " link_recoveries_total");
    CHECK_EQ(inventory.gpus[0].fan_percent.n, 30);
    CHECK(inventory.gpus[0].cuda_major.n == 8 && inventory.gpus[0].cuda_minor.n == 9);
}

/* Every reading moves when the GPU does. */
TEST(readings_are_those_of_the_gpu)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    _cleanup_gpu_inventory_ struct gpu_inventory inventory = {0};
    REQUIRE(rig_open(&rig, NULL));
    struct fake_gpu *f = &fake_lock(&rig.fake, NULL)[0];
    f->gpu_percent = 97;
    f->memory_percent = 41;
    f->celsius = 71;
    f->memory_celsius = 84;
    f->power_mw = 651000;
    f->limit_mw = 650000;
    f->clock_mhz[NVML_CLOCK_SM] = 1410;
    f->throttle = NVML_THROTTLE_POWER_CAP | NVML_THROTTLE_SW_THERMAL;
    f->pstate = 2;
    f->persistence = 1;
    f->ecc_pending = 0;
    f->retired_count[0] = 3;
    f->retired_count[1] = 2;
    f->retired_pending = 1;
    f->recovery = NVML_RECOVERY_DRAIN_AND_RESET;
    f->pcie_generation = 1;
    f->pcie_lanes = 8;
    f->pcie_replays = 12;
    f->pcie_sent_kbs = 1111;
    f->pcie_received_kbs = 2222;
    f->link_down[3] = true;
    f->link_errors[2][NVML_LINK_CRC_FLIT] = 5;
    f->link_errors[7][NVML_LINK_CRC_FLIT] = 6;
    f->link_errors[7][NVML_LINK_RECOVERY] = 1;
    fake_unlock(&rig.fake);
    fake_ecc_error(&rig.fake, 0, NVML_ECC_UNCORRECTED, NVML_ECC_DRAM);
    fake_ecc_error(&rig.fake, 0, NVML_ECC_CORRECTED, NVML_ECC_L2);
    fake_ecc_error(&rig.fake, 0, NVML_ECC_CORRECTED, NVML_ECC_SRAM);
    REQUIRE(read_all(&rig, &inventory));
    const struct gpu *gpu = &inventory.gpus[0];
    const struct {
        struct gpu_value got;
        uint64_t want;
    } rows[] = {
        {gpu->gpu_percent, 97},
        {gpu->memory_percent, 41},
        {gpu->temperature_celsius, 71},
        {gpu->memory_temperature_celsius, 84},
        {gpu->power_mw, 651000},
        {gpu->power_instant_mw, 651000},
        {gpu->power_limit_mw, 650000},
        {gpu->power_enforced_limit_mw, 650000},
        {gpu->power_max_limit_mw, 700000},
        {gpu->sm_mhz, 1410},
        {gpu->max_sm_mhz, 1980},
        {gpu->memory_mhz, 2619},
        {gpu->throttle_bits, 0x24},
        {gpu->performance_state, 2},
        {gpu->persistence, 1},
        {gpu->ecc, 1},
        {gpu->ecc_pending, 0},
        {gpu->ecc_uncorrected_total, 1},
        {gpu->ecc_corrected_lifetime, 2},
        {gpu->retired_pages_single_bit, 3},
        {gpu->retired_pages_double_bit, 2},
        {gpu->retired_pending, 1},
        {gpu->recovery_action, NVML_RECOVERY_DRAIN_AND_RESET},
        {gpu->pcie_generation, 1},
        {gpu->pcie_lanes, 8},
        {gpu->pcie_max_lanes, 16},
        {gpu->pcie_replays_total, 12},
        {gpu->pcie_sent_kbs, 1111},
        {gpu->pcie_received_kbs, 2222},
        {gpu->links, 18},
        {gpu->links_up, 17},
        {gpu->link_crc_flit_errors_total, 11},
        {gpu->link_recoveries_total, 1},
        {gpu->link_replays_total, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("row %zu", i);
        CHECK(rows[i].got.known);
        CHECK_EQ(rows[i].got.n, rows[i].want);
    }
    CHECK(!gpu->remapped_rows_correctable.known);
}

TEST(a_lane_reads_what_is_its_own)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    static const unsigned lanes[] = {GPU_ONCE, GPU_FAST, GPU_SLOW};
    REQUIRE(rig_open(&rig, NULL));
    for (size_t i = 0; i < ARRAY_SIZE(lanes); i++) {
        _cleanup_gpu_inventory_ struct gpu_inventory inventory = {0};
        REQUIRE(gpu_inventory_read_lanes(&rig.nvml, lanes[i], &inventory, NULL) == 0);
        const struct gpu *gpu = &inventory.gpus[0];
        size_t known = 0;
        for (const struct gpu_reading *r = gpu_readings; r->name; r++) {
            tap_note("%s in lane %u", r->name, lanes[i]);
            CHECK(!gpu_reading_of(gpu, r).known || r->lane == lanes[i]);
            known += gpu_reading_of(gpu, r).known;
        }
        CHECK(known > 10);
        CHECK(gpu->uuid[0] && gpu->bus_id[0]);
        CHECK_EQ(gpu->processes_known, lanes[i] == GPU_SLOW);
        CHECK_EQ(inventory.pairs[0][1].known, lanes[i] == GPU_ONCE);
    }
}

TEST(a_gpu_in_trouble_is_listed_and_left_alone)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    _cleanup_gpu_inventory_ struct gpu_inventory inventory = {0};
    REQUIRE(rig_open(&rig, "gpu A\ncount 3\n"));
    /* Lost half-way: nothing more is asked, or the hang would be met. */
    const struct fake_fault faults[] = {
        {.call = "nvmlDeviceGetTemperature", .gpu = 1, .code = NVML_ERROR_GPU_IS_LOST},
        {.call = "nvmlDeviceGetPowerUsage", .gpu = 1, .code = FAKE_HANG},
    };
    for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
        REQUIRE(fake_fault(&rig.fake, &faults[i]) == 0);
    fake_lose(&rig.fake, 2);
    REQUIRE(read_all(&rig, &inventory));
    REQUIRE(inventory.count == 3);
    CHECK_EQ(inventory.gpus[0].trouble, NVML_SUCCESS);
    CHECK(count_known(&inventory.gpus[0]) > 60);
    CHECK_EQ(inventory.gpus[1].trouble, NVML_ERROR_GPU_IS_LOST);
    CHECK(inventory.gpus[1].uuid[0] && inventory.gpus[1].memory_total_bytes.known);
    CHECK(!inventory.gpus[1].sm_mhz.known && !inventory.gpus[1].ecc.known);
    CHECK_EQ(inventory.gpus[2].trouble, NVML_ERROR_GPU_IS_LOST);
    CHECK_EQ(count_known(&inventory.gpus[2]), 0);
    CHECK_EQ(inventory.gpus[2].index, 2);
}

TEST(a_driver_that_refuses_is_an_error)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    struct gpu_inventory inventory;
    struct err err = {0};
    REQUIRE(rig_open(&rig, NULL));
    const struct fake_fault fault = {
        .call = "nvmlDeviceGetCount_v2", .gpu = FAKE_ANY, .code = NVML_ERROR_UNKNOWN};
    REQUIRE(fake_fault(&rig.fake, &fault) == 0);
    CHECK_EQ(gpu_inventory_read_lanes(&rig.nvml, GPU_ALL, &inventory, &err), -EIO);
    CHECK_EQ(err.id, ERR_GPU_CALL);
}

static void
read_in_child(void *rig)
{
    struct gpu_inventory inventory;
    if (gpu_inventory_read_lanes(&((struct rig *)rig)->nvml, GPU_ALL, &inventory, NULL) < 0)
        _exit(1);
}

TEST(a_hanging_driver_holds_only_who_asks)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    REQUIRE(rig_open(&rig, NULL));
    const struct fake_fault fault = {
        .call = "nvmlDeviceGetFieldValues", .gpu = 1, .code = FAKE_HANG};
    REQUIRE(fake_fault(&rig.fake, &fault) == 0);
    struct rig_child child = rig_fork(read_in_child, &rig);
    CHECK(fake_await_hangs(&rig.fake, 1, 10000));
    CHECK(!rig_said(&child, 0));
    fake_clear_faults(&rig.fake);
    char said;
    CHECK(rig_said(&child, 10000) && read(child.said, &said, 1) == 1);
    rig_kill(&child);
}

TEST(old_drivers_are_read_by_their_old_calls)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    _cleanup_gpu_inventory_ struct gpu_inventory inventory = {0};
    unsigned claim;
    REQUIRE(rig_open(&rig, NULL));
    REQUIRE(fake_claim(&rig.fake, 0, 3 * GIB, &claim) == 0);
    struct nvml *n = &rig.nvml;
    n->DeviceGetMemoryInfo_v2 = NULL;
    n->DeviceGetCurrentClocksEventReasons = NULL;
    n->SystemGetCudaDriverVersion_v2 = NULL;
    n->DeviceGetPciInfo_v3 = NULL;
    n->DeviceGetComputeRunningProcesses_v3 = NULL;
    for (int round = 0; round < 2; round++) {
        REQUIRE(read_all(&rig, &inventory));
        const struct gpu *gpu = &inventory.gpus[0];
        CHECK_EQ(gpu->memory_used_bytes.n, 3 * GIB + 551 * MIB);
        CHECK(!gpu->memory_reserved_bytes.known);
        CHECK_EQ(gpu->throttle_bits.n, NVML_THROTTLE_IDLE);
        CHECK_STR(gpu->bus_id, "0000:0b:00.0");
        REQUIRE(gpu->process_count == 1);
        CHECK_EQ(gpu->processes[0].bytes.n, 3 * GIB);
        CHECK_EQ(inventory.cuda_version, 13000);
        n->DeviceGetComputeRunningProcesses_v2 = NULL;
    }
}

static int
no_memory_of_its_own(struct nvml_device *device, struct nvml_memory_v2 *ret_memory)
{
    (void)device;
    ret_memory->total = 0;
    return NVML_SUCCESS;
}

TEST(a_gpu_without_memory_has_the_hosts)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    _cleanup_gpu_inventory_ struct gpu_inventory inventory = {0};
    REQUIRE(rig_open(&rig, NULL));
    rig.nvml.DeviceGetMemoryInfo_v2 = no_memory_of_its_own;
    REQUIRE(read_all(&rig, &inventory));
    const struct gpu *gpu = &inventory.gpus[0];
    CHECK(gpu->unified);
    CHECK(gpu->memory_total_bytes.n > 64 * MIB);
    CHECK_EQ(gpu->memory_total_bytes.n, gpu->memory_used_bytes.n + gpu->memory_free_bytes.n);
}

static int
leak_u32(struct nvml_device *device, unsigned *ret)
{
    (void)device;
    *ret = NVML_ABSENT_U32;
    return NVML_SUCCESS;
}

static int
leak_u64(struct nvml_device *device, unsigned long long *ret)
{
    (void)device;
    *ret = 9223372036854775794u;
    return NVML_SUCCESS;
}

static int
many_processes(struct nvml_device *device, unsigned *count, struct nvml_process *list)
{
    (void)device;
    unsigned room = *count;
    *count = 700;
    if (room < *count)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    memset(list, 0, *count * sizeof(*list));
    return NVML_SUCCESS;
}

static int
a_process_of_no_size(struct nvml_device *device, unsigned *count, struct nvml_process *list)
{
    (void)device;
    *count = 1;
    list[0] = (struct nvml_process){.pid = (unsigned)getpid(), .used_bytes = NVML_ABSENT_U64};
    return NVML_SUCCESS;
}

TEST(a_process_that_computes_and_draws_is_one)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    _cleanup_gpu_inventory_ struct gpu_inventory inventory = {0};
    unsigned claim;
    REQUIRE(rig_open(&rig, NULL));
    REQUIRE(fake_claim(&rig.fake, 0, GIB, &claim) == 0);
    REQUIRE(read_all(&rig, &inventory));
    REQUIRE(inventory.gpus[0].process_count == 1);
    CHECK(!inventory.gpus[0].processes[0].graphics);
    rig.nvml.DeviceGetGraphicsRunningProcesses_v3 = a_process_of_no_size;
    REQUIRE(read_all(&rig, &inventory));
    REQUIRE(inventory.gpus[0].process_count == 1);
    CHECK(inventory.gpus[0].processes[0].graphics);
    CHECK_EQ(inventory.gpus[0].processes[0].bytes.n, GIB);
}

TEST(marks_for_none_are_not_taken_for_values)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    _cleanup_gpu_inventory_ struct gpu_inventory inventory = {0};
    REQUIRE(rig_open(&rig, NULL));
    rig.nvml.DeviceGetPowerUsage = leak_u32;
    rig.nvml.DeviceGetTotalEnergyConsumption = leak_u64;
    rig.nvml.DeviceGetComputeRunningProcesses_v3 = a_process_of_no_size;
    REQUIRE(read_all(&rig, &inventory));
    CHECK(!inventory.gpus[0].power_mw.known && !inventory.gpus[0].energy_mj_total.known);
    REQUIRE(inventory.gpus[0].process_count == 1);
    CHECK(!inventory.gpus[0].processes[0].bytes.known);
    rig.nvml.DeviceGetComputeRunningProcesses_v3 = many_processes;
    REQUIRE(read_all(&rig, &inventory));
    CHECK(!inventory.gpus[0].processes_known && inventory.gpus[0].process_count == 0);
}

TEST(a_driver_with_hardly_a_call_does_no_harm)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    _cleanup_gpu_inventory_ struct gpu_inventory inventory = {0};
    REQUIRE(rig_open(&rig, NULL));
    struct nvml bare = {
        .DeviceGetCount_v2 = rig.nvml.DeviceGetCount_v2,
        .DeviceGetHandleByIndex_v2 = rig.nvml.DeviceGetHandleByIndex_v2,
    };
    REQUIRE(gpu_inventory_read_lanes(&bare, GPU_ALL, &inventory, NULL) == 0);
    REQUIRE(inventory.count == 2);
    CHECK_EQ(count_known(&inventory.gpus[0]), 3); /* the memory, taken for the host's */
    CHECK(inventory.gpus[0].unified);
    CHECK_STR(inventory.gpus[0].uuid, "");
}

TEST(gpus_are_found_by_what_people_call_them)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    _cleanup_gpu_inventory_ struct gpu_inventory inventory = {0};
    static const struct {
        const char *name;
        int index; /* -1: none */
    } rows[] = {
        {"0", 0},
        {"2", 2},
        {"3", -1},
        {"-1", -1},
        {"GPU-00000002-0000-4000-8000-000000000002", 1},
        {"GPU-00000003", 2},
        {"GPU-0000000", -1}, /* of all three */
        {"GPU-", -1},
        {"", -1},
        {"0000:1a:00.0", 1},
        {"00000000:1A:00.0", 1},
        {"1a:00.0", 1},
        {"1b:00.0", -1},
        {"1a:00", -1},
    };
    REQUIRE(rig_open(&rig, "gpu A\ncount 3\n"));
    REQUIRE(read_all(&rig, &inventory));
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct gpu *gpu = NULL;
        struct err err = {0};
        tap_note("'%s'", rows[i].name);
        int r = gpu_find(&inventory, rows[i].name, &gpu, &err);
        CHECK_EQ(r, rows[i].index < 0 ? -ENODEV : 0);
        CHECK_EQ(gpu ? (int)gpu->index : -1, rows[i].index);
        CHECK_EQ(err.id, rows[i].index < 0 ? ERR_GPU_NOT_FOUND : ERR_NONE);
    }
}
