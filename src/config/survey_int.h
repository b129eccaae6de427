#pragma once

/* What cheap looks at /proc and the usual places tell of this machine, for a first configuration.
 * No library is asked and nothing is started; everything is read below the root. */

#include "base/mem.h"

#define SURVEY_GPUS_MAX 32
#define SURVEY_MODELS_MAX 64

struct survey_gpu {
    char model[96]; /* "NVIDIA H200" */
    char uuid[64];
};

struct survey_model {
    const char *name; /* fit for a service, and no other's */
    const char *path; /* as the configuration has it: without the root */
    uint64_t weights_bytes;
    bool gguf;
};

struct survey_mount {
    bool mounted;
    char type[32];
    char device[128];
};

struct survey {
    struct arena arena;
    struct survey_gpu gpus[SURVEY_GPUS_MAX];
    size_t gpu_count;
    struct survey_model models[SURVEY_MODELS_MAX];
    size_t model_count;
    struct survey_mount models_mount;
    struct survey_mount backup_mount;
};

void survey_machine(struct survey *ret_survey);
void survey_finish(struct survey *survey);
