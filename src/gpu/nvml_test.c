#include "gpu/nvml.h"

#include "gpu_rig.h"
#include "tap.h"

#include <errno.h>
#include <string.h>

TEST(every_call_is_in_the_fake)
{
    static const struct {
        const char *name;
        size_t at;
    } calls[] = {
#define NVML_CALL(name, args) {#name, offsetof(struct nvml, name)},
#include "gpu/nvml_call.def"
#undef NVML_CALL
    };
    _cleanup_rig_ struct rig rig = RIG_INIT;
    REQUIRE(rig_open(&rig, NULL));
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        void *call;
        memcpy(&call, (char *)&rig.nvml + calls[i].at, sizeof(call));
        tap_note("%s", calls[i].name);
        CHECK(call);
    }
}

TEST(a_machine_without_a_driver_is_told)
{
    struct nvml nvml;
    struct err err = {0};
    CHECK_EQ(nvml_open(&nvml, "/nonexistent/libnvidia-ml.so.1", &err), -ENOENT);
    CHECK_EQ(err.id, ERR_GPU_NO_LIBRARY);
    CHECK(strstr(err.what, "/nonexistent/libnvidia-ml.so.1"));
    /* A library without a single NVML function. */
    CHECK_EQ(nvml_open(&nvml, "libm.so.6", &err), -EOPNOTSUPP);
    (void)unsetenv(FAKE_NVML_ENV);
    CHECK_EQ(nvml_open(&nvml, FAKE_NVML_PATH, &err), -ENODEV);
    CHECK_EQ(err.id, ERR_GPU_NO_DRIVER);
    CHECK(err.fix[0]);
}

TEST(codes_become_errors)
{
    static const struct {
        int code;
        enum err_id id;
    } rows[] = {
        {NVML_ERROR_DRIVER_NOT_LOADED, ERR_GPU_NO_DRIVER},
        {NVML_ERROR_GPU_IS_LOST, ERR_GPU_SICK},
        {NVML_ERROR_NOT_SUPPORTED, ERR_GPU_NOT_SUPPORTED},
        {NVML_ERROR_NO_PERMISSION, ERR_NOT_PERMITTED},
        {NVML_ERROR_UNKNOWN, ERR_GPU_CALL},
        {12345, ERR_GPU_CALL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err err = {0};
        CHECK(nvml_error(rows[i].code, &err, "GPU %d", 0) < 0);
        CHECK_EQ(err.id, rows[i].id);
        CHECK(strncmp(err.what, "GPU 0: ", 7) == 0);
    }
}

TEST(handles_are_found_by_all_names)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    struct nvml_device *device = NULL;
    char uuid[NVML_UUID_BYTES], serial[NVML_SERIAL_BYTES], small[8];
    struct nvml_pci pci;
    REQUIRE(rig_open(&rig, "gpu A\ncount 3\n"));
    struct nvml *n = &rig.nvml;
    struct nvml_device *want = rig_device(&rig, 1);
    REQUIRE(n->DeviceGetUUID(want, uuid, sizeof(uuid)) == NVML_SUCCESS);
    REQUIRE(n->DeviceGetSerial(want, serial, sizeof(serial)) == NVML_SUCCESS);
    REQUIRE(n->DeviceGetPciInfo_v3(want, &pci) == NVML_SUCCESS);
    CHECK_STR(pci.bus_id, "00000000:1A:00.0");
    CHECK_STR(pci.bus_id_legacy, "0000:1A:00.0");
    CHECK(n->DeviceGetHandleByUUID(uuid, &device) == NVML_SUCCESS && device == want);
    CHECK(n->DeviceGetHandleBySerial(serial, &device) == NVML_SUCCESS && device == want);
    static const char *const ids[] = {"00000000:1A:00.0", "0000:1a:00.0", "0:1a:0", "1a:00.0"};
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        device = NULL;
        CHECK(n->DeviceGetHandleByPciBusId_v2(ids[i], &device) == NVML_SUCCESS && device == want);
    }
    CHECK_EQ(n->DeviceGetHandleByPciBusId_v2("0000:99:00.0", &device), NVML_ERROR_NOT_FOUND);
    CHECK_EQ(n->DeviceGetHandleByIndex_v2(3, &device), NVML_ERROR_INVALID_ARGUMENT);
    CHECK_EQ(n->DeviceGetUUID(want, small, sizeof(small)), NVML_ERROR_INSUFFICIENT_SIZE);
    CHECK_EQ(n->DeviceGetUUID((struct nvml_device *)&rig, uuid, sizeof(uuid)),
             NVML_ERROR_INVALID_ARGUMENT);
}

