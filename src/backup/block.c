#include "backup/block.h"

#include "backup/pack_int.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_MAX (PACK_HEAD_MAX + CODEC_STORED_MAX)
#define STREAMS 3 /* digests side by side (hash.h) */

struct block_reader {
    const struct repository *repository;
    const struct index *index;
    struct codec *codec;
    uint8_t *record;
    uint8_t *base; /* NULL until one is needed */
};

struct block_reader *
block_reader_new(const struct repository *repository, const struct index *index)
{
    struct block_reader *r = mem_new(struct block_reader);
    r->repository = repository;
    r->index = index;
    r->codec = codec_new(CODEC_SMALLEST);
    r->record = mem_alloc(RECORD_MAX);
    return r;
}

void
block_reader_free(struct block_reader *r)
{
    if (!r)
        return;
    codec_free(r->codec);
    free(r->record);
    free(r->base);
    free(r);
}

/* ---- one block ---- */

static int
missing(const struct block_id *id, struct err *reterr)
{
    char name[HASH_SHA256_HEX];
    hash_sha256_hex(id->bytes, name);
    int r = err_set(reterr, ERR_BLOCK_MISSING, "the repository does not have the block %s", name);
    err_fix(reterr, "citadel backup verify --all");
    return r;
}

/* Tells which block and which pack an error is about. */
static int
prefix(const struct block_id *id, const struct block_id *pack, int r, struct err *reterr)
{
    char block_name[HASH_SHA256_HEX], pack_name[HASH_SHA256_HEX];
    hash_sha256_hex(id->bytes, block_name);
    hash_sha256_hex(pack->bytes, pack_name);
    err_prefix(reterr, "block %.16s in packs/%s", block_name, pack_name);
    err_fix(reterr, "citadel backup verify --all");
    return r;
}

/* Its record, in r->record, looked at as far as that needs no unpacking. */
static int
fetch_at(struct block_reader *r, const struct snapshot_block *block,
         const struct index_place *place, struct pack_found *ret, struct err *reterr)
{
    int k = 0;
    if (place->record_bytes > RECORD_MAX)
        k = err_set(reterr, ERR_PACK_DAMAGED, "a record is longer than any");
    if (k == 0)
        k = repository_read(r->repository, REPOSITORY_PACKS, place->pack.bytes, place->at,
                            r->record, place->record_bytes, reterr);
    const struct pack record = {r->record, place->record_bytes};
    if (k == 0)
        k = pack_read(&record, 0, ret, reterr);
    if (k == 0 && (memcmp(&ret->record.id, &block->id, sizeof(block->id)) != 0 ||
                   ret->record.block_bytes != block->bytes))
        k = err_set(reterr, ERR_PACK_DAMAGED, "there is another block than the index tells");
    return k < 0 ? prefix(&block->id, &place->pack, k, reterr) : 0;
}

static int
fetch(struct block_reader *r, const struct snapshot_block *block, struct pack_found *ret,
      struct err *reterr)
{
    struct index_place place;
    return index_find(r->index, &block->id, &place) ? fetch_at(r, block, &place, ret, reterr)
                                                    : missing(&block->id, reterr);
}

/* The same block may have been stored twice, with a base and without: then the one without. */
static int
fetch_plain(struct block_reader *r, const struct snapshot_block *block, struct pack_found *ret,
            struct err *reterr)
{
    struct index_place place;
    int k = fetch(r, block, ret, reterr);
    for (size_t n = 1;
         k == 0 && ret->record.base && index_find_nth(r->index, &block->id, n, &place); n++)
        k = fetch_at(r, block, &place, ret, reterr);
    return k;
}

static bool
is_block(const struct seal_keys *keys, const struct block_id *id, const uint8_t *bytes, size_t len)
{
    const struct snapshot_block block = {*id, (uint32_t)len};
    struct block_id found;
    block_find_ids(keys, &block, 1, bytes, &found);
    return memcmp(&found, id, sizeof(found)) == 0;
}

static int
wrong_digest(const struct block_id *id, struct err *reterr)
{
    char name[HASH_SHA256_HEX];
    hash_sha256_hex(id->bytes, name);
    int r = err_set(reterr, ERR_BACKUP_DAMAGED_BLOCK, "the block %s comes back as something else",
                    name);
    err_fix(reterr, "citadel backup verify --all");
    return r;
}

/* Compared with its digest here, and only for that. */
static int
unpack_base(struct block_reader *r, const struct pack_found *found, const struct block_id *id,
            size_t len, uint8_t *ret_bytes, struct err *reterr)
{
    const struct codec_stored stored = {.form = found->record.form,
                                        .bytes = found->record.stored,
                                        .len = found->record.stored_bytes};
    if (found->record.base)
        return err_set(reterr, ERR_PACK_DAMAGED, "the base of a block has a base itself");
    int k = codec_decode(r->codec, &stored, ret_bytes, len, reterr);
    return k == 0 && !is_block(r->repository->keys, id, ret_bytes, len) ? wrong_digest(id, reterr)
                                                                        : k;
}

static int
fetch_base(struct block_reader *r, const struct block_id *id, size_t len, struct err *reterr)
{
    const struct snapshot_block block = {*id, (uint32_t)len};
    struct pack_found found;
    if (!r->base)
        r->base = mem_alloc(CODEC_BLOCK_MAX);
    int k = fetch_plain(r, &block, &found, reterr);
    return k < 0 ? k : unpack_base(r, &found, id, len, r->base, reterr);
}

