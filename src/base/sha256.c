/* SHA-256 (FIPS 180-4) of streams: what is between their pieces and the blocks that are hashed. */

#include "base/hash.h"
#include "base/sha256_int.h"

#include <endian.h>
#include <pthread.h>
#include <string.h>

static sha256_kernel kernel;

static void
choose(void)
{
    kernel = sha256_x86();
    if (!kernel)
        kernel = sha256_plain;
}

static void
compress(struct sha256_lane *lanes, size_t count, size_t blocks)
{
    static pthread_once_t chosen = PTHREAD_ONCE_INIT;
    const int r = pthread_once(&chosen, choose);
    assert(r == 0);
    kernel(lanes, count, blocks);
}

void
hash_sha256_init(struct hash_sha256 *h)
{
    /* The first 32 bits of the fractions of the square roots of the first 8 primes. */
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    *h = (struct hash_sha256){0};
    memcpy(h->state, start, sizeof(start));
}

/* Into the block that has begun, which is hashed when it is full. */
static void
fill(struct hash_sha256 *h, const uint8_t **bytes, size_t *len, size_t most)
{
    size_t used = h->bytes % SHA256_BLOCK, piece = MIN(most, *len);
    memcpy(h->block + used, *bytes, piece);
    h->bytes += piece;
    *bytes += piece;
    *len -= piece;
    if (used + piece == SHA256_BLOCK)
        compress(&(struct sha256_lane){h->state, h->block}, 1, 1);
}

/* So many of these have whole blocks: they come first. *ret_blocks: that all of them have. */
static size_t
line_up(struct hash_sha256_piece *pieces, size_t count, size_t *ret_blocks)
{
    size_t ready = 0;
    *ret_blocks = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        size_t blocks = pieces[i].len / SHA256_BLOCK;
        if (blocks == 0)
            continue;
        struct hash_sha256_piece piece = pieces[i];
        pieces[i] = pieces[ready];
        pieces[ready++] = piece;
        *ret_blocks = MIN(*ret_blocks, blocks);
        if (ready == SHA256_LANES)
            break;
    }
    return ready;
}

static void
take_blocks(struct hash_sha256_piece *pieces, size_t count, size_t blocks)
{
    struct sha256_lane lanes[SHA256_LANES];
    for (size_t i = 0; i < count; i++)
        lanes[i] = (struct sha256_lane){pieces[i].hash->state, pieces[i].bytes};
    compress(lanes, count, blocks);
    for (size_t i = 0; i < count; i++) {
        pieces[i].hash->bytes += blocks * SHA256_BLOCK;
        pieces[i].bytes = lanes[i].bytes;
        pieces[i].len -= blocks * SHA256_BLOCK;
    }
}

void
hash_sha256_update_many(struct hash_sha256_piece *pieces, size_t count)
{
    size_t ready, blocks;
    for (size_t i = 0; i < count; i++) {
        struct hash_sha256_piece *p = &pieces[i];
        size_t used = p->hash->bytes % SHA256_BLOCK;
        if (used > 0)
            fill(p->hash, &p->bytes, &p->len, SHA256_BLOCK - used);
    }
    while ((ready = line_up(pieces, count, &blocks)) > 0)
        take_blocks(pieces, ready, blocks);
    for (size_t i = 0; i < count; i++)
        fill(pieces[i].hash, &pieces[i].bytes, &pieces[i].len, SHA256_BLOCK);
}

void
hash_sha256_update(struct hash_sha256 *h, const void *bytes, size_t len)
{
    hash_sha256_update_many(&(struct hash_sha256_piece){h, bytes, len}, 1);
}

/* The message, a bit 1, zeros, and its length in bits as the last 8 bytes of a block. */
void
hash_sha256_final(struct hash_sha256 *h, uint8_t ret_digest[HASH_SHA256_BYTES])
{
    static const uint8_t padding[SHA256_BLOCK] = {0x80};
    uint64_t bits = htobe64(h->bytes * 8);
    size_t used = h->bytes % SHA256_BLOCK, size = sizeof(bits);
    hash_sha256_update(
        h, padding, (used < SHA256_BLOCK - size ? SHA256_BLOCK : 2 * SHA256_BLOCK) - size - used);
    hash_sha256_update(h, &bits, size);
    for (size_t i = 0; i < 8; i++) {
        uint32_t word = htobe32(h->state[i]);
        memcpy(ret_digest + 4 * i, &word, 4);
    }
    *h = (struct hash_sha256){0};
}

void
hash_sha256_text(const void *bytes, size_t len, char ret_text[HASH_SHA256_HEX])
{
    uint8_t digest[HASH_SHA256_BYTES];
    struct hash_sha256 hash;
    hash_sha256_init(&hash);
    hash_sha256_update(&hash, bytes, len);
    hash_sha256_final(&hash, digest);
    hash_sha256_hex(digest, ret_text);
}
