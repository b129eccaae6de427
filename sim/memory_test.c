#include "sim/memory.h"

#include "sim/settings.h"
#include "tap.h"

/* A GPU of 64 GiB: a 64th and a 128th of it are for working memory and graphs. */
static const struct settings plain = {.gpu_memory_utilization = 0.5,
                                      .weights_bytes = 8 * GIB,
                                      .kv_token_bytes = 64 * KIB,
                                      .block_tokens = 16};

TEST(the_cache_gets_what_is_left)
{
    struct memory m;
    memory_plan(&m, &plain, 1, 64 * GIB);
    CHECK_EQ(m.wanted_bytes, 32 * GIB);
    CHECK_EQ(m.kv_bytes, 32 * GIB - 8 * GIB - 1 * GIB - 512 * MIB);
    CHECK_EQ(m.blocks, m.kv_bytes / (int64_t)MIB);
    CHECK_EQ(m.tokens, m.blocks * 16);
}

/* Two GPUs hold half of the weights each, and half of what a token needs. */
TEST(several_gpus_share_weights_and_cache)
{
    struct memory one, two;
    memory_plan(&one, &plain, 1, 64 * GIB);
    memory_plan(&two, &plain, 2, 64 * GIB);
    CHECK_EQ(two.weights_bytes, 4 * GIB);
    CHECK_EQ(two.kv_bytes, one.kv_bytes + 4 * (int64_t)GIB);
    CHECK_EQ(two.blocks, two.kv_bytes / (int64_t)(512 * KIB));
    CHECK_EQ(memory_of_tokens(&plain, 2, 10), 320 * KIB);
}

TEST(what_is_said_counts_more_than_what_is_left)
{
    struct settings s = plain;
    struct memory m;
    s.eager = true;
    memory_plan(&m, &s, 1, 64 * GIB);
    CHECK_EQ(m.graphs_bytes, 0);
    s.kv_bytes = 3 * GIB;
    memory_plan(&m, &s, 1, 64 * GIB);
    CHECK_EQ(m.blocks, 3 * 1024);
    s.blocks_override = 7;
    memory_plan(&m, &s, 1, 64 * GIB);
    CHECK_EQ(m.blocks, 7);
    s.kv_blocks = 5;
    memory_plan(&m, &s, 1, 64 * GIB);
    CHECK_EQ(m.tokens, 80);
}

TEST(there_may_be_nothing_left)
{
    struct settings s = plain;
    struct memory m;
    s.weights_bytes = 40 * GIB;
    memory_plan(&m, &s, 1, 64 * GIB);
    CHECK(m.kv_bytes < 0);
    CHECK_EQ(m.blocks, 0);
}