int
block_read_base(struct block_reader *r, struct block_id *id, size_t len, uint8_t *ret_bytes,
                struct err *reterr)
{
    struct snapshot_block block = {*id, (uint32_t)len};
    struct pack_found found;
    int k = fetch_plain(r, &block, &found, reterr);
    if (k == 0 && found.record.base) {
        block.id = found.base;
        k = fetch_plain(r, &block, &found, reterr);
    }
    if (k == 0)
        k = unpack_base(r, &found, &block.id, len, ret_bytes, reterr);
    if (k == 0)
        *id = block.id;
    return k;
}

int
block_decode(struct block_reader *r, const struct pack_found *found, uint8_t *ret_bytes,
             struct err *reterr)
{
    const struct pack_record *record = &found->record;
    struct codec_stored stored = {
        .form = record->form, .bytes = record->stored, .len = record->stored_bytes};
    _cleanup_free_ uint8_t *copy = NULL;
    if (record->block_bytes > CODEC_BLOCK_MAX)
        return err_set(reterr, ERR_PACK_DAMAGED, "a block is longer than any");
    if (record->base) {
        /* the base's record takes the place of this one */
        copy = mem_alloc(MAX(stored.len, (size_t)1));
        memcpy(copy, stored.bytes, stored.len);
        stored.bytes = copy;
        int k = fetch_base(r, &found->base, record->block_bytes, reterr);
        if (k < 0)
            return k;
        stored.base = r->base;
    }
    return codec_decode(r->codec, &stored, ret_bytes, record->block_bytes, reterr);
}

int
block_take(struct block_reader *r, const struct snapshot_block *block, uint8_t *ret_record,
           struct pack_found *ret, uint8_t *ret_bytes, uint8_t ret_sha256[HASH_SHA256_BYTES],
           struct err *reterr)
{
    const struct snapshot_block plain = {.bytes = block->bytes};
    struct block_id sha256, name;
    int k = fetch(r, block, ret, reterr);
    if (k < 0)
        return k;
    memcpy(ret_record, ret->record.stored, ret->record.stored_bytes);
    ret->record.stored = ret_record;
    k = block_decode(r, ret, ret_bytes, reterr);
    if (k < 0)
        return k;
    block_find_ids(NULL, &plain, 1, ret_bytes, &sha256);
    block_name(r->repository->keys, sha256.bytes, &name);
    memcpy(ret_sha256, sha256.bytes, HASH_SHA256_BYTES);
    return memcmp(&name, &block->id, sizeof(name)) == 0 ? 0 : wrong_digest(&block->id, reterr);
}

/* ---- several ---- */

void
block_name(const struct seal_keys *keys, const uint8_t sha256[HASH_SHA256_BYTES],
           struct block_id *ret)
{
    if (keys)
        seal_name(keys, sha256, ret->bytes);
    else
        memcpy(ret->bytes, sha256, sizeof(ret->bytes));
}

void
block_find_ids(const struct seal_keys *keys, const struct snapshot_block *blocks, size_t count,
               const uint8_t *bytes, struct block_id *ret_ids)
{
    for (size_t at = 0; at < count; at += STREAMS) {
        struct hash_sha256 hashes[STREAMS];
        struct hash_sha256_piece pieces[STREAMS];
        size_t n = MIN(count - at, (size_t)STREAMS);
        for (size_t i = 0; i < n; i++) {
            hash_sha256_init(&hashes[i]);
            pieces[i] = (struct hash_sha256_piece){&hashes[i], bytes, blocks[at + i].bytes};
            bytes += blocks[at + i].bytes;
        }
        hash_sha256_update_many(pieces, n);
        for (size_t i = 0; i < n; i++) {
            uint8_t digest[HASH_SHA256_BYTES];
            hash_sha256_final(&hashes[i], digest);
            block_name(keys, digest, &ret_ids[at + i]);
        }
    }
}

static int
check(const struct seal_keys *keys, const struct snapshot_block *blocks, size_t count,
      const uint8_t *bytes, struct err *reterr)
{
    struct block_id ids[STREAMS];
    for (size_t at = 0; at < count; at += STREAMS) {
        size_t n = MIN(count - at, (size_t)STREAMS);
        block_find_ids(keys, blocks + at, n, bytes, ids);
        for (size_t i = 0; i < n; i++) {
            if (memcmp(&ids[i], &blocks[at + i].id, sizeof(ids[i])) != 0)
                return wrong_digest(&blocks[at + i].id, reterr);
            bytes += blocks[at + i].bytes;
        }
    }
    return 0;
}

int
block_read(struct block_reader *r, const struct snapshot_block *blocks, size_t count,
           uint8_t *ret_bytes, struct err *reterr)
{
    uint8_t *to = ret_bytes;
    for (size_t i = 0; i < count; i++) {
        struct pack_found found;
        int k = fetch(r, &blocks[i], &found, reterr);
        if (k == 0)
            k = block_decode(r, &found, to, reterr);
        if (k < 0)
            return k;
        to += blocks[i].bytes;
    }
    return check(r->repository->keys, blocks, count, ret_bytes, reterr);
}
