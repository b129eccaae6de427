#include "sys/host_load.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "sys/files.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE_MAX (1 * MIB) /* /proc/stat has a number for each interrupt */

const char *
host_cpu_word(enum host_cpu_mode mode)
{
    static const char *const words[] = {
#define MODE(name, word) word,
        HOST_CPU_MODES(MODE)
#undef MODE
    };
    return words[mode];
}

/* What is longer is cut: all that is looked for stands at the beginning. */
static void
read_page(const char *proc, const char *name, struct buf *page)
{
    _cleanup_free_ char *path = mem_printf("%s/%s", proc, name);
    buf_clear(page);
    (void)!file_read(path, page, NULL);
}

/* The number at *at, which moves behind it. NAN: there is none. */
static double
take_number(const char **at)
{
    char *end;
    double n = strtod(*at, &end);
    bool is_number = end != *at && isfinite(n) && n >= 0;
    *at = end;
    return is_number ? n : NAN;
}

/* Behind a line's name; NULL: there is no such line. */
static const char *
find_line(const char *page, const char *name)
{
    size_t len = strlen(name);
    while (page && strncmp(page, name, len) != 0) {
        page = strchr(page, '\n');
        page = page ? page + 1 : NULL;
    }
    return page ? page + len : NULL;
}

static double
kilobytes(const char *page, const char *name)
{
    const char *at = find_line(page, name);
    return at ? take_number(&at) * KIB : NAN;
}

static void
read_memory(const char *page, struct host_load *load)
{
    load->memory_size_bytes = kilobytes(page, "MemTotal:");
    load->memory_free_bytes = kilobytes(page, "MemFree:");
    load->memory_available_bytes = kilobytes(page, "MemAvailable:");
    load->swap_size_bytes = kilobytes(page, "SwapTotal:");
    load->swap_free_bytes = kilobytes(page, "SwapFree:");
}

static void
read_cpus(const char *page, struct host_load *load)
{
    double hz = (double)sysconf(_SC_CLK_TCK);
    const char *at = find_line(page, "cpu ");
    unsigned count = 0;
    for (unsigned i = 0; i < HOST_CPU_MODE_COUNT; i++)
        load->cpu_seconds[i] = at ? take_number(&at) / hz : NAN;
    for (at = page; (at = find_line(at, "cpu"));)
        count += *at >= '0' && *at <= '9';
    load->cpus = count ? (double)count : NAN;
}

void
host_load_read(const char *proc, struct host_load *ret_load)
{
    _cleanup_buf_ struct buf page = BUF_INIT(PAGE_MAX);
    read_page(proc, "loadavg", &page);
    const char *at = page.data;
    ret_load->load_1 = take_number(&at);
    ret_load->load_5 = take_number(&at);
    ret_load->load_15 = take_number(&at);
    read_page(proc, "uptime", &page);
    at = page.data;
    ret_load->uptime_seconds = take_number(&at);
    read_page(proc, "meminfo", &page);
    read_memory(page.data, ret_load);
    read_page(proc, "stat", &page);
    read_cpus(page.data, ret_load);
}
