#pragma once

/* Numbers as the files of a repository have them: little-endian, at any address. */

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline void
put_u16(uint8_t *to, uint16_t n)
{
    n = htole16(n);
    memcpy(to, &n, sizeof(n));
}

static inline void
put_u32(uint8_t *to, uint32_t n)
{
    n = htole32(n);
    memcpy(to, &n, sizeof(n));
}

static inline void
put_u64(uint8_t *to, uint64_t n)
{
    n = htole64(n);
    memcpy(to, &n, sizeof(n));
}

static inline uint16_t
get_u16(const uint8_t *from)
{
    uint16_t n;
    memcpy(&n, from, sizeof(n));
    return le16toh(n);
}

static inline uint32_t
get_u32(const uint8_t *from)
{
    uint32_t n;
    memcpy(&n, from, sizeof(n));
    return le32toh(n);
}

static inline uint64_t
get_u64(const uint8_t *from)
{
    uint64_t n;
    memcpy(&n, from, sizeof(n));
    return le64toh(n);
}
