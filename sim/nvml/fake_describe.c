/* What GPUs there are, as a person writes them down:
 *
 *   driver 580.95.05
 *   cuda 13.0
 *   # a GPU, and what tells it from an H100
 *   gpu NVIDIA L40S
 *   count 4
 *   memory 46068MiB
 *   compute 8.9
 *
 * A line is a word and its value, '#' begins a comment. What follows `gpu NAME` is about that GPU.
 * No file is the same as an empty one: two H100. */

#include "base/quantity.h"
#include "base/text.h"
#include "sim/nvml/fake_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 256

static const struct fake_gpu h100 = {
    .name = "NVIDIA H100 80GB HBM3",
    .vbios = "96.00.74.00.01",
    .part = "692-2G520-0200-000",
    .inforom = "G520.0200.00.05",
    .pci_device_id = 0x233010de,
    .pci_subsystem_id = 0x16c110de,
    .architecture = 9,
    .cuda_major = 9,
    .cores = 16896,
    .bus_width = 5120,
    .brand = 14,
    .total_bytes = 81559 * MIB,
    .reserved_bytes = 551 * MIB,
    .celsius = 34,
    .memory_celsius = 42,
    .slowdown_celsius = 89,
    .shutdown_celsius = 92,
    .max_celsius = 87,
    .memory_max_celsius = 95,
    .power_mw = 71000,
    .limit_mw = 700000,
    .default_limit_mw = 700000,
    .min_limit_mw = 200000,
    .max_limit_mw = 700000,
    .clock_mhz = {345, 345, 2619, 765},
    .max_clock_mhz = {1980, 1980, 2619, 1545},
    .throttle = NVML_THROTTLE_IDLE,
    .ecc = 1,
    .ecc_pending = 1,
    .retired_count = {FAKE_NONE, FAKE_NONE},
    .pcie_generation = 5,
    .pcie_max_generation = 5,
    .pcie_lanes = 16,
    .pcie_max_lanes = 16,
    .links = FAKE_LINKS_MAX,
    .link_mbs = 26562,
};

/* What each GPU has of its own: addresses and numbers as on a machine, one after the other. */
static void
number(struct fake_gpu *gpu, unsigned index, unsigned count)
{
    (void)snprintf(gpu->uuid, sizeof(gpu->uuid), "GPU-%08x-0000-4000-8000-%012x", index + 1,
                   index + 1);
    (void)snprintf(gpu->serial, sizeof(gpu->serial), "16500220%05u", index + 1);
    gpu->bus = 0x0b + 0x0f * index;
    gpu->numa_node = 2 * index < count ? 0 : 1;
    gpu->cpus = gpu->numa_node == 0 ? 0x00000000ffffffff : 0xffffffff00000000;
}

/* The kind of GPU being described, and how many of it. */
struct kind {
    struct fake_gpu gpu;
    unsigned count;
};

/* The number must lie between least and most. */
static int
read_number(const char *value, unsigned least, unsigned most, unsigned *ret_n)
{
    uint64_t n;
    if (quantity_parse_u64(value, &n, NULL) < 0 || n < least || n > most)
        return -EINVAL;
    *ret_n = (unsigned)n;
    return 0;
}

/* Two small numbers with a point between them. */
static int
read_version(const char *value, unsigned *ret_major, unsigned *ret_minor)
{
    char *end;
    unsigned long major = strtoul(value, &end, 10);
    if (major > 99 || *end != '.')
        return -EINVAL;
    *ret_major = (unsigned)major;
    return read_number(end + 1, 0, 9, ret_minor);
}

static int
set_count(struct kind *kind, const char *value)
{
    return read_number(value, 1, FAKE_GPUS_MAX, &kind->count);
}

static int
set_memory(struct kind *kind, const char *value)
{
    struct fake_gpu *gpu = &kind->gpu;
    int r = quantity_parse_bytes(value, &gpu->total_bytes, NULL);
    gpu->reserved_bytes = MIN(gpu->reserved_bytes, gpu->total_bytes / 64);
    return r;
}

static int
set_compute(struct kind *kind, const char *value)
{
    return read_version(value, &kind->gpu.cuda_major, &kind->gpu.cuda_minor);
}

static int
set_power(struct kind *kind, const char *value)
{
    struct fake_gpu *gpu = &kind->gpu;
    unsigned watts = 0;
    int r = read_number(value, 1, 9999, &watts);
    gpu->limit_mw = gpu->default_limit_mw = gpu->max_limit_mw = watts * 1000;
    gpu->min_limit_mw = MIN(gpu->min_limit_mw, gpu->max_limit_mw);
    return r;
}

