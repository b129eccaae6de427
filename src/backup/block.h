#pragma once

/* Blocks out of a repository: found by the index, read from their pack, and put together again. */

#include "backup/index.h"
#include "backup/repository.h"
#include "backup/snapshot.h"

/* What one thread needs for it: some 13 MiB. */
struct block_reader;
struct block_reader *block_reader_new(const struct repository *repository,
                                      const struct index *index) must_check;
void block_reader_free(struct block_reader *r);

/* Blocks that follow each other, one behind the other, each compared with its digest:
 * BLOCK_MISSING, PACK_DAMAGED and DAMAGED_BLOCK name the block and the pack. */
int block_read(struct block_reader *r, const struct snapshot_block *blocks, size_t count,
               uint8_t *ret_bytes, struct err *reterr) must_check;

/* One as it is stored, and as it is, once its bytes were seen to be those of its name: the record
 * points into ret_record and *ret, the bytes have CODEC_BLOCK_MAX. */
#define BLOCK_RECORD_MAX CODEC_STORED_MAX
int block_take(struct block_reader *r, const struct snapshot_block *block, uint8_t *ret_record,
               struct pack_found *ret, uint8_t *ret_bytes, uint8_t ret_sha256[HASH_SHA256_BYTES],
               struct err *reterr) must_check;

/* One that others can be stored as a difference from: where it is such a one itself, that which it
 * differs from, and then *id is that one's. */
int block_read_base(struct block_reader *r, struct block_id *id, size_t len, uint8_t *ret_bytes,
                    struct err *reterr) must_check;

/* The name of a block by the SHA-256 of its bytes: keys are those of its repository, NULL where
 * it has none. */
void block_name(const struct seal_keys *keys, const uint8_t sha256[HASH_SHA256_BYTES],
                struct block_id *ret);
/* The names of blocks that lie one behind the other. */
void block_find_ids(const struct seal_keys *keys, const struct snapshot_block *blocks, size_t count,
                    const uint8_t *bytes, struct block_id *ret_ids);

/* One record of a pack, read already: put together, and not compared. */
int block_decode(struct block_reader *r, const struct pack_found *found, uint8_t *ret_bytes,
                 struct err *reterr) must_check;
