/* The pages about the machine, read back by our own reader: each sample belongs to a family that
 * was announced, once, and is what was put in. */

#include "base/mem.h"
#include "fmt/prom.h"
#include "role/metrics.h"
#include "role/monitor_int.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

static struct places places;

static void
open_monitor(struct monitor *m)
{
    *m = (struct monitor){.places = &places};
    CHECK_EQ(loop_new(&m->loop, NULL), 0);
}

static void
close_monitor(struct monitor *m)
{
    loop_free(m->loop);
}

/* The value of a sample whose labels have this text; NAN-like -1 where there is none. */
static double
find(const struct buf *page, const char *name, const char *labels)
{
    struct prom_reader reader;
    struct prom_sample s;
    double found = -1;
    int r;
    prom_init(&reader, page->data, page->len);
    while ((r = prom_next(&reader, &s, NULL)) == 1)
        if (s.name_len == strlen(name) && memcmp(s.name, name, s.name_len) == 0 &&
            (!labels[0] || memmem(s.labels, s.labels_len, labels, strlen(labels))))
            found = s.value;
    CHECK_EQ(r, 0);
    return found;
}

/* Every family is told once, before its samples, and has a type and a help. */
static void
check_families(const struct buf *page)
{
    struct prom_reader reader;
    struct prom_sample s;
    char line[256];
    prom_init(&reader, page->data, page->len);
    while (prom_next(&reader, &s, NULL) == 1) {
        (void)snprintf(line, sizeof(line), "# TYPE %.*s ", (int)s.name_len, s.name);
        const char *type = strstr(page->data, line);
        tap_note("%s", line);
        REQUIRE(type && type < s.name);
        CHECK(!strstr(type + 1, line));
        (void)snprintf(line, sizeof(line), "# HELP %.*s ", (int)s.name_len, s.name);
        const char *help = strstr(page->data, line);
        CHECK(help && help < type && help[strlen(line)] != '\n' && help[strlen(line)] != '(');
        bool is_counter = strncmp(strchr(type + 7, ' ') + 1, "counter", 7) == 0;
        bool is_total = s.name_len > 6 && memcmp(s.name + s.name_len - 6, "_total", 6) == 0;
        CHECK_EQ(is_counter, is_total);
    }
}

static struct gpu_value
value(uint64_t n)
{
    return (struct gpu_value){n, true};
}

TEST(gpus_are_told_as_they_were_read)
{
    struct gpu gpus[2] = {{.index = 0, .uuid = "GPU-a", .name = "NVIDIA \"H100\""},
                          {.index = 3, .uuid = "GPU-b", .trouble = NVML_ERROR_GPU_IS_LOST}};
    _cleanup_buf_ struct buf page = BUF_INIT(MIB);
    struct monitor m;
    open_monitor(&m);
    m.gpus.known = true;
    m.gpus.inventory = (struct gpu_inventory){.driver = "580.65", .count = 2, .gpus = gpus};
    gpus[0].memory_used_bytes = value(5 * GIB);
    gpus[0].gpu_percent = value(75);
    gpus[0].power_mw = value(350500);
    gpus[0].temperature_celsius = value(61);
    gpus[0].memory_temperature_celsius = value(80);
    gpus[0].throttled_hw_thermal_ns_total = value(2500000000);
    gpus[0].ecc_uncorrected_total = value(2);
    monitor_metrics_print(&m, METRICS_GPU, &page);
    check_families(&page);
    CHECK(find(&page, "citadel_gpus_readable", "") == 1);
    CHECK(find(&page, "citadel_gpu_info", "name=\"NVIDIA \\\"H100\\\"\"") == 1);
    CHECK(find(&page, "citadel_gpu_healthy", "gpu=\"0\"") == 1);
    CHECK(find(&page, "citadel_gpu_healthy", "gpu=\"3\"") == 0);
    CHECK(find(&page, "citadel_gpu_memory_used_bytes", "uuid=\"GPU-a\"") == 5.0 * GIB);
    CHECK(find(&page, "citadel_gpu_memory_used_bytes", "GPU-b") == -1);
    CHECK(find(&page, "citadel_gpu_utilization_ratio", "") == 0.75);
    CHECK(find(&page, "citadel_gpu_power_watts", "") == 350.5);
    CHECK(find(&page, "citadel_gpu_temperature_celsius", "of=\"chip\"") == 61);
    CHECK(find(&page, "citadel_gpu_temperature_celsius", "of=\"memory\"") == 80);
    CHECK(find(&page, "citadel_gpu_throttled_seconds_total", "by=\"hw_thermal\"") == 2.5);
    CHECK(find(&page, "citadel_gpu_ecc_errors_total", "kind=\"uncorrected\"") == 2);
    close_monitor(&m);
}

TEST(gpus_that_cannot_be_read_now_are_not_told_of)
{
    struct gpu gpu = {.uuid = "GPU-a"};
    _cleanup_buf_ struct buf page = BUF_INIT(MIB);
    struct monitor m;
    open_monitor(&m);
    gpu.power_mw = value(1);
    m.gpus.known = true;
    m.gpus.inventory = (struct gpu_inventory){.count = 1, .gpus = &gpu};
    (void)err_set(&m.gpus.err, ERR_GPU_SICK, "the driver hangs");
    monitor_metrics_print(&m, METRICS_GPU, &page);
    check_families(&page);
    CHECK(find(&page, "citadel_gpus_readable", "") == 0);
    CHECK(find(&page, "citadel_gpu_power_watts", "") == -1);
    close_monitor(&m);
}

