/* How long the plan and the units of examples/reference.yaml take to be made, each alone, of two H100 and of
 * models of whose files nothing is known. Bounded by the digest of all options that the plan depends on, and
 * by some forty units of fifty lines. The aim is 10 ms for the units.
 *
 *     bench_render       in the top of the tree */

#include "config/config.h"
#include "config/problems.h"
#include "gpu/inventory.h"
#include "plan/plan.h"
#include "sys/clock.h"
#include "sys/files.h"
#include "unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#define RUNS 500
#define REFERENCE "examples/reference.yaml"

static struct gpu gpus[2];
static const struct gpu_inventory inventory = {.count = ARRAY_SIZE(gpus), .gpus = gpus};
static const struct plan_engine vllm = {"/opt/citadel/vllm-env-0.19.0", "0.19.0", ""};

struct times {
    uint64_t plan_us[RUNS], units_us[RUNS];
    size_t files;
};

static int
by_size(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void
show(const char *what, uint64_t us[RUNS])
{
    qsort(us, RUNS, sizeof(us[0]), by_size);
    const size_t middle = RUNS / 2, nearly_all = RUNS * 99 / 100;
    (void)printf("%7.3f ms  %s; %.3f ms for 99 of 100\n", (double)us[middle] / 1000, what,
                 (double)us[nearly_all] / 1000);
}

static int
measure(const struct config *config, size_t run, struct times *times, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct plan plan;
    struct unit_set set;
    const struct plan_input input = {.config = config, .inventory = &inventory, .vllm = &vllm};
    const struct unit_input in = {.config = config,
                                  .plan = &plan,
                                  .program = "/usr/bin/citadel",
                                  .config_file = "/etc/citadel/current/config.yaml"};
    arena_init(&arena, 2 * UNIT_BYTES);
    uint64_t began = clock_now_us();
    int r = plan_make(&input, &arena, &plan, reterr);
    uint64_t planned = clock_now_us();
    if (r == 0)
        r = unit_render(&in, &arena, &set, reterr);
    times->plan_us[run] = planned - began;
    times->units_us[run] = clock_now_us() - planned;
    if (r == 0)
        times->files = set.count;
    return r;
}

static void
make_gpus(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(gpus); i++) {
        gpus[i] = (struct gpu){.index = i,
                               .minor = {i, true},
                               .memory_total_bytes = {80 * GIB, true},
                               .name = "NVIDIA H100 80GB HBM3"};
        (void)snprintf(gpus[i].uuid, sizeof(gpus[i].uuid), "GPU-%08x", i);
    }
}

int
main(void)
{
    static struct times times;
    _cleanup_buf_ struct buf text = BUF_INIT(MIB);
    _cleanup_config_problems_ struct config_problems problems;
    _cleanup_config_ struct config *config = NULL;
    struct err err = {0};
    char what[64];
    make_gpus();
    config_problems_init(&problems);
    int r = file_read(REFERENCE, &text, &err);
    if (r == 0)
        r = config_parse(text.data, text.len, REFERENCE, &config, &problems, &err);
    for (size_t i = 0; r == 0 && i < RUNS; i++)
        r = measure(config, i, &times, &err);
    if (r < 0) {
        (void)fprintf(stderr, "%s\n", err.what);
        return EXIT_FAILURE;
    }
    (void)snprintf(what, sizeof(what), "%zu files of units; the aim is 10 ms", times.files);
    show("the plan", times.plan_us);
    show(what, times.units_us);
    return EXIT_SUCCESS;
}
