#include "sim/memory.h"

#include "sim/settings.h"

/* Of a GPU of 80 GiB: 1.25 GiB for activations and the CUDA context, 0.6 GiB for graphs. */
#define WORKING_PART 64
#define GRAPHS_PART 128

uint64_t
memory_of_tokens(const struct settings *settings, unsigned ranks, uint64_t tokens)
{
    return tokens * settings->kv_token_bytes / ranks;
}

void
memory_plan(struct memory *m, const struct settings *settings, unsigned ranks, uint64_t total_bytes)
{
    uint64_t forced = settings->kv_blocks ? settings->kv_blocks : settings->blocks_override;
    uint64_t block_bytes = memory_of_tokens(settings, ranks, settings->block_tokens);
    *m = (struct memory){
        .total_bytes = total_bytes,
        .wanted_bytes = (uint64_t)((double)total_bytes * settings->gpu_memory_utilization),
        .weights_bytes = settings->weights_bytes / ranks,
        .working_bytes = total_bytes / WORKING_PART,
        .graphs_bytes = settings->eager ? 0 : total_bytes / GRAPHS_PART,
    };
    m->kv_bytes = settings->kv_bytes ? (int64_t)settings->kv_bytes
                                     : (int64_t)m->wanted_bytes - (int64_t)m->weights_bytes -
                                           (int64_t)m->working_bytes - (int64_t)m->graphs_bytes;
    if (forced)
        m->blocks = forced;
    else if (m->kv_bytes > 0)
        m->blocks = (uint64_t)m->kv_bytes / MAX(block_bytes, (uint64_t)1);
    m->tokens = m->blocks * settings->block_tokens;
}