TEST(memory_is_told_in_both_versions)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    struct nvml_memory old;
    struct nvml_memory_v2 new = {.version = 2};
    unsigned claim;
    REQUIRE(rig_open(&rig, NULL));
    struct nvml_device *device = rig_device(&rig, 0);
    REQUIRE(fake_claim(&rig.fake, 0, GIB, &claim) == 0);
    CHECK_EQ(rig.nvml.DeviceGetMemoryInfo_v2(device, &new), NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    new.version = NVML_VERSION(struct nvml_memory_v2, 2);
    REQUIRE(rig.nvml.DeviceGetMemoryInfo_v2(device, &new) == NVML_SUCCESS);
    REQUIRE(rig.nvml.DeviceGetMemoryInfo(device, &old) == NVML_SUCCESS);
    CHECK_EQ(new.used, GIB);
    CHECK_EQ(old.used, GIB + new.reserved);
    CHECK_EQ(new.total, new.used + new.free + new.reserved);
    CHECK_EQ(old.total, old.used + old.free);
}

TEST(processes_are_listed_in_every_layout)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    struct nvml_process list[4];
    struct nvml_process_v1 old[4];
    unsigned claims[3], count = 0;
    char name[256];
    REQUIRE(rig_open(&rig, NULL));
    struct nvml *n = &rig.nvml;
    struct nvml_device *device = rig_device(&rig, 0);
    CHECK_EQ(n->DeviceGetComputeRunningProcesses_v3(device, &count, NULL), NVML_SUCCESS);
    for (unsigned i = 0; i < 3; i++)
        REQUIRE(fake_claim(&rig.fake, i / 2, GIB, &claims[i]) == 0);
    CHECK_EQ(n->DeviceGetComputeRunningProcesses_v3(device, &count, NULL),
             NVML_ERROR_INSUFFICIENT_SIZE);
    CHECK_EQ(count, 1);
    count = 4;
    REQUIRE(n->DeviceGetComputeRunningProcesses_v3(device, &count, list) == NVML_SUCCESS);
    REQUIRE(count == 1);
    CHECK_EQ(list[0].pid, getpid());
    CHECK_EQ(list[0].used_bytes, 2 * GIB);
    CHECK_EQ(list[0].gpu_instance, NVML_ABSENT_U32);
    REQUIRE(n->DeviceGetComputeRunningProcesses(device, &count, old) == NVML_SUCCESS);
    CHECK_EQ(old[0].used_bytes, 2 * GIB);
    REQUIRE(n->SystemGetProcessName((unsigned)getpid(), name, sizeof(name)) == NVML_SUCCESS);
    CHECK(strstr(name, "unit"));
    fake_lock(&rig.fake, NULL)[0].pids_hidden = true;
    fake_unlock(&rig.fake);
    count = 4;
    CHECK_EQ(n->DeviceGetComputeRunningProcesses_v3(device, &count, list), NVML_SUCCESS);
    CHECK_EQ(count, 0);
}

TEST(calls_fail_on_command)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    unsigned mw, count;
    REQUIRE(rig_open(&rig, NULL));
    struct nvml *n = &rig.nvml;
    struct nvml_device *one = rig_device(&rig, 0), *other = rig_device(&rig, 1);
    const struct fake_fault fault = {
        .call = "nvmlDeviceGetPowerUsage", .gpu = 1, .code = NVML_ERROR_UNKNOWN, .skip = 1};
    REQUIRE(fake_fault(&rig.fake, &fault) == 0);
    CHECK_EQ(n->DeviceGetPowerUsage(other, &mw), NVML_SUCCESS);
    CHECK_EQ(n->DeviceGetPowerUsage(other, &mw), NVML_ERROR_UNKNOWN);
    CHECK_EQ(n->DeviceGetPowerUsage(other, &mw), NVML_ERROR_UNKNOWN);
    CHECK_EQ(n->DeviceGetPowerUsage(one, &mw), NVML_SUCCESS);
    CHECK_EQ(n->DeviceGetEnforcedPowerLimit(other, &mw), NVML_SUCCESS);
    const struct fake_fault all = {.call = "*", .gpu = FAKE_ANY, .code = NVML_ERROR_NO_PERMISSION};
    REQUIRE(fake_fault(&rig.fake, &all) == 0);
    CHECK_EQ(n->DeviceGetCount_v2(&count), NVML_ERROR_NO_PERMISSION);
    fake_clear_faults(&rig.fake);
    CHECK_EQ(n->DeviceGetCount_v2(&count), NVML_SUCCESS);
}

static void
ask_for_power(void *rig)
{
    unsigned mw;
    struct nvml *n = &((struct rig *)rig)->nvml;
    (void)n->DeviceGetPowerUsage(rig_device(rig, 0), &mw);
}

