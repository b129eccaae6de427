#pragma once

/* A configuration and a plan for it, for the tests of this room. */

#include "unit/unit_int.h"

struct bench {
    struct config *config;
    struct plan plan;
    struct plan_gpu gpus[4];
    struct plan_part parts[8];
    struct plan_model models[300];
    struct arena arena;
    struct unit_set set;
    struct err err;
};

/* The text is a configuration. All GPUs are there; the first model is resident, the others are loaded
 * on demand, each on as many GPUs as it asks for; disabled ones are not deployed. */
void bench_open(struct bench *b, const char *yaml);
void bench_close(struct bench *b);
#define _cleanup_bench_ _cleanup_(bench_close)

int bench_render(struct bench *b);
/* A rendered file; "" and a failed test: it is not there. */
const char *bench_text(const struct bench *b, const char *name);
/* The values of a directive, each followed by ';'. */
const char *bench_values(const struct bench *b, const char *name, const char *directive,
                         char text[4096]);
