#include "gpu/settings.h"

#include "crash.h"
#include "gpu_rig.h"
#include "sys/files.h"

/* The state directory is the driver's, so that both go with the test. */
static void
fresh(struct rig *rig)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/gpu", tap_dir());
    CHECK(file_remove_tree(path, NULL) == 0);
    CHECK(file_make_dirs(path, 0755, NULL) == 0);
    struct fake_gpu *gpus = fake_lock(&rig->fake, NULL);
    for (unsigned i = 0; i < 2; i++) {
        gpus[i].persistence = 0;
        gpus[i].compute_mode = NVML_COMPUTE_SHARED;
        gpus[i].limit_mw = 650000 + i;
        memset(gpus[i].locked_gpu_mhz, 0, sizeof(gpus[i].locked_gpu_mhz));
        memset(gpus[i].locked_memory_mhz, 0, sizeof(gpus[i].locked_memory_mhz));
    }
    fake_unlock(&rig->fake);
}

static const struct gpu_settings all = {{
    [GPU_SETTING_persistence] = {1, true},
    [GPU_SETTING_compute_mode] = {NVML_COMPUTE_EXCLUSIVE, true},
    [GPU_SETTING_power_limit_mw] = {400000, true},
    [GPU_SETTING_graphics_mhz] = {1500, true},
    [GPU_SETTING_memory_mhz] = {2619, true},
}};

/* Whether both GPUs are as fresh() makes them, or as wished. */
static bool
is_as_found(struct rig *rig)
{
    bool same = true;
    const struct fake_gpu *gpus = fake_lock(&rig->fake, NULL);
    for (unsigned i = 0; i < 2; i++)
        same = same && !gpus[i].persistence && gpus[i].compute_mode == NVML_COMPUTE_SHARED &&
               gpus[i].limit_mw == 650000 + i && gpus[i].locked_gpu_mhz[1] == 0 &&
               gpus[i].locked_memory_mhz[1] == 0;
    fake_unlock(&rig->fake);
    return same;
}

static bool
is_as_wished(struct rig *rig)
{
    bool same = true;
    const struct fake_gpu *gpus = fake_lock(&rig->fake, NULL);
    for (unsigned i = 0; i < 2; i++)
        same = same && gpus[i].persistence == 1 && gpus[i].compute_mode == NVML_COMPUTE_EXCLUSIVE &&
               gpus[i].limit_mw == 400000 && gpus[i].locked_gpu_mhz[0] == 0 &&
               gpus[i].locked_gpu_mhz[1] == 1500 && gpus[i].locked_memory_mhz[0] == 2619;
    fake_unlock(&rig->fake);
    return same;
}

static struct gpu_changes changes;

static int
optimize(struct rig *rig, const struct gpu_settings *wish)
{
    struct err err = {0};
    int r = gpu_settings_apply(&rig->nvml, wish, tap_dir(), &changes, &err);
    if (r < 0)
        tap_note("%s", err.what);
    return r;
}

static int
restore(struct rig *rig)
{
    return gpu_settings_restore(&rig->nvml, tap_dir(), &changes, NULL);
}

static size_t
remembered(void)
{
    struct gpu_memory_file memory;
    return gpu_memory_load(tap_dir(), &memory, NULL) < 0 ? SIZE_MAX : memory.count;
}

TEST(settings_are_made_and_put_back)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    REQUIRE(rig_open(&rig, NULL));
    fresh(&rig);
    REQUIRE(optimize(&rig, &all) == 0);
    CHECK(is_as_wished(&rig));
    CHECK_EQ(changes.count, 2);
    CHECK_EQ(changes.gpus[1].of[GPU_SETTING_power_limit_mw].fate, GPU_CHANGED);
    CHECK_EQ(changes.gpus[1].of[GPU_SETTING_power_limit_mw].before.n, 650001);
    CHECK_EQ(remembered(), 2);
    REQUIRE(restore(&rig) == 0);
    CHECK(is_as_found(&rig));
    CHECK_EQ(remembered(), 0);
    REQUIRE(restore(&rig) == 0);
    CHECK_EQ(changes.gpus[0].of[GPU_SETTING_persistence].fate, GPU_LEFT);
}