TEST(calls_hang_until_the_fault_is_cleared)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    unsigned celsius;
    REQUIRE(rig_open(&rig, NULL));
    const struct fake_fault fault = {
        .call = "nvmlDeviceGetPowerUsage", .gpu = FAKE_ANY, .code = FAKE_HANG};
    REQUIRE(fake_fault(&rig.fake, &fault) == 0);
    struct rig_child child = rig_fork(ask_for_power, &rig);
    CHECK(fake_await_hangs(&rig.fake, 1, 10000));
    CHECK(!rig_said(&child, 0));
    /* Others go on: the hanging call holds no lock. */
    CHECK_EQ(rig.nvml.DeviceGetTemperature(rig_device(&rig, 0), 0, &celsius), NVML_SUCCESS);
    CHECK(!fake_await_hangs(&rig.fake, 2, 0));
    fake_clear_faults(&rig.fake);
    CHECK(rig_said(&child, 10000));
    rig_kill(&child);
}

TEST(a_lost_gpu_is_gone_after_the_next_start)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    unsigned celsius, count = 0;
    char uuid[NVML_UUID_BYTES];
    REQUIRE(rig_open(&rig, NULL));
    struct nvml_device *one = rig_device(&rig, 0);
    fake_lose(&rig.fake, 0);
    CHECK_EQ(rig.nvml.DeviceGetTemperature(one, 0, &celsius), NVML_ERROR_GPU_IS_LOST);
    CHECK_EQ(rig.nvml.DeviceGetHandleByIndex_v2(0, &one), NVML_ERROR_GPU_IS_LOST);
    CHECK(rig.nvml.DeviceGetCount_v2(&count) == NVML_SUCCESS && count == 2);
    nvml_close(&rig.nvml);
    REQUIRE(nvml_open(&rig.nvml, FAKE_NVML_PATH, NULL) == 0);
    CHECK(rig.nvml.DeviceGetCount_v2(&count) == NVML_SUCCESS && count == 1);
    REQUIRE(rig.nvml.DeviceGetUUID(rig_device(&rig, 0), uuid, sizeof(uuid)) == NVML_SUCCESS);
    CHECK_STR(uuid, fake_lock(&rig.fake, NULL)[1].uuid);
    fake_unlock(&rig.fake);
}

static void
wait_for_xid(void *rig)
{
    struct nvml *n = &((struct rig *)rig)->nvml;
    struct nvml_event_set *set;
    struct nvml_event event;
    if (n->EventSetCreate(&set) || n->DeviceRegisterEvents(rig_device(rig, 1), NVML_EVENT_XID, set))
        _exit(1);
    /* Says that it is about to wait, by the counter that hanging calls use. */
    if (n->EventSetWait_v2(set, &event, 20000) || event.type != NVML_EVENT_XID ||
        event.data != 31 || event.device != rig_device(rig, 1))
        _exit(2);
}

TEST(news_reach_a_waiting_process)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    REQUIRE(rig_open(&rig, NULL));
    const struct fake_fault fault = {
        .call = "nvmlEventSetWait_v2", .gpu = FAKE_ANY, .code = FAKE_HANG};
    REQUIRE(fake_fault(&rig.fake, &fault) == 0);
    struct rig_child child = rig_fork(wait_for_xid, &rig);
    REQUIRE(fake_await_hangs(&rig.fake, 1, 10000));
    fake_clear_faults(&rig.fake);
    fake_xid(&rig.fake, 0, 13); /* of a GPU it does not ask for */
    fake_xid(&rig.fake, 1, 31);
    char said;
    CHECK(rig_said(&child, 20000) && read(child.said, &said, 1) == 1);
    rig_kill(&child);
}

TEST(news_are_told_once_and_in_order)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    struct nvml_event_set *set;
    struct nvml_event event;
    REQUIRE(rig_open(&rig, NULL));
    struct nvml *n = &rig.nvml;
    fake_xid(&rig.fake, 0, 8); /* before anybody asked */
    REQUIRE(n->EventSetCreate(&set) == NVML_SUCCESS);
    REQUIRE(n->DeviceRegisterEvents(rig_device(&rig, 0),
                                    NVML_EVENT_XID | NVML_EVENT_ECC_UNCORRECTED,
                                    set) == NVML_SUCCESS);
    CHECK_EQ(n->DeviceRegisterEvents(rig_device(&rig, 0), NVML_EVENT_CLOCK, set),
             NVML_ERROR_NOT_SUPPORTED);
    CHECK_EQ(n->EventSetWait_v2(set, &event, 0), NVML_ERROR_TIMEOUT);
    CHECK_EQ(n->EventSetWait_v2(set, &event, 1), NVML_ERROR_TIMEOUT);
    fake_ecc_error(&rig.fake, 0, NVML_ECC_UNCORRECTED, NVML_ECC_DRAM);
    fake_ecc_error(&rig.fake, 0, NVML_ECC_CORRECTED, NVML_ECC_DRAM);
    fake_xid(&rig.fake, 0, 48);
    fake_lose(&rig.fake, 0);
    CHECK_EQ(n->EventSetWait_v2(set, &event, 0), NVML_SUCCESS);
    CHECK_EQ(event.type, NVML_EVENT_ECC_UNCORRECTED);
    CHECK_EQ(n->EventSetWait_v2(set, &event, 0), NVML_SUCCESS);
    CHECK_EQ(event.data, 48);
    CHECK_EQ(n->EventSetWait(set, &event, 0), NVML_SUCCESS);
    CHECK_EQ(event.data, 79);
    CHECK_EQ(n->EventSetWait_v2(set, &event, 20000), NVML_ERROR_GPU_IS_LOST);
    CHECK_EQ(n->EventSetFree(set), NVML_SUCCESS);
}

