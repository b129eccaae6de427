#include "sys/host_load.h"

#include "base/mem.h"
#include "sys/files.h"
#include "tap.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
put(const char *name, const char *text)
{
    _cleanup_free_ char *path = mem_printf("%s/%s", tap_dir(), name);
    CHECK_EQ(file_write(path, text, strlen(text), 0644, NULL), 0);
}

TEST(the_load_of_a_host_is_read)
{
    struct host_load load;
    double hz = (double)sysconf(_SC_CLK_TCK);
    put("loadavg", "0.52 1.25 31.00 3/1024 4711\n");
    put("uptime", "350735.47 234388.90\n");
    put("meminfo",
        "MemTotal:       32768 kB\nMemFree:         1024 kB\nMemAvailable:   16384 kB\n"
        "HugePages_Total:       0\nSwapTotal:             0 kB\nSwapFree:              0 kB\n");
    put("stat", "cpu  100 200 300 400 500 600 700 800 900 1000\n"
                "cpu0 50 100 150 200 250 300 350 400 450 500\n"
                "cpu1 50 100 150 200 250 300 350 400 450 500\nintr 5 1 2\n");
    host_load_read(tap_dir(), &load);
    CHECK(load.load_1 == 0.52 && load.load_5 == 1.25 && load.load_15 == 31);
    CHECK(load.uptime_seconds == 350735.47);
    CHECK(load.memory_size_bytes == 32.0 * MIB && load.memory_free_bytes == 1.0 * MIB);
    CHECK(load.memory_available_bytes == 16.0 * MIB);
    CHECK(load.swap_size_bytes == 0 && load.swap_free_bytes == 0);
    CHECK(load.cpus == 2);
    for (unsigned i = 0; i < HOST_CPU_MODE_COUNT; i++)
        CHECK(load.cpu_seconds[i] == 100.0 * (i + 1) / hz);
    CHECK_STR(host_cpu_word(HOST_CPU_STEAL), "steal");
}

TEST(what_proc_does_not_tell_is_not_known)
{
    static const char *const texts[] = {"",           "\n",           "cpu\n",
                                        "cpu  x y\n", "nan inf -1\n", "MemTotal: kB"};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        static const char *const names[] = {"loadavg", "uptime", "meminfo", "stat"};
        struct host_load load;
        tap_note("%s", texts[i]);
        for (size_t k = 0; k < ARRAY_SIZE(names); k++)
            put(names[k], texts[i]);
        host_load_read(tap_dir(), &load);
        CHECK(isnan(load.load_1) && isnan(load.uptime_seconds) && isnan(load.cpus));
        CHECK(isnan(load.memory_size_bytes) && isnan(load.cpu_seconds[0]));
    }
    struct host_load load;
    host_load_read("/nonexistent", &load);
    CHECK(isnan(load.load_15) && isnan(load.swap_free_bytes) && isnan(load.cpu_seconds[7]));
}

TEST(this_host_tells_how_busy_it_is)
{
    struct host_load load;
    host_load_read("/proc", &load);
    CHECK(load.load_1 >= 0 && load.uptime_seconds > 0);
    CHECK(load.cpus >= 1 && load.cpu_seconds[HOST_CPU_USER] >= 0);
    CHECK(load.memory_size_bytes >= load.memory_available_bytes && load.memory_available_bytes > 0);
}