TEST(what_is_not_wished_is_left)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    struct gpu_settings wish = {0};
    REQUIRE(rig_open(&rig, NULL));
    fresh(&rig);
    REQUIRE(optimize(&rig, &wish) == 0);
    CHECK(is_as_found(&rig));
    CHECK_EQ(remembered(), 0);
    wish.of[GPU_SETTING_power_limit_mw] = (struct gpu_value){650000, true};
    REQUIRE(optimize(&rig, &wish) == 0);
    CHECK_EQ(changes.gpus[0].of[GPU_SETTING_power_limit_mw].fate, GPU_RIGHT);
    CHECK_EQ(changes.gpus[1].of[GPU_SETTING_power_limit_mw].fate, GPU_CHANGED);
    CHECK_EQ(changes.gpus[1].of[GPU_SETTING_compute_mode].fate, GPU_LEFT);
    CHECK_EQ(remembered(), 1);
}

TEST(the_first_that_was_found_is_kept)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    struct gpu_settings other = all;
    REQUIRE(rig_open(&rig, NULL));
    fresh(&rig);
    REQUIRE(optimize(&rig, &all) == 0);
    other.of[GPU_SETTING_power_limit_mw].n = 300000;
    REQUIRE(optimize(&rig, &other) == 0);
    REQUIRE(optimize(&rig, &other) == 0);
    REQUIRE(restore(&rig) == 0);
    CHECK(is_as_found(&rig));
}

TEST(what_a_gpu_refuses_is_told_and_the_rest_is_done)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    struct gpu_settings wish = all;
    REQUIRE(rig_open(&rig, NULL));
    fresh(&rig);
    const struct fake_fault fault = {"nvmlDeviceSetComputeMode", 1, NVML_ERROR_NO_PERMISSION, 0};
    REQUIRE(fake_fault(&rig.fake, &fault) == 0);
    wish.of[GPU_SETTING_power_limit_mw].n = 900000;
    REQUIRE(optimize(&rig, &wish) == 0);
    const struct gpu_change_of *power = &changes.gpus[0].of[GPU_SETTING_power_limit_mw];
    const struct gpu_change_of *mode = &changes.gpus[1].of[GPU_SETTING_compute_mode];
    CHECK_EQ(power->fate, GPU_REFUSED);
    CHECK_STR(power->why.what, "GPU 0: a power limit of 900 W is not possible, only 200 to 700 W");
    CHECK_EQ(mode->fate, GPU_REFUSED);
    CHECK_EQ(mode->why.id, ERR_NOT_PERMITTED);
    CHECK_EQ(changes.gpus[0].of[GPU_SETTING_compute_mode].fate, GPU_CHANGED);
    fake_clear_faults(&rig.fake);
    REQUIRE(restore(&rig) == 0);
    CHECK(is_as_found(&rig));
}

TEST(what_cannot_be_put_back_stays_remembered)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    REQUIRE(rig_open(&rig, NULL));
    fresh(&rig);
    REQUIRE(optimize(&rig, &all) == 0);
    const struct fake_fault fault = {"nvmlDeviceSetPowerManagementLimit", 1, NVML_ERROR_UNKNOWN, 0};
    REQUIRE(fake_fault(&rig.fake, &fault) == 0);
    REQUIRE(restore(&rig) == 0);
    CHECK_EQ(changes.gpus[1].of[GPU_SETTING_power_limit_mw].fate, GPU_REFUSED);
    CHECK_EQ(remembered(), 1);
    fake_clear_faults(&rig.fake);
    REQUIRE(restore(&rig) == 0);
    CHECK(is_as_found(&rig));
    CHECK_EQ(remembered(), 0);
}

static int
do_nothing(struct nvml_device *device unused_arg, unsigned mw unused_arg)
{
    return NVML_SUCCESS;
}

TEST(a_driver_that_says_that_it_did_is_asked)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    struct gpu_settings wish = {0};
    REQUIRE(rig_open(&rig, NULL));
    fresh(&rig);
    rig.nvml.DeviceSetPowerManagementLimit = do_nothing;
    wish.of[GPU_SETTING_power_limit_mw] = (struct gpu_value){400000, true};
    REQUIRE(optimize(&rig, &wish) == 0);
    CHECK_STR(changes.gpus[0].of[GPU_SETTING_power_limit_mw].why.what,
              "GPU 0: power_limit was set to 400000mW and is 650000 all the same");
}

static void
optimize_in_a_child(void *rig)
{
    (void)!optimize(rig, &all);
}

static void
restore_in_a_child(void *rig)
{
    (void)!restore(rig);
}

