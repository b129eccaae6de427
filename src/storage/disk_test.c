#include "storage/disk.h"

#include "fmt/json.h"
#include "sys/files.h"
#include "tap.h"

#include <stdio.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* ---- which disks ---- */

static void
put(const char *path)
{
    char full[512];
    (void)snprintf(full, sizeof(full), "%s/%s", tap_dir(), path);
    CHECK(file_make_dirs(full, 0755, NULL) == 0);
}

static void
put_link(const char *path, const char *target)
{
    char full[512];
    (void)snprintf(full, sizeof(full), "%s/%s", tap_dir(), path);
    CHECK(symlink(target, full) == 0);
}

/* sda with two partitions; md0 of a partition of each of sda and sdb; a mapped device on md0; nvme0n1;
 * and one that is made of itself. */
static void
put_sys(void)
{
    static const char *const dirs[] = {
        "dev/block",           "devices/sda/sda1/partition", "devices/sda/sda2/partition",
        "devices/sda/slaves",  "devices/sdb/sdb1/partition", "devices/md0/slaves",
        "devices/dm-0/slaves", "devices/nvme0n1/slaves",     "devices/loop/slaves",
    };
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
        put(dirs[i]);
    put_link("devices/md0/slaves/sda2", "../../sda/sda2");
    put_link("devices/md0/slaves/sdb1", "../../sdb/sdb1");
    put_link("devices/dm-0/slaves/md0", "../../md0");
    put_link("devices/loop/slaves/itself", "../../loop");
    put_link("dev/block/8:0", "../../devices/sda");
    put_link("dev/block/8:1", "../../devices/sda/sda1");
    put_link("dev/block/253:0", "../../devices/dm-0");
    put_link("dev/block/259:0", "../../devices/nvme0n1");
    put_link("dev/block/7:0", "../../devices/loop");
}

TEST(a_device_is_followed_to_its_disks)
{
    static const struct {
        unsigned major, minor;
        const char *disks[3];
    } rows[] = {
        {8, 0, {"sda"}},       {8, 1, {"sda"}}, {253, 0, {"sda", "sdb"}},
        {259, 0, {"nvme0n1"}}, {7, 0, {NULL}},  {9, 9, {NULL}},
    };
    put_sys();
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct disks disks = {0};
        size_t n = 0;
        tap_note("%u:%u", rows[i].major, rows[i].minor);
        disk_find(tap_dir(), makedev(rows[i].major, rows[i].minor), "models", &disks);
        for (; rows[i].disks[n]; n++) {
            bool found = false;
            for (size_t k = 0; k < disks.count; k++)
                found = found || strcmp(disks.items[k].name, rows[i].disks[n]) == 0;
            CHECK(found);
        }
        CHECK_EQ(disks.count, n);
    }
}

TEST(a_disk_is_listed_once_with_all_that_it_serves)
{
    struct disks disks = {0};
    put_sys();
    disk_find(tap_dir(), makedev(8, 0), "models", &disks);
    disk_find(tap_dir(), makedev(8, 1), "backup", &disks);
    disk_find(tap_dir(), makedev(8, 1), "backup", &disks);
    CHECK_EQ(disks.count, 1);
    CHECK_STR(disks.items[0].serves, "models backup");
}

/* ---- what they say, in the form of smartctl 7.3 ---- */

#define NVME(warning, spare, used, errors)                                                      \
    "{\"model_name\":\"NVME 4TB\",\"serial_number\":\"S1\",\"smart_status\":{\"passed\":true}," \
    "\"nvme_smart_health_information_log\":{\"critical_warning\":" warning                      \
    ",\"temperature\":41,\"available_spare\":" spare                                            \
    ",\"available_spare_threshold\":10,\"percentage_used\":" used ",\"media_errors\":" errors   \
    "},\"temperature\":{\"current\":41},\"power_on_time\":{\"hours\":12345}}"
#define ATA(passed, id, raw)                                                                     \
    "{\"smart_status\":{\"passed\":" passed "},\"ata_smart_attributes\":{\"table\":[{\"id\":" id \
    ",\"raw\":{\"value\":" raw "}}]}}"

