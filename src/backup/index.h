#pragma once

/* Where each block of a repository is: fragments, files that are written once, each for some
 * packs. They can be merged into fewer, and made anew of the packs' trailers at any time.
 * Little-endian:
 *
 *   32 bytes   "citadel index 1", a zero; packs (4), entries (4), CRC-32C of all that follows (4),
 *              CRC-32C of the 28 bytes before (4)
 *   packs      32 bytes each: their names, in their order
 *   entries    48 bytes each, by SHA-256, and of the same by pack and place:
 *       32     SHA-256 of the block
 *       4      its pack, by place in the list above
 *       4      where its record begins there
 *       4      bytes of the record
 *       4      bytes of the block
 *
 * A fragment's name is the SHA-256 of its bytes. It is mapped, not read: what a search touches
 * is what it costs, whatever the size of the repository. One that is sealed is held in memory. */

#include "backup/pack.h"
#include "backup/repository.h"

/* ---- making one ---- */

/* Of a fragment: 12 GiB of entries, 256 TiB of weights. */
#define INDEX_BLOCKS_MAX ((size_t)1 << 28)

struct index_draft;
struct index_draft *index_draft_new(void) must_check;
void index_draft_free(struct index_draft *d);
/* Each pack once; TOO_LARGE. */
int index_draft_add(struct index_draft *d, const struct block_id *pack,
                    const struct pack_entries *entries, struct err *reterr) must_check;
size_t index_draft_blocks(const struct index_draft *d);
/* Under its name, and on the disk. */
int index_draft_write(struct index_draft *d, const struct object_place *place,
                      char ret_name[HASH_SHA256_HEX], struct err *reterr) must_check;

/* ---- asking ---- */

struct index;

struct index_place {
    struct block_id pack;
    uint32_t at, record_bytes, block_bytes;
};

/* Of all fragments of a repository. One that is damaged is an error, with its name: what a
 * repository has must never look as if it were less. */
int index_open(struct repository *repository, struct index **ret_index, struct err *reterr)
    must_check;
void index_free(struct index *x);
/* Fragments that are damaged are removed: their packs are indexed anew by whoever next asks what
 * is known (known.h). */
int index_remove_damaged(struct repository *repository, size_t *ret_count, struct err *reterr)
    must_check;

/* From here on these packs, which are sorted, are not asked: only what others have, too, is
 * found. */
void index_leave_out(struct index *x, const struct block_id *packs, size_t count);

bool index_find(const struct index *x, const struct block_id *id, struct index_place *ret);
/* Of the places of a block that is there more than once, the n-th from 0 on; false: there are fewer. */
bool index_find_nth(const struct index *x, const struct block_id *id, size_t n,
                    struct index_place *ret);
uint64_t index_blocks(const struct index *x); /* one that is there twice counts twice */
size_t index_fragments(const struct index *x);
const uint8_t *index_fragment_name(const struct index *x, size_t i);

size_t index_fragment_packs(const struct index *x, size_t i);
struct block_id index_pack_at(const struct index *x, size_t i, size_t k);
/* The k-th entry of the i-th fragment, for those who walk all of them. */
size_t index_fragment_blocks(const struct index *x, size_t i);
struct index_place index_at(const struct index *x, size_t i, size_t k, struct block_id *ret_id);
