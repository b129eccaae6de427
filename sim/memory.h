#pragma once

/* How an engine shares out the memory of each of its GPUs: as vLLM does, the KV cache gets what is
 * left of the share that it may take. */

#include "base/util.h"

struct settings;

struct memory {
    uint64_t total_bytes, wanted_bytes; /* of the GPU; of these to be taken */
    uint64_t weights_bytes, working_bytes, graphs_bytes;
    int64_t kv_bytes;        /* may be negative */
    uint64_t blocks, tokens; /* of KV cache, over all GPUs */
};

/* As soon as the GPU's memory is known. */
void memory_plan(struct memory *m, const struct settings *settings, unsigned ranks,
                 uint64_t total_bytes);
/* Of KV cache on each GPU, for so many tokens. */
uint64_t memory_of_tokens(const struct settings *settings, unsigned ranks, uint64_t tokens);
