#pragma once

/* What the tensors of a checkpoint add up to. */

#include "fmt/safetensors.h"
#include "model/model_int.h"

struct tally {
    size_t tensors;
    uint64_t bytes;
    uint64_t gpu_bytes;
    uint64_t params;
};

/* False when the sums are more than can be counted. */
bool tally_tensor(struct tally *tally, const struct shape *sh, const struct model_quant *quant,
                  const struct safetensors_tensor *tensor) must_check;
