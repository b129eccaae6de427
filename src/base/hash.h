#pragma once

/* Digests of content, and hashes for tables. */

#include "base/util.h"

#define HASH_SHA256_BYTES 32
#define HASH_SHA256_HEX (2 * HASH_SHA256_BYTES + 1)

/* SHA-256 of pieces: init, update as often as needed, final. */
struct hash_sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64];
};

void hash_sha256_init(struct hash_sha256 *h);
void hash_sha256_update(struct hash_sha256 *h, const void *bytes, size_t len);
void hash_sha256_final(struct hash_sha256 *h, uint8_t ret_digest[HASH_SHA256_BYTES]); /* ends it */

/* Of several streams at once: as fast for two or three as for one, where the processor has instructions
 * for it. No hash is there twice. The pieces are changed. */
struct hash_sha256_piece {
    struct hash_sha256 *hash;
    const uint8_t *bytes;
    size_t len;
};
void hash_sha256_update_many(struct hash_sha256_piece *pieces, size_t count);

void hash_sha256_hex(const uint8_t digest[HASH_SHA256_BYTES], char ret_text[HASH_SHA256_HEX]);

void hash_sha256_text(const void *bytes, size_t len,
                      char ret_text[HASH_SHA256_HEX]); /* of a whole */

/* For tables whose keys a stranger may choose: SipHash-1-3 under a key drawn once a process;
 * any thread may ask. */
uint64_t hash_key(const void *bytes, size_t len);