TEST(settings_are_seen_by_all)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    unsigned mw, mhz, pending, on;
    int state, activation;
    unsigned claim;
    REQUIRE(rig_open(&rig, NULL));
    struct nvml *n = &rig.nvml;
    struct nvml_device *device = rig_device(&rig, 0);
    CHECK_EQ(n->DeviceSetPersistenceMode(device, 1), NVML_SUCCESS);
    CHECK(n->DeviceGetPersistenceMode(device, &state) == NVML_SUCCESS && state == 1);
    CHECK_EQ(n->DeviceSetPowerManagementLimit(device, 100000), NVML_ERROR_INVALID_ARGUMENT);
    CHECK_EQ(n->DeviceSetPowerManagementLimit(device, 500000), NVML_SUCCESS);
    CHECK(n->DeviceGetEnforcedPowerLimit(device, &mw) == NVML_SUCCESS && mw == 500000);
    CHECK_EQ(n->DeviceSetGpuLockedClocks(device, 1200, 1400), NVML_SUCCESS);
    CHECK(n->DeviceGetClockInfo(device, NVML_CLOCK_SM, &mhz) == NVML_SUCCESS && mhz == 1200);
    CHECK_EQ(n->DeviceResetGpuLockedClocks(device), NVML_SUCCESS);
    CHECK(n->DeviceGetClockInfo(device, NVML_CLOCK_SM, &mhz) == NVML_SUCCESS && mhz == 345);
    CHECK_EQ(n->DeviceSetApplicationsClocks(device, 2619, 9999), NVML_ERROR_FREQ_NOT_SUPPORTED);
    CHECK_EQ(n->DeviceSetApplicationsClocks(device, 2619, 300), NVML_SUCCESS);
    CHECK(n->DeviceGetClockInfo(device, NVML_CLOCK_SM, &mhz) == NVML_SUCCESS && mhz == 300);
    CHECK_EQ(n->DeviceResetApplicationsClocks(device), NVML_SUCCESS);
    REQUIRE(fake_claim(&rig.fake, 0, GIB, &claim) == 0);
    CHECK(n->DeviceSetMigMode(device, 1, &activation) == NVML_SUCCESS);
    CHECK_EQ(activation, NVML_ERROR_IN_USE);
    CHECK(n->DeviceGetMigMode(device, &on, &pending) == NVML_SUCCESS && !on && pending == 1);
}

TEST(time_adds_up)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    unsigned long long before, after;
    struct nvml_violation violation;
    REQUIRE(rig_open(&rig, NULL));
    struct nvml *n = &rig.nvml;
    struct nvml_device *device = rig_device(&rig, 0);
    struct fake_gpu *gpu = &fake_lock(&rig.fake, NULL)[0];
    gpu->power_mw = 4000000000; /* so that a millisecond shows */
    gpu->throttle = NVML_THROTTLE_SW_THERMAL;
    fake_unlock(&rig.fake);
    REQUIRE(n->DeviceGetTotalEnergyConsumption(device, &before) == NVML_SUCCESS);
    do
        REQUIRE(n->DeviceGetTotalEnergyConsumption(device, &after) == NVML_SUCCESS);
    while (after < before + 4000000); /* 4 MW for a millisecond are 4 kJ */
    REQUIRE(n->DeviceGetViolationStatus(device, NVML_POLICY_THERMAL, &violation) == NVML_SUCCESS);
    CHECK(violation.violation_ns >= 1000000);
    struct nvml_field field = {.id = NVML_FIELD_THROTTLED_SW_THERMAL};
    REQUIRE(n->DeviceGetFieldValues(device, 1, &field) == NVML_SUCCESS);
    CHECK_EQ(field.code, NVML_SUCCESS);
    CHECK(field.value.u64 >= violation.violation_ns);
    struct nvml_field unknown = {.id = 9999};
    REQUIRE(n->DeviceGetFieldValues(device, 1, &unknown) == NVML_SUCCESS);
    CHECK_EQ(unknown.code, NVML_ERROR_NOT_SUPPORTED);
}