TEST(a_crash_at_any_call_loses_nothing_of_what_was_found)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    REQUIRE(rig_open(&rig, NULL));
    for (int torn = 0; torn <= 1; torn++)
        for (unsigned n = 1;; n++) {
            tap_note("optimize, call %u, torn %d", n, torn);
            fresh(&rig);
            bool crashed = crash_at(n, torn, optimize_in_a_child, &rig);
            REQUIRE(restore(&rig) == 0);
            CHECK(is_as_found(&rig));
            if (!crashed)
                break;
            CHECK(n < 100);
        }
    for (unsigned n = 1;; n++) {
        tap_note("restore, call %u", n);
        fresh(&rig);
        REQUIRE(optimize(&rig, &all) == 0);
        bool crashed = crash_at(n, false, restore_in_a_child, &rig);
        REQUIRE(restore(&rig) == 0);
        CHECK(is_as_found(&rig));
        if (!crashed)
            break;
    }
}

TEST(nothing_is_changed_that_could_not_be_written_down)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    REQUIRE(rig_open(&rig, NULL));
    for (unsigned n = 1; n <= 6; n++) { /* the calls of file_write() */
        tap_note("call %u", n);
        fresh(&rig);
        fail_at(n, true, optimize_in_a_child, &rig);
        CHECK(is_as_found(&rig));
    }
}

TEST(what_was_found_before_a_reboot_means_nothing)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    char path[512];
    REQUIRE(rig_open(&rig, NULL));
    fresh(&rig);
    static const char old[] = "{\"boot\": \"another\", \"gpus\": [{\"uuid\": "
                              "\"GPU-00000001-0000-4000-8000-000000000001\", \"found\": "
                              "{\"power_limit_mw\": 250000}}]}";
    (void)snprintf(path, sizeof(path), "%s/gpu/settings.json", tap_dir());
    CHECK(file_write(path, old, strlen(old), 0644, NULL) == 0);
    CHECK_EQ(remembered(), 0);
    REQUIRE(optimize(&rig, &all) == 0);
    REQUIRE(restore(&rig) == 0);
    CHECK(is_as_found(&rig));
}

TEST(a_file_that_was_spoilt_is_told_and_nothing_is_changed)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{\"gpus\": 1}",
        "{\"gpus\": [{}]}",
        "{\"gpus\": [{\"uuid\": \"GPU-1\", \"found\": {\"persistence\": -1}}]}",
        "{\"gpus\": [{\"uuid\": \"GPU-1\", \"found\": {\"persistence\": 99999999999}}]}",
        "{\"gpus\": [{\"uuid\": 1, \"found\": {}}]}",
    };
    _cleanup_rig_ struct rig rig = RIG_INIT;
    char path[512];
    REQUIRE(rig_open(&rig, NULL));
    fresh(&rig);
    (void)snprintf(path, sizeof(path), "%s/gpu/settings.json", tap_dir());
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct err err = {0};
        tap_note("%s", bad[i]);
        CHECK(file_write(path, bad[i], strlen(bad[i]), 0644, NULL) == 0);
        CHECK(gpu_settings_apply(&rig.nvml, &all, tap_dir(), &changes, &err) < 0);
        CHECK_EQ(err.id, ERR_GPU_SETTINGS_FILE);
        CHECK(strstr(err.what, path) && err.fix[0]);
        CHECK(is_as_found(&rig));
    }
}

TEST(a_driver_that_hangs_is_given_up_and_what_was_found_is_known)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    struct err err = {0};
    REQUIRE(rig_open(&rig, NULL));
    fresh(&rig);
    (void)setenv("CITADEL_NVML", FAKE_NVML_PATH, 1);
    const struct fake_fault fault = {"nvmlDeviceSetComputeMode", 1, FAKE_HANG, 0};
    REQUIRE(fake_fault(&rig.fake, &fault) == 0);
    CHECK(gpu_settings_run(&all, tap_dir(), 2000000, &changes, &err) < 0);
    CHECK_EQ(err.id, ERR_GPU_SICK);
    CHECK_EQ(remembered(), 2);
    fake_clear_faults(&rig.fake);
    CHECK(gpu_settings_run(NULL, tap_dir(), 60000000, &changes, &err) == 0);
    CHECK(is_as_found(&rig));
    (void)unsetenv("CITADEL_NVML");
}