TEST(what_a_disk_says_is_judged)
{
    static const struct {
        const char *answer;
        enum disk_state state;
        const char *why;
    } rows[] = {
        {NVME("0", "100", "3", "0"), DISK_GOOD, ""},
        {NVME("4", "100", "3", "0"), DISK_FAILING, "it has a critical warning (0x4)"},
        {NVME("0", "9", "3", "0"), DISK_FAILING, "it has 9% of its spare blocks left"},
        {NVME("0", "100", "3", "7"), DISK_WORN, "7 times data could not be read"},
        {NVME("0", "100", "104", "0"), DISK_WORN,
         "104% of the life that its maker gives it are used"},
        {NVME("1", "100", "104", "0"), DISK_FAILING, "it has a critical warning (0x1)"},
        {ATA("true", "5", "0"), DISK_GOOD, ""},
        {ATA("true", "5", "8"), DISK_WORN, "8 sectors were replaced"},
        {ATA("true", "198", "1"), DISK_WORN, "1 sectors cannot be read"},
        {ATA("true", "9", "40000"), DISK_GOOD, ""},
        {ATA("false", "5", "8"), DISK_FAILING, "it says that it is about to fail"},
        {"{\"smartctl\":{\"messages\":[{\"string\":\"/dev/vda: Unable to detect device type\"}]}}",
         DISK_UNKNOWN, "/dev/vda: Unable to detect device type"},
        {"{}", DISK_UNKNOWN, "it does not tell its health"},
        {"{\"smart_status\":{\"passed\":\"yes\"}}", DISK_UNKNOWN, "it does not tell its health"},
        {"{\"smart_status\":{\"passed\":true},\"ata_smart_attributes\":{\"table\":7}}", DISK_GOOD,
         ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct disk disk = {.state = DISK_FAILING, .why = "of before"};
        tap_note("%s", rows[i].answer);
        disk_read_answer(rows[i].answer, strlen(rows[i].answer), &disk);
        CHECK_EQ(disk.state, rows[i].state);
        CHECK_STR(disk.why, rows[i].why);
    }
}

TEST(an_answer_that_is_none_is_told)
{
    struct disk disk = {0};
    disk_read_answer("smartctl: not found", 19, &disk);
    CHECK_EQ(disk.state, DISK_UNKNOWN);
    CHECK(strstr(disk.why, "smartctl's answer: "));
}

TEST(the_numbers_are_kept_and_what_is_not_told_is_unknown)
{
    struct disk disk = {0}, silent = {0};
    static const char answer[] = NVME("0", "100", "3", "0");
    disk_read_answer(answer, strlen(answer), &disk);
    CHECK(disk.has_celsius && disk.has_hours && disk.has_used);
    CHECK_EQ(disk.celsius, 41);
    CHECK_EQ(disk.hours, 12345);
    CHECK_EQ(disk.used_percent, 3);
    CHECK_STR(disk.model, "NVME 4TB");
    disk_read_answer("{}", 2, &silent);
    CHECK(!silent.has_celsius && !silent.has_hours && !silent.has_used);
}

TEST(what_is_written_for_others_is_json)
{
    struct disks disks = {.count = 2, .items = {{.name = "sda", .state = DISK_WORN, .why = "old"}}};
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf text = BUF_INIT(MIB);
    char path[512];
    struct value *root;
    arena_init(&arena, MIB);
    (void)snprintf(path, sizeof(path), "%s/storage/health.json", tap_dir());
    REQUIRE(disks_save(&disks, 77, tap_dir(), NULL) == 0);
    REQUIRE(file_read(path, &text, NULL) == 0);
    REQUIRE(json_parse(&arena, text.data, text.len, JSON_STRICT, &root, NULL, NULL) == 0);
    const struct value *first = value_get(root, "disks")->first;
    uint64_t at = 0;
    CHECK(value_u64(value_get(root, "at_us"), &at));
    CHECK_EQ(at, 77);
    CHECK_STR(value_str(value_get(first, "state")), "worn");
    CHECK_STR(value_str(value_get(first->next, "state")), "unknown");
    CHECK_EQ(value_get(first, "temperature_celsius")->type, VALUE_NULL);
}
