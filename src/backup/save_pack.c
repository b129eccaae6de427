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
    free(p->stored);
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

static int
store_chunk(struct packer *p, const struct slot *slot, const struct chunk *chunk)
{
    const struct codec_block block = {
        .form = chunk->form, .bytes = slot->bytes + chunk->at, .len = chunk->bytes};
    size_t len = 0;
    int r = codec_encode(p->codec, &block, p->stored, &len, &p->err);
    if (r == 0 && !p->pack)
        r = begin_pack(p);
    if (r < 0)
        return r;
    const struct pack_record record = {.id = chunk->id,
                                       .form = block.form,
                                       .block_bytes = chunk->bytes,
                                       .stored = p->stored,
                                       .stored_bytes = (uint32_t)len};
    p->stored_bytes += len;
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