TEST(disks_are_told_with_what_is_wrong)
{
    _cleanup_buf_ struct buf page = BUF_INIT(MIB);
    struct monitor m;
    open_monitor(&m);
    monitor_metrics_print(&m, METRICS_STORAGE, &page);
    CHECK_EQ(page.len, 0); /* nobody has looked yet */
    places.known = true;
    places.items[PLACE_MODELS] =
        (struct place){.path = "/mnt/m", .total_bytes = 100, .free_bytes = 40};
    places.items[PLACE_STATE] = (struct place){.path = "/var", .total_bytes = 50, .free_bytes = 1};
    places.items[PLACE_BACKUP] =
        (struct place){.path = "/mnt/b", .total_bytes = 7, .free_bytes = 7};
    (void)err_set(&places.items[PLACE_STATE].err, ERR_STORAGE_FULL, "full");
    (void)err_set(&places.items[PLACE_BACKUP].err, ERR_STORAGE_FAILED, "not mounted");
    monitor_metrics_print(&m, METRICS_STORAGE, &page);
    check_families(&page);
    CHECK(find(&page, "citadel_storage_healthy", "place=\"models\"") == 1);
    CHECK(find(&page, "citadel_storage_healthy", "place=\"state\"") == 0);
    CHECK(find(&page, "citadel_storage_healthy", "path=\"/mnt/b\"") == 0);
    CHECK(find(&page, "citadel_storage_size_bytes", "models") == 100);
    CHECK(find(&page, "citadel_storage_free_bytes", "state") == 1);
    CHECK(find(&page, "citadel_storage_free_bytes", "backup") == -1);
    places = (struct places){0};
    close_monitor(&m);
}

TEST(jobs_of_backups_are_told_as_they_have_left_word)
{
    struct jobs_item items[] = {
        {.name = "configs",
         .job = {.ended_us = 9000000,
                 .success_us = 8000000,
                 .bytes = 100,
                 .new_bytes = 50,
                 .stored_bytes = 25,
                 .took_us = 500000,
                 .files = 3}},
        {.name = "verify", .job = {.ended_us = 7000000, .has_verified = true, .verified = 0.25}}};
    _cleanup_buf_ struct buf page = BUF_INIT(MIB);
    struct monitor m;
    open_monitor(&m);
    job_add_room(&items[0].job, 0, 3000);
    job_add_room(&items[0].job, UINT64_C(3600000000), 2000);
    (void)err_set(&items[1].job.err, ERR_REPOSITORY_NONE, "gone");
    places.known = true;
    places.jobs = (struct jobs){items, ARRAY_SIZE(items)};
    for (size_t i = 0; i < PLACE_COUNT; i++)
        places.items[i].path = "/";
    monitor_metrics_print(&m, METRICS_STORAGE, &page);
    check_families(&page);
    CHECK(find(&page, "citadel_backup_last_run_timestamp_seconds", "job=\"configs\"") == 9);
    CHECK(find(&page, "citadel_backup_last_success_timestamp_seconds", "configs") == 8);
    CHECK(find(&page, "citadel_backup_failed", "configs") == 0);
    CHECK(find(&page, "citadel_backup_size_bytes", "configs") == 100);
    CHECK(find(&page, "citadel_backup_stored_bytes", "configs") == 25);
    CHECK(find(&page, "citadel_backup_duration_seconds", "configs") == 0.5);
    CHECK(find(&page, "citadel_backup_rate_bytes_per_second", "configs") == 200);
    CHECK(find(&page, "citadel_backup_dedup_ratio", "configs") == 2);
    CHECK(find(&page, "citadel_backup_compression_ratio", "configs") == 2);
    CHECK(find(&page, "citadel_backup_repository_free_bytes", "configs") == 2000);
    CHECK(find(&page, "citadel_backup_repository_full_timestamp_seconds", "configs") == 10800);
    CHECK(find(&page, "citadel_backup_verified_ratio", "configs") == -1);
    CHECK(find(&page, "citadel_backup_verified_ratio", "verify") == 0.25);
    CHECK(find(&page, "citadel_backup_failed", "verify") == 1);
    CHECK(find(&page, "citadel_backup_last_success_timestamp_seconds", "verify") == -1);
    places = (struct places){0};
    close_monitor(&m);
}

TEST(the_host_is_told_as_proc_has_it)
{
    _cleanup_buf_ struct buf page = BUF_INIT(MIB);
    struct monitor m;
    open_monitor(&m);
    monitor_metrics_print(&m, METRICS_SYSTEM, &page);
    check_families(&page);
    CHECK(find(&page, "citadel_system_load1", "") >= 0);
    CHECK(find(&page, "citadel_system_memory_size_bytes", "") > 0);
    CHECK(find(&page, "citadel_system_cpu_seconds_total", "mode=\"idle\"") >= 0);
    CHECK(find(&page, "citadel_system_uptime_seconds", "") > 0);
    close_monitor(&m);
}
