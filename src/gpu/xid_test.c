#include "gpu/xid.h"

#include "tap.h"

#include <stdio.h>

TEST(every_code_has_its_row)
{
    unsigned used = 0;
    for (unsigned code = 1; gpu_xid_row(code); code++) {
        const struct gpu_xid_row *row = gpu_xid_row(code);
        CHECK_EQ(row->code, code);
        CHECK((row->severity == GPU_XID_UNUSED) == (row->help == NULL));
        CHECK((row->severity == GPU_XID_UNUSED) == (row->suspect == GPU_XID_NOBODY));
        CHECK(row->severity != GPU_XID_CRITICAL || row->action != GPU_XID_NOTHING);
        CHECK(gpu_xid_action_row(row->action)->name && gpu_xid_action_row(row->then)->help);
        used += row->severity != GPU_XID_UNUSED;
    }
    CHECK_EQ(used, 111);
    CHECK(gpu_xid_row(172) && !gpu_xid_row(173) && !gpu_xid_row(0));
}

TEST(what_is_known_of_the_frequent_ones)
{
    static const struct {
        unsigned code;
        enum gpu_xid_severity severity;
        enum gpu_xid_suspect suspect;
        enum gpu_xid_action action;
    } rows[] = {
        {13, GPU_XID_ERROR, GPU_XID_PROGRAM, GPU_XID_RESTART_MODEL},
        {31, GPU_XID_ERROR, GPU_XID_PROGRAM, GPU_XID_RESTART_MODEL},
        {45, GPU_XID_INFO, GPU_XID_PROGRAM, GPU_XID_FOLLOW_OTHER},
        {48, GPU_XID_CRITICAL, GPU_XID_MEMORY, GPU_XID_RESET_GPU},
        {63, GPU_XID_WARNING, GPU_XID_MEMORY, GPU_XID_NOTHING},
        {74, GPU_XID_ERROR, GPU_XID_LINK, GPU_XID_CHECK_LINKS},
        {79, GPU_XID_CRITICAL, GPU_XID_BOARD, GPU_XID_REBOOT},
        {94, GPU_XID_ERROR, GPU_XID_MEMORY, GPU_XID_RESTART_MODEL},
        {119, GPU_XID_CRITICAL, GPU_XID_DRIVER, GPU_XID_RESET_GPU},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct gpu_xid_row *row = gpu_xid_row(rows[i].code);
        tap_note("Xid %u", rows[i].code);
        CHECK_EQ(row->severity, rows[i].severity);
        CHECK_EQ(row->suspect, rows[i].suspect);
        CHECK_EQ(row->action, rows[i].action);
    }
}

TEST(lines_of_every_dress_are_read)
{
    static const struct {
        const char *line;
        unsigned code;
        const char *bus_id, *process;
        unsigned pid;
    } rows[] = {
        {"NVRM: Xid (PCI:0000:3b:00): 31, pid=26002, name=VLLM::Worker_TP, Ch 00000008", 31,
         "0000:3b:00.0", "VLLM::Worker_TP", 26002},
        {"[ 1.5] NVRM: Xid (PCI:0000:d8:00): 79, pid='<unknown>', name=<unknown>, GPU has", 79,
         "0000:d8:00.0", "", 0},
        {"4,22,15,-;NVRM: Xid (PCI:0000:86:00): 48, An uncorrectable", 48, "0000:86:00.0", "", 0},
        {"Nov  3 12:00:00 box kernel: NVRM: Xid (0000:d8:00): 14, Channel", 14, "0000:d8:00.0", "",
         0},
        {"<3>[ 9.1] NVRM: Xid (PCI:00000009:01:00.1): 145", 145, "0009:01:00.1", "", 0},
        {"NVRM: Xid (PCI:0000:3b:00): 13, pid=7, name=a\x1b[2Jb\n", 13, "0000:3b:00.0", "a?[2Jb",
         7},
        {"NVRM: Xid (PCI:0000:3b:00): 13, pid=7, name=NVRM: Xid (PCI:0000:99:00): 79, x", 13,
         "0000:3b:00.0", "NVRM: Xid (PCI:0000:99:00): 79", 7},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct gpu_xid xid;
        tap_note("%s", rows[i].line);
        REQUIRE(gpu_xid_parse(rows[i].line, strlen(rows[i].line), &xid));
        CHECK_EQ(xid.code, rows[i].code);
        CHECK_STR(xid.bus_id, rows[i].bus_id);
        CHECK_STR(xid.process, rows[i].process);
        CHECK_EQ(xid.pid, rows[i].pid);
        CHECK_EQ(xid.pid_known, rows[i].pid != 0);
        CHECK(!xid.is_switch && !xid.recovery_known);
    }
}

