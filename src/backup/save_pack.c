/* Storing: each packer has a codec and a pack of its own, so that those who store never wait for each
 * other. */

#include "backup/mend.h"
#include "backup/save_int.h"

#include <stdlib.h>
#include <string.h>

void
packer_init(struct packer *p, const struct save_wish *wish)
{
    *p = (struct packer){.repository = wish->repository, .parity_percent = wish->parity_percent};
    p->codec = codec_new(wish->effort);
    p->stored = mem_alloc(CODEC_STORED_MAX);
}

void
packer_finish(struct packer *p)
{
    pack_writer_free(p->pack);
    vec_foreach (&p->packed, packed)
        free(packed->entries.items);
    vec_finish(&p->packed);
    codec_free(p->codec);
    block_reader_free(p->reader);
    free(p->stored);
    free(p->base);
    free(p->delta);
}

static void
take_entries(struct packer *p, const char *name, const struct pack_entries *entries)
{
    struct packed *packed = vec_add(&p->packed);
    const size_t bytes = entries->count * sizeof(*entries->items);
    object_digest(name, packed->name.bytes);
    packed->entries = (struct pack_entries){mem_alloc(bytes), entries->count};
    memcpy(packed->entries.items, entries->items, bytes);
}

static int
end_pack(struct packer *p)
{
    struct pack_entries entries;
    char name[HASH_SHA256_HEX];
    if (!p->pack)
        return 0;
    int r = pack_finish(p->pack, name, &entries, &p->err);
    if (r == 0)
        take_entries(p, name, &entries);
    if (r == 0 && p->parity_percent > 0)
        r = mend_prepare(p->repository, p->packed.items[p->packed.count - 1].name.bytes,
                         p->parity_percent, &p->err);
    pack_writer_free(p->pack);
    p->pack = NULL;
    return r;
}

static int
begin_pack(struct packer *p)
{
    const struct object_place place = repository_place(p->repository, REPOSITORY_PACKS);
    return pack_begin(&place, &p->pack, &p->err);
}

/* What it differs in from its base, which becomes that of the record. *ret_len: 0 where that cannot
 * be had. */
static int
encode_delta(struct packer *p, const struct codec_block *block, struct chunk *chunk,
             size_t *ret_len)
{
    struct codec_block delta = *block;
    *ret_len = 0;
    if (!chunk->has_base)
        return 0;
    if (!p->reader) {
        p->reader = block_reader_new(p->repository, p->index);
        p->base = mem_alloc(CODEC_BLOCK_MAX);
        p->delta = mem_alloc(CODEC_STORED_MAX);
    }
    if (block_read_base(p->reader, &chunk->base, block->len, p->base, NULL) < 0)
        return 0; /* that it is damaged is for those who verify */
    delta.base = p->base;
    return codec_encode(p->codec, &delta, p->delta, ret_len, &p->err);
}

/* Without a base, half of what weights take is noise, and stays: where less is left, that is not tried. */
static int
encode(struct packer *p, const struct codec_block *block, struct chunk *chunk,
       struct pack_record *ret)
{
    size_t len = 0, delta = 0;
    int r = encode_delta(p, block, chunk, &delta);
    bool is_half = delta > 0 && delta <= block->len / 2;
    if (r == 0 && !is_half)
        r = codec_encode(p->codec, block, p->stored, &len, &p->err);
    bool is_delta = is_half || (delta > 0 && delta + sizeof(chunk->base) < len);
    *ret = (struct pack_record){.id = chunk->id,
                                .base = is_delta ? &chunk->base : NULL,
                                .form = block->form,
                                .block_bytes = chunk->bytes,
                                .stored = is_delta ? p->delta : p->stored,
                                .stored_bytes = (uint32_t)(is_delta ? delta : len)};
    return r;
}

static int
store_chunk(struct packer *p, const struct slot *slot, struct chunk *chunk)
{
    const struct codec_block block = {
        .form = chunk->form, .bytes = slot->bytes + chunk->at, .len = chunk->bytes};
    struct pack_record record;
    int r = encode(p, &block, chunk, &record);
    if (r == 0 && !p->pack)
        r = begin_pack(p);
    if (r < 0)
        return r;
    p->stored_bytes += record.stored_bytes;
    p->delta_blocks += record.base != NULL;
    r = pack_add(p->pack, &record, &p->err);
    return r == 0 && pack_is_full(p->pack) ? end_pack(p) : r;
}

void
packer_store(struct packer *p, struct slot *slot)
{
    for (size_t i = 0; i < slot->count && p->r == 0; i++)
        if (slot->chunks[i].is_new)
            p->r = store_chunk(p, slot, &slot->chunks[i]);
    slot->r = p->r;
    slot->err = p->err;
}

void
packer_end(struct packer *p)
{
    if (p->r == 0)
        p->r = end_pack(p);
}
