#pragma once

/* For the tests of this room: machines and models that are made up. */

#include "fmt/json.h"
#include "plan/plan_int.h"
#include "tests/tap.h"

#include "config/problems.h"
#include "gpu/nvml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench {
    struct config *config;
    struct gpu_inventory inventory;
    struct gpu gpus[GPU_INVENTORY_MAX];
    struct model_catalogue catalogue;
    struct plan_input input;
    struct arena arena;
    struct plan plan;
};

/* A bench without GPUs whose catalogue is empty; text: the configuration. */
static inline bool
bench_open(struct bench *b, const char *text)
{
    struct config_problems problems;
    struct err err = {0};
    memset(b, 0, sizeof(*b));
    arena_init(&b->arena, 16 * MIB);
    config_problems_init(&problems);
    model_catalogue_init(&b->catalogue);
    int r = config_parse(text, strlen(text), "test.yaml", &b->config, &problems, &err);
    for (size_t i = 0; r < 0 && i < problems.count; i++)
        tap_note("%s", problems.items[i].found);
    config_problems_finish(&problems);
    b->input = (struct plan_input){.config = b->config, .catalogue = &b->catalogue};
    if (r < 0)
        tap_fail(__FILE__, __LINE__, "%s", err.what);
    return r == 0;
}

static inline void
bench_close(struct bench *b)
{
    config_freep(&b->config);
    model_catalogue_finish(&b->catalogue);
    arena_finish(&b->arena);
}
#define _cleanup_bench_ _cleanup_(bench_close)

static inline struct gpu *
bench_add_gpu(struct bench *b, uint64_t bytes)
{
    unsigned n = (unsigned)b->inventory.count++;
    struct gpu *gpu = &b->gpus[n];
    *gpu = (struct gpu){.index = n,
                        .minor = {n, true},
                        .memory_total_bytes = {bytes, true},
                        .name = "NVIDIA H100 80GB HBM3"};
    (void)snprintf(gpu->uuid, sizeof(gpu->uuid), "GPU-%08x-0000-0000-0000-000000000000", n);
    b->inventory.gpus = b->gpus;
    b->input.inventory = &b->inventory;
    return gpu;
}

/* "80 80 !24": GiB each, '!': lost. */
static inline void
bench_add_gpus(struct bench *b, const char *text)
{
    while (*text) {
        char *end;
        bool lost = *text == '!';
        uint64_t gib = strtoull(text + lost, &end, 10);
        bench_add_gpu(b, gib * GIB)->trouble = lost ? NVML_ERROR_GPU_IS_LOST : NVML_SUCCESS;
        text = *end ? end + 1 : end;
    }
}

/* "0-1 2-3": pairs with NVLink; all others are as far apart as can be. */
static inline void
bench_link(struct bench *b, const char *text)
{
    for (size_t i = 0; i < b->inventory.count; i++)
        for (size_t k = 0; k < b->inventory.count; k++) {
            b->inventory.pairs[i][k].known = true;
            b->inventory.pairs[i][k].level = NVML_TOPOLOGY_SYSTEM;
        }
    while (*text) {
        char *end;
        unsigned long one = strtoul(text, &end, 10), other = strtoul(end + 1, &end, 10);
        b->inventory.pairs[one][other].linked = b->inventory.pairs[other][one].linked = true;
        text = *end ? end + 1 : end;
    }
}

/* Llama-like: weights of so many GiB, 128 KiB a token in the cache of one GPU. Its directory is what
 * a configuration names. */
static inline struct model *
bench_add_model(struct bench *b, const char *dir, unsigned weights_gib)
{
    const struct model m = {
        .name = dir,
        .dir = dir,
        .weights = {.gpu_bytes = weights_gib * GIB, .whole = true},
        .layers = 32,
        .vocabulary = 32000,
        .context = 32768,
        .cache = {.known = true,
                  .state_known = true,
                  .full = {.layers = 32, .kv_heads = 8, .key_dim = 128, .value_dim = 128}},
    };
    vec_push(&b->catalogue.models, m);
    return &b->catalogue.models.items[b->catalogue.models.count - 1];
}

static inline bool
bench_plan(struct bench *b)
{
    struct err err = {0};
    int r = plan_make(&b->input, &b->arena, &b->plan, &err);
    if (r < 0)
        tap_fail(__FILE__, __LINE__, "%s", err.what);
    return r == 0;
}

static inline void
bench_print(const struct plan *plan, struct buf *out)
{
    struct json_writer w;
    buf_clear(out);
    json_init(&w, out, true);
    plan_print(plan, &w);
    buf_add_char(out, '\n');
    CHECK(buf_error(out) == 0);
}