TEST(other_lines_are_none)
{
    static const char *const lines[] = {
        "",
        "NVRM: Xid (",
        "NVRM: Xid (PCI:0000:3b:00): ",
        "NVRM: Xid (PCI:0000:3b:00):31",
        "NVRM: Xid (PCI:0000:3b): 31",
        "NVRM: Xid (PCI:0000:3b:00): 31a",
        "NVRM: Xid (PCI:0000:3b:00): 1234567",
        "NVRM: Xid (PCI:0000:3bb:00): 31",
        "NVRM: Xid error: xyz, invalid data",
        "NVRM: GPU 0000:91:00.0: GPU has fallen off the bus.",
        "nvidia-nvswitch2: SXid (PCI:0000:07:00.0): 20034, Severity 1 Engine instance 60",
        "nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 20034, Data {0x10000000}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        struct gpu_xid xid = {.code = 7};
        tap_note("%s", lines[i]);
        CHECK(!gpu_xid_parse(lines[i], strlen(lines[i]), &xid));
        CHECK_EQ(xid.code, 7);
    }
}

TEST(a_change_of_the_recovery_action_is_read)
{
    static const char line[] = "NVRM: Xid (PCI:0019:01:00): 154, GPU recovery action changed from "
                               "0x4 (Drain and Reset) to 0x1 (GPU Reset Required)";
    struct gpu_xid xid;
    REQUIRE(gpu_xid_parse(line, sizeof(line) - 1, &xid));
    CHECK(xid.recovery_known);
    CHECK_EQ(xid.recovery, NVML_RECOVERY_RESET);
    for (size_t len = 0; len < sizeof(line) - 1; len++) {
        bool is = gpu_xid_parse(line, len, &xid);
        CHECK(!is || !xid.recovery_known || len >= strlen(line) - 22);
    }
}

/* The codes of a file of tests/data/kernel, in their order, with an s before those of switches. */
static void
check_file(const char *name, const char *want)
{
    char path[128], line[1024], codes[512] = "";
    (void)snprintf(path, sizeof(path), "tests/data/kernel/%s", name);
    FILE *file = fopen(tap_source(path), "re");
    REQUIRE(file);
    while (fgets(line, sizeof(line), file)) {
        struct gpu_xid xid;
        if (!gpu_xid_parse(line, strlen(line), &xid))
            continue;
        size_t len = strlen(codes);
        (void)snprintf(codes + len, sizeof(codes) - len, "%s%s%u", len ? " " : "",
                       xid.is_switch ? "s" : "", xid.code);
    }
    (void)fclose(file);
    CHECK_STR(codes, want);
}

TEST(kernel_logs_give_their_codes)
{
    check_file("xid-mixed-composed.log",
               "13 13 13 43 31 45 45 32 69 63 94 45 48 95 64 154 74 74 61 62 109 14 79 145 99999");
    check_file("kmsg-xid-composed.raw", "31 45 48 154 79 s20034");
    check_file("xid-79-fallen-off-bus-sxid.log", "79 s20034 s20034 s20034 s20034");
    check_file("xid-119-gsp-timeout.log", "119 119 119 119 119");
    check_file("xid-149-154-nvlink.log", "149 154 149 154 149 149 149 154 154");
    check_file("driver-load-550.144.03.log", "");
    check_file("kmsg-peermem-invalid-context.raw", "");
    check_file("nccl-segfault.log", "");
}
