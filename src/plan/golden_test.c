/* The whole plan of examples/reference.yaml on some machines: tests/data/plans/NAME.json. When a
 * change of them is meant, WRITE_GOLDEN=1 in the environment writes them anew; read the difference. */

#include "base/text.h"
#include "plan/test_int.h"

#include <stdlib.h>

#define ROOM (256 * KIB)

static const struct {
    const char *dir, *checkpoint;
} models[] = {
    {"mixtral-8x7b-instruct", "Mixtral-8x7B-Instruct-v0.1"},
    {"nous-hermes-2-mixtral", "Nous-Hermes-2-Mixtral-8x7B-DPO"},
    {"openchat-3.5", "OpenChat-3.5"},
    {"phi-3-mini-128k", "Phi-3-mini-128k-instruct"},
    {"yi-34b-chat", "Yi-34B-Chat"},
    {"deepcoder-14b-instruct", "DeepCoder-14B-Preview"},
    {"mimo-vl-7b-rl", "MiMo-VL-7B-RL"},
};

/* As if the weights were there: each parameter is loaded as 16 bits. */
static void
add_checkpoint(struct bench *b, const char *dir, const char *checkpoint)
{
    char path[256];
    struct err err = {0};
    (void)snprintf(path, sizeof(path), "tests/data/models/%s", checkpoint);
    struct model *m = vec_add(&b->catalogue.models);
    if (model_read(&b->catalogue.arena, tap_source(path), m, &err) < 0)
        tap_fail(__FILE__, __LINE__, "%s", err.what);
    m->name = dir;
    m->dir = arena_printf(&b->catalogue.arena, "/opt/citadel/models/%s", dir);
    m->problems_count = 0;
    CHECK(m->params != MODEL_UNKNOWN);
    m->weights.gpu_bytes = m->params * 2;
}

static bool
read_reference(struct bench *b)
{
    static char text[64 * KIB];
    FILE *f = fopen(tap_source("examples/reference.yaml"), "re");
    size_t len = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
    if (f)
        (void)fclose(f);
    text[len] = '\0';
    if (!len || !bench_open(b, text))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(models); i++)
        add_checkpoint(b, models[i].dir, models[i].checkpoint);
    return true;
}

/* What the configuration's other options are is no matter here. */
static void
print_golden(struct bench *b, struct buf *out)
{
    memset(b->plan.fingerprint, '0', sizeof(b->plan.fingerprint) - 1);
    bench_print(&b->plan, out);
}

static void
check_golden(const char *name, const struct buf *got)
{
    static char want[ROOM];
    char path[128];
    (void)snprintf(path, sizeof(path), "tests/data/plans/%s.json", name);
    bool write = getenv("WRITE_GOLDEN") != NULL;
    FILE *f = fopen(tap_source(path), write ? "we" : "re");
    size_t len = 0;
    if (f && write)
        (void)fwrite(got->data, 1, got->len, f);
    else if (f)
        len = fread(want, 1, sizeof(want) - 1, f);
    want[len] = '\0';
    if (f)
        (void)fclose(f);
    if (!write)
        CHECK_STR(got->data, want);
}

TEST(the_reference_deployment_on_several_machines)
{
    static const struct {
        const char *name, *gpu;
        unsigned count;
        uint64_t mib; /* as the driver tells it */
    } machines[] = {
        {"reference-2x80", "NVIDIA H100 80GB HBM3", 2, 81559},
        {"reference-2x48", "NVIDIA RTX A6000", 2, 49140},
        {"reference-2x24", "NVIDIA GeForce RTX 4090", 2, 24564},
        {"reference-1x80", "NVIDIA H100 80GB HBM3", 1, 81559},
        {"reference-none", "", 0, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
        _cleanup_bench_ struct bench b;
        _cleanup_buf_ struct buf got = BUF_INIT(ROOM);
        tap_note("%s", machines[i].name);
        REQUIRE(read_reference(&b));
        for (unsigned n = 0; n < machines[i].count; n++)
            (void)snprintf(bench_add_gpu(&b, machines[i].mib * MIB)->name, NVML_NAME_BYTES, "%s",
                           machines[i].gpu);
        bench_link(&b, "");
        b.input.no_inventory = "the NVIDIA driver is not installed";
        REQUIRE(bench_plan(&b));
        print_golden(&b, &got);
        check_golden(machines[i].name, &got);
    }
}