static int
set_links(struct kind *kind, const char *value)
{
    return read_number(value, 0, FAKE_LINKS_MAX, &kind->gpu.links);
}

static int
set_fans(struct kind *kind, const char *value)
{
    kind->gpu.fan_percent = 30;
    return read_number(value, 0, 8, &kind->gpu.fans);
}

static int
set_ecc(struct kind *kind, const char *value)
{
    bool yes = text_eq(value, "yes");
    kind->gpu.ecc = kind->gpu.ecc_pending = yes ? 1 : FAKE_NONE;
    return yes || text_eq(value, "no") ? 0 : -EINVAL;
}

static const struct {
    const char *word;
    int (*set)(struct kind *kind, const char *value);
} words[] = {
    {"count", set_count}, {"memory", set_memory}, {"compute", set_compute}, {"power", set_power},
    {"links", set_links}, {"fans", set_fans},     {"ecc", set_ecc},
};

static int
add_kind(struct fake_state *state, const struct kind *kind)
{
    for (unsigned i = 0; i < kind->count; i++) {
        if (state->gpu_count == FAKE_GPUS_MAX)
            return -EINVAL;
        state->gpus[state->gpu_count++] = kind->gpu;
    }
    return 0;
}

static int
set_word(struct fake_state *state, struct kind *kind, const char *word, const char *value)
{
    if (text_eq(word, "driver"))
        return snprintf(state->driver, sizeof(state->driver), "%s", value) > 0 ? 0 : -EINVAL;
    if (text_eq(word, "cuda")) {
        unsigned major = 0, minor = 0;
        int r = read_version(value, &major, &minor);
        state->cuda_version = major * 1000 + minor * 10;
        return r;
    }
    if (text_eq(word, "gpu")) {
        int r = add_kind(state, kind);
        *kind = (struct kind){h100, 1};
        (void)snprintf(kind->gpu.name, sizeof(kind->gpu.name), "%s", value);
        return r;
    }
    for (size_t i = 0; kind->count > 0 && i < ARRAY_SIZE(words); i++)
        if (text_eq(word, words[i].word))
            return words[i].set(kind, value);
    return -EINVAL;
}

static int
set_line(struct fake_state *state, struct kind *kind, char *line)
{
    line[strcspn(line, "#\n")] = '\0';
    for (size_t len = strlen(line); len > 0 && line[len - 1] == ' '; len--)
        line[len - 1] = '\0';
    char *word = line + strspn(line, " ");
    char *value = word + strcspn(word, " ");
    if (*word == '\0')
        return 0;
    if (*value == '\0')
        return -EINVAL;
    *value = '\0';
    value++;
    return set_word(state, kind, word, value + strspn(value, " "));
}

static int
read_lines(struct fake_state *state, FILE *file, const char *path, struct err *reterr)
{
    char line[LINE_MAX_BYTES];
    struct kind kind = {0};
    for (unsigned number = 1; fgets(line, sizeof(line), file); number++) {
        char said[LINE_MAX_BYTES];
        (void)snprintf(said, sizeof(said), "%.*s", (int)strcspn(line, "\n"), line);
        if (set_line(state, &kind, line) < 0)
            return err_set(reterr, ERR_VALUE, "%s:%u: not a line of a GPU description: %s", path,
                           number, said);
    }
    if (add_kind(state, &kind) < 0)
        return err_set(reterr, ERR_VALUE, "%s: more than %d GPUs", path, FAKE_GPUS_MAX);
    return 0;
}

int
fake_describe(struct fake_state *state, const char *path, struct err *reterr)
{
    (void)snprintf(state->driver, sizeof(state->driver), "580.95.05");
    state->cuda_version = 13000;
    FILE *file = fopen(path, "re");
    if (!file && errno != ENOENT)
        return err_set_errno(reterr, errno, "%s", path);
    if (file) {
        int r = read_lines(state, file, path, reterr);
        (void)fclose(file);
        if (r < 0)
            return r;
    }
    if (state->gpu_count == 0)
        (void)add_kind(state, &(struct kind){h100, 2});
    for (unsigned i = 0; i < state->gpu_count; i++)
        number(&state->gpus[i], i, state->gpu_count);
    return 0;
}
