/* With the instructions of x86-64 for it (Goldmont and Ice Lake, Zen, and later).
 *
 * They keep the eight words of a state as two vectors, {a b e f} and {c d g h}, and take two rounds at a
 * time; four words of the message are one vector, of which each serves four rounds. */

#include "base/sha256_int.h"

#if defined(__x86_64__)

#    include <cpuid.h>
#    include <immintrin.h>

#    define TARGET __attribute__((target("sha,sse4.1")))
#    define INLINE TARGET inline __attribute__((always_inline))
#    define SHA_BIT (1u << 29) /* of leaf 7, EBX */

struct lane {
    __m128i abef, cdgh;
    __m128i words[4]; /* the last sixteen of the message */
};

static INLINE void
load(struct lane *l, const uint32_t state[8])
{
    __m128i dcba = _mm_loadu_si128((const __m128i *)(const void *)state);
    __m128i hgfe = _mm_loadu_si128((const __m128i *)(const void *)(state + 4));
    __m128i cdab = _mm_shuffle_epi32(dcba, 0xB1), efgh = _mm_shuffle_epi32(hgfe, 0x1B);
    l->abef = _mm_alignr_epi8(cdab, efgh, 8);
    l->cdgh = _mm_blend_epi16(efgh, cdab, 0xF0);
}

static INLINE void
store(const struct lane *l, uint32_t state[8])
{
    __m128i feba = _mm_shuffle_epi32(l->abef, 0x1B), dchg = _mm_shuffle_epi32(l->cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

/* The i-th vector of the message as it stands in the block. */
static INLINE void
read_words(struct lane *l, const uint8_t *block, size_t i)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(block + 16 * i));
    l->words[i] = _mm_shuffle_epi8(bytes, big_endian);
}

/* And as it follows from those before, in whose place it comes. */
static INLINE void
make_words(struct lane *l, size_t i)
{
    __m128i *w = l->words, last = w[(i + 3) % 4];
    __m128i sum = _mm_sha256msg1_epu32(w[i], w[(i + 1) % 4]);
    sum = _mm_add_epi32(sum, _mm_alignr_epi8(last, w[(i + 2) % 4], 4));
    w[i] = _mm_sha256msg2_epu32(sum, last);
}

static INLINE void
four_rounds(struct lane *l, size_t i, const uint32_t constants[4])
{
    __m128i k = _mm_loadu_si128((const __m128i *)(const void *)constants);
    __m128i sum = _mm_add_epi32(l->words[i], k);
    l->cdgh = _mm_sha256rnds2_epu32(l->cdgh, l->abef, sum);
    l->abef = _mm_sha256rnds2_epu32(l->abef, l->cdgh, _mm_shuffle_epi32(sum, 0x0E));
}

/* From here on `i` and `count` are known where this is built in, and nothing of a lane is in memory. */

static INLINE void
begin_rounds(struct lane *l, const uint8_t *block, const size_t i)
{
    read_words(l, block, i);
    four_rounds(l, i, &sha256_constants[4 * i]);
}

static INLINE void
begin_all(struct lane *l, const struct sha256_lane *lanes, const size_t count, const size_t i)
{
    begin_rounds(&l[0], lanes[0].bytes, i);
    if (count > 1)
        begin_rounds(&l[1], lanes[1].bytes, i);
    if (count > 2)
        begin_rounds(&l[2], lanes[2].bytes, i);
}

static INLINE void
go_on(struct lane *l, const size_t i, const uint32_t constants[16])
{
    make_words(l, i);
    four_rounds(l, i, &constants[4 * i]);
}

static INLINE void
go_on_all(struct lane *l, const size_t count, const size_t i, const uint32_t constants[16])
{
    go_on(&l[0], i, constants);
    if (count > 1)
        go_on(&l[1], i, constants);
    if (count > 2)
        go_on(&l[2], i, constants);
}

static INLINE void
one_block(struct lane *l, const struct sha256_lane *lanes, const size_t count)
{
    begin_all(l, lanes, count, 0);
    begin_all(l, lanes, count, 1);
    begin_all(l, lanes, count, 2);
    begin_all(l, lanes, count, 3);
    for (size_t round = 16; round < 64; round += 16) {
        go_on_all(l, count, 0, &sha256_constants[round]);
        go_on_all(l, count, 1, &sha256_constants[round]);
        go_on_all(l, count, 2, &sha256_constants[round]);
        go_on_all(l, count, 3, &sha256_constants[round]);
    }
}

static INLINE void
all_blocks(struct sha256_lane *lanes, const size_t count, size_t blocks)
{
    struct lane l[SHA256_LANES];
    for (size_t n = 0; n < count; n++)
        load(&l[n], lanes[n].state);
    for (; blocks > 0; blocks--) {
        struct lane before[SHA256_LANES];
        for (size_t n = 0; n < count; n++)
            before[n] = l[n];
        one_block(l, lanes, count);
        for (size_t n = 0; n < count; n++) {
            l[n].abef = _mm_add_epi32(l[n].abef, before[n].abef);
            l[n].cdgh = _mm_add_epi32(l[n].cdgh, before[n].cdgh);
            lanes[n].bytes += SHA256_BLOCK;
        }
    }
    for (size_t n = 0; n < count; n++)
        store(&l[n], lanes[n].state);
}

static TARGET void
run(struct sha256_lane *lanes, size_t count, size_t blocks)
{
    if (count == 1)
        all_blocks(lanes, 1, blocks);
    else if (count == 2)
        all_blocks(lanes, 2, blocks);
    else
        all_blocks(lanes, 3, blocks);
}

sha256_kernel
sha256_x86(void)
{
    unsigned a, b, c, d;
    /* What has these has all that they are used with. */
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & SHA_BIT) ? run : NULL;
}

#else

sha256_kernel
sha256_x86(void)
{
    return NULL;
}

#endif
