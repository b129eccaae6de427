/* Loops over a fixed number of lanes, which compilers turn into vectors; what is left over goes
 * one by one. */

#include "backup/planes.h"

#include <endian.h>
#include <string.h>

#define LANES 32

static inline uint16_t
get16(const uint8_t *p, const uint8_t *base, size_t i)
{
    uint16_t v, b = 0;
    memcpy(&v, p + 2 * i, 2);
    if (base)
        memcpy(&b, base + 2 * i, 2);
    return le16toh(v ^ b);
}

static inline uint32_t
get32(const uint8_t *p, const uint8_t *base, size_t i)
{
    uint32_t v, b = 0;
    memcpy(&v, p + 4 * i, 4);
    if (base)
        memcpy(&b, base + 4 * i, 4);
    return le32toh(v ^ b);
}

static inline void
put16(uint8_t *p, const uint8_t *base, size_t i, uint16_t v)
{
    uint16_t b = 0;
    if (base)
        memcpy(&b, base + 2 * i, 2);
    v = htole16(v) ^ b;
    memcpy(p + 2 * i, &v, 2);
}

static inline void
put32(uint8_t *p, const uint8_t *base, size_t i, uint32_t v)
{
    uint32_t b = 0;
    if (base)
        memcpy(&b, base + 4 * i, 4);
    v = htole32(v) ^ b;
    memcpy(p + 4 * i, &v, 4);
}

/* ---- one number: the i-th of them, and in a run of LANES the one at `lane` ---- */

typedef uint8_t run_planes[CODEC_PLANES_MAX][LANES];

static inline void
split_f8(const uint8_t *p, const uint8_t *base, size_t i, run_planes to, size_t lane)
{
    to[0][lane] = base ? p[i] ^ base[i] : p[i];
}

static inline void
split_bf16(const uint8_t *p, const uint8_t *base, size_t i, run_planes to, size_t lane)
{
    uint16_t v = get16(p, base, i);
    to[0][lane] = (uint8_t)(v >> 7);
    to[1][lane] = (uint8_t)((v >> 8 & 0x80) | (v & 0x7f));
}

static inline void
split_f16(const uint8_t *p, const uint8_t *base, size_t i, run_planes to, size_t lane)
{
    uint16_t v = get16(p, base, i);
    to[0][lane] = (uint8_t)(v >> 8);
    to[1][lane] = (uint8_t)v;
}

static inline void
split_f32(const uint8_t *p, const uint8_t *base, size_t i, run_planes to, size_t lane)
{
    uint32_t v = get32(p, base, i);
    to[0][lane] = (uint8_t)(v >> 23);
    to[1][lane] = (uint8_t)((v >> 24 & 0x80) | (v >> 16 & 0x7f));
    to[2][lane] = (uint8_t)(v >> 8);
    to[3][lane] = (uint8_t)v;
}

static inline void
join_f8(const uint8_t *const from[], const uint8_t *base, uint8_t *p, size_t i)
{
    p[i] = base ? from[0][i] ^ base[i] : from[0][i];
}

static inline void
join_bf16(const uint8_t *const from[], const uint8_t *base, uint8_t *p, size_t i)
{
    uint16_t rest = from[1][i];
    put16(p, base, i, (uint16_t)((rest & 0x80) << 8 | from[0][i] << 7 | (rest & 0x7f)));
}

static inline void
join_f16(const uint8_t *const from[], const uint8_t *base, uint8_t *p, size_t i)
{
    put16(p, base, i, (uint16_t)(from[0][i] << 8 | from[1][i]));
}

static inline void
join_f32(const uint8_t *const from[], const uint8_t *base, uint8_t *p, size_t i)
{
    uint32_t high = from[1][i];
    put32(p, base, i,
          (high & 0x80) << 24 | (uint32_t)from[0][i] << 23 | (high & 0x7f) << 16 |
              (uint32_t)from[2][i] << 8 | from[3][i]);
}

/* ---- all of them ---- */

#define EACH(n, one)                                         \
    do {                                                     \
        size_t at_ = 0;                                      \
        for (; at_ + LANES <= (n); at_ += LANES)             \
            for (size_t lane_ = 0; lane_ < LANES; lane_++) { \
                const size_t i = at_ + lane_;                \
                one;                                         \
            }                                                \
        for (size_t i = at_; i < (n); i++)                   \
            one;                                             \
    } while (0)

#define WITH_AND_WITHOUT(base, n, with, without) \
    do {                                         \
        if (base)                                \
            EACH(n, with);                       \
        else                                     \
            EACH(n, without);                    \
    } while (0)

/* A run is split into planes of its own: no compiler could know that those of the block are apart. */
#define SPLIT_RUN(name, planes, its_base, count)                                \
    do {                                                                        \
        for (size_t lane_ = 0; lane_ < (count); lane_++)                        \
            name(bytes, its_base, at_ + lane_, run_, lane_);                    \
        for (size_t plane_ = 0; plane_ < (planes); plane_++)                    \
            memcpy(ret_planes + plane_ * numbers + at_, run_[plane_], (count)); \
    } while (0)

#define SPLIT_ALL(name, planes, its_base)                     \
    do {                                                      \
        run_planes run_;                                      \
        size_t at_ = 0;                                       \
        for (; at_ + LANES <= numbers; at_ += LANES)          \
            SPLIT_RUN(name, planes, its_base, LANES);         \
        if (at_ < numbers)                                    \
            SPLIT_RUN(name, planes, its_base, numbers - at_); \
    } while (0)

#define SPLIT(name, planes)                \
    do {                                   \
        if (base)                          \
            SPLIT_ALL(name, planes, base); \
        else                               \
            SPLIT_ALL(name, planes, NULL); \
    } while (0)
#define JOIN(name)                                                    \
    WITH_AND_WITHOUT(base, numbers, name(planes, base, ret_bytes, i), \
                     name(planes, NULL, ret_bytes, i))

void
planes_split(enum codec_form form, const uint8_t *restrict bytes, const uint8_t *restrict base,
             size_t numbers, uint8_t *restrict ret_planes)
{
    switch (form) {
    case CODEC_PLAIN:
    case CODEC_F8:
        SPLIT(split_f8, 1);
        break;
    case CODEC_BF16:
        SPLIT(split_bf16, 2);
        break;
    case CODEC_F16:
        SPLIT(split_f16, 2);
        break;
    case CODEC_F32:
        SPLIT(split_f32, 4);
        break;
    case CODEC_FORMS:
        break;
    }
}

void
planes_join(enum codec_form form, const uint8_t *const planes[CODEC_PLANES_MAX],
            const uint8_t *restrict base, size_t numbers, uint8_t *restrict ret_bytes)
{
    switch (form) {
    case CODEC_PLAIN:
    case CODEC_F8:
        JOIN(join_f8);
        break;
    case CODEC_BF16:
        JOIN(join_bf16);
        break;
    case CODEC_F16:
        JOIN(join_f16);
        break;
    case CODEC_F32:
        JOIN(join_f32);
        break;
    case CODEC_FORMS:
        break;
    }
}
