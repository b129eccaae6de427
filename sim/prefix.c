#include "sim/prefix.h"

#include "base/mem.h"
#include "sim/words.h"

#include <stdlib.h>
#include <string.h>

#define BLOCKS 16384 /* a power of two */

void
prefix_init(struct prefix *prefix)
{
    prefix->blocks = mem_alloc(BLOCKS * sizeof(*prefix->blocks));
}

void
prefix_finish(struct prefix *prefix)
{
    free(prefix->blocks);
    prefix->blocks = NULL;
}

void
prefix_clear(struct prefix *prefix)
{
    memset(prefix->blocks, 0, BLOCKS * sizeof(*prefix->blocks));
}

/* FNV-1a: who makes two blocks collide has one counted as cached. */
static uint64_t
mix(uint64_t hash, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    return hash;
}

uint64_t
prefix_take(struct prefix *prefix, const char *text, size_t len, uint64_t block_tokens)
{
    const char *end = text + len;
    uint64_t hash = UINT64_C(0xcbf29ce484222325), tokens = 0, cached = 0;
    bool known = true;
    for (size_t step; (step = word_len(text, end)); text += step) {
        hash = mix(hash, text, step);
        if (++tokens % block_tokens)
            continue;
        uint64_t *block = &prefix->blocks[(hash ^ hash >> 32) & (BLOCKS - 1)];
        known = known && *block == hash;
        *block = hash;
        cached = known ? tokens : cached;
    }
    return cached == tokens && cached ? cached - block_tokens : cached;
}
