#include "base/crc32c.h"

#include <pthread.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* its bits from the lowest power down */

static uint32_t table[256];

static uint32_t
by_table(uint32_t crc, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 0xff];
    return crc;
}

static void
make_table(void)
{
    for (uint32_t i = 0; i < ARRAY_SIZE(table); i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        table[i] = crc;
    }
}

#if defined(__x86_64__)

#    include <immintrin.h>

static __attribute__((target("sse4.2"))) uint32_t
by_instruction(uint32_t crc, const uint8_t *bytes, size_t len)
{
    uint64_t sum = crc, word;
    for (; len >= sizeof(word); len -= sizeof(word), bytes += sizeof(word)) {
        memcpy(&word, bytes, sizeof(word));
        sum = _mm_crc32_u64(sum, word);
    }
    crc = (uint32_t)sum;
    for (; len > 0; len--)
        crc = _mm_crc32_u8(crc, *bytes++);
    return crc;
}

#endif

static uint32_t (*kernel)(uint32_t crc, const uint8_t *bytes, size_t len);

static void
choose(void)
{
    make_table();
    kernel = by_table;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        kernel = by_instruction;
#endif
}

uint32_t
crc32c(uint32_t crc, const void *bytes, size_t len)
{
    static pthread_once_t chosen = PTHREAD_ONCE_INIT;
    const int r = pthread_once(&chosen, choose);
    assert(r == 0);
    return ~kernel(~crc, bytes, len);
}
