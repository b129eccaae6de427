#pragma once

/* Whole blocks, as fast as this processor can: sha256.c has the rest. */

#include "base/util.h"

#define SHA256_BLOCK 64
#define SHA256_LANES \
    3 /* one instruction of a lane waits for the one before: others fill the time */

extern const uint32_t sha256_constants[64];

/* Each lane has blocks of its own, and all have as many. They are moved on behind them. */
struct sha256_lane {
    uint32_t *state;
    const uint8_t *bytes;
};

void sha256_plain(struct sha256_lane *lanes, size_t count, size_t blocks);
/* NULL: this processor has no instructions for it. */
typedef void (*sha256_kernel)(struct sha256_lane *lanes, size_t count, size_t blocks);
sha256_kernel sha256_x86(void);
