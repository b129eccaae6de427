/* What each thread sends: a pack as it lies there, or blocks, into a pack of its own. */

#include "backup/copy_int.h"
#include "backup/mend.h"
#include "backup/raw.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void
copier_init(struct copier *k, struct copy *c)
{
    *k = (struct copier){.copy = c};
    k->reader = block_reader_new(c->wish.from, c->index);
}

void
copier_finish(struct copier *k)
{
    block_reader_free(k->reader);
    for (size_t i = 0; i < ARRAY_SIZE(k->blocks); i++) {
        free(k->blocks[i].record);
        free(k->blocks[i].bytes);
    }
    pack_writer_free(k->pack);
    blocks_finish(&k->done);
    vec_foreach (&k->packed, packed)
        free(packed->entries.items);
    vec_finish(&k->packed);
    vec_finish(&k->names);
    vec_finish(&k->missing);
    vec_finish(&k->bases);
}

/* Of what is read here: other snapshots may be whole. */
static bool
is_damage(int r)
{
    return r == -EBADMSG || r == -EIO || r == -ENOENT;
}

/* ---- a pack that is there ---- */

static int
arrive(struct copier *k, const struct block_id *name, uint64_t bytes, struct err *reterr)
{
    const struct copy_wish *w = &k->copy->wish;
    return raw_check(w->to, REPOSITORY_PACKS, name->bytes, bytes, w->verify, reterr);
}

static void
take_entries(struct copier *k, const struct block_id *name, const struct pack_entries *entries)
{
    struct copied_pack *packed = vec_add(&k->packed);
    const size_t bytes = entries->count * sizeof(*entries->items);
    *packed = (struct copied_pack){*name, {mem_alloc(bytes), entries->count}};
    memcpy(packed->entries.items, entries->items, bytes);
}

int
copier_end_pack(struct copier *k, struct err *reterr)
{
    const struct copy_wish *w = &k->copy->wish;
    struct pack_entries entries;
    struct block_id name;
    char hex[HASH_SHA256_HEX];
    uint64_t bytes = 0;
    if (!k->pack)
        return 0;
    int r = pack_finish(k->pack, hex, &entries, reterr);
    if (r == 0) {
        object_digest(hex, name.bytes);
        bytes = repository_lying_bytes(w->to, pack_bytes(k->pack));
        r = arrive(k, &name, bytes, reterr);
    }
    if (r == 0)
        take_entries(k, &name, &entries);
    if (r == 0 && w->parity_percent > 0)
        r = mend_prepare(w->to, name.bytes, w->parity_percent, reterr);
    pack_writer_free(k->pack);
    k->pack = NULL;
    return r;
}

/* ---- block by block ---- */

static void
miss(struct copier *k, const struct snapshot_block *block, const struct err *err)
{
    if (k->missing.count == 0)
        k->missing_err = *err;
    vec_push(&k->missing, *block);
}

static struct copier_block *
room_for(struct copier *k, unsigned depth)
{
    struct copier_block *b = &k->blocks[depth];
    if (!b->record) {
        b->record = mem_alloc(BLOCK_RECORD_MAX);
        b->bytes = mem_alloc(CODEC_BLOCK_MAX);
    }
    return b;
}

static int
store(struct copier *k, const struct pack_record *record, struct err *reterr)
{
    const struct object_place place = repository_place(k->copy->wish.to, REPOSITORY_PACKS);
    int r = k->pack ? 0 : pack_begin(&place, &k->pack, reterr);
    if (r == 0)
        r = pack_add(k->pack, record, reterr);
    k->sent_blocks++;
    if (r < 0 && k->pack) { /* nothing comes behind what was not written */
        pack_writer_free(k->pack);
        k->pack = NULL;
    }
    return r == 0 && pack_is_full(k->pack) ? copier_end_pack(k, reterr) : r;
}

/* A base goes before the block that needs it, which is the only one of the two that has one. 1: it
 * cannot be read, which is told. */
static int
send_block(struct copier *k, const struct snapshot_block *block, unsigned depth,
           struct block_id *ret_there, struct err *reterr)
{
    const struct copy *c = k->copy;
    const struct copier_block *room = room_for(k, depth);
    struct pack_found found;
    struct block_id base;
    uint8_t sha256[HASH_SHA256_BYTES];
    struct err err;
    int r = block_take(k->reader, block, room->record, &found, room->bytes, sha256, &err);
    if (r < 0 && !is_damage(r) && reterr)
        *reterr = err;
    if (r < 0 && is_damage(r))
        miss(k, block, &err);
    if (r < 0)
        return is_damage(r) ? 1 : r;
    block_name(c->wish.to->keys, sha256, ret_there);
    if (!c->told.is_alike)
        vec_push(&k->names, ((struct name_pair){block->id, *ret_there}));
    if (known_has(c->known, ret_there) || blocks_has(&k->done, ret_there))
        return 0;
    if (found.record.base && depth == 0) { /* a base has none, as block_take() has seen */
        const struct snapshot_block wanted = {found.base, block->bytes};
        r = send_block(k, &wanted, 1, &base, reterr);
        found.record.base = &base;
    }
    if (r == 1)
        miss(k, block, &k->missing_err);
    if (r != 0)
        return r;
    found.record.id = *ret_there;
    (void)blocks_add(&k->done, ret_there);
    return store(k, &found.record, reterr);
}

static int
send_blocks(struct copier *k, struct err *reterr)
{
    struct block_id there;
    int r = 0;
    vec_foreach (&k->piece->blocks, block) {
        if (r < 0 || copy_is_stopped(k->copy))
            break;
        r = send_block(k, block, 0, &there, reterr);
        k->sent_bytes += r == 0 ? block->bytes : 0;
    }
    return MIN(r, 0);
}

/* ---- as it is ---- */

/* What its blocks are made with may lie in other packs. */
static int
find_bases(struct copier *k, struct repository_file *file, const struct pack_entries *entries,
           struct err *reterr)
{
    struct copier_block *room = room_for(k, 0);
    for (size_t i = 0; i < entries->count; i++) {
        const struct pack_entry *e = &entries->items[i];
        struct pack_found found;
        if (!e->has_base)
            continue;
        const struct pack head = {room->record, MIN((size_t)e->record_bytes, BLOCK_RECORD_MAX)};
        int r = repository_read_file(file, e->at, room->record, head.len, reterr);
        if (r == 0)
            r = pack_read(&head, 0, &found, reterr);
        if (r < 0)
            return r;
        if (found.record.base)
            vec_push(&k->bases, ((struct snapshot_block){found.base, e->block_bytes}));
    }
    return 0;
}

/* Of one that is proved by its name. */
static int
read_entries(struct copier *k, const struct block_id *name, struct err *reterr)
{
    struct repository_file *file = NULL;
    struct pack_entries entries = {0};
    int r = repository_open_file(k->copy->wish.from, REPOSITORY_PACKS, name->bytes, &file, reterr);
    if (r < 0)
        return r;
    const struct flow_source source = repository_file_source(file);
    r = pack_read_entries(&source, &entries, reterr);
    if (r == 0)
        r = find_bases(k, file, &entries, reterr);
    if (r == 0)
        take_entries(k, name, &entries);
    free(entries.items);
    repository_close_file(file);
    return r;
}

/* The parity of the same bytes is the same; what cannot be had is made anew. */
static int
send_parity(struct copier *k, const struct block_id *name, struct err *reterr)
{
    const struct copy_wish *w = &k->copy->wish;
    _cleanup_raw_ struct raw raw = RAW_INIT;
    if (mend_is_prepared(w->from, name->bytes) &&
        raw_open(w->from, REPOSITORY_PARITY, name->bytes, &raw, NULL) == 0)
        return raw_send(&raw, w->to, REPOSITORY_PARITY, name->bytes, reterr);
    return w->parity_percent > 0 ? mend_prepare(w->to, name->bytes, w->parity_percent, reterr) : 0;
}

/* 1: it cannot be read as a whole. */
static int
send_pack(struct copier *k, struct err *reterr)
{
    const struct copy_wish *w = &k->copy->wish;
    const struct block_id *name = &k->piece->pack->name;
    _cleanup_raw_ struct raw raw = RAW_INIT;
    struct err err;
    int r = raw_open(w->from, REPOSITORY_PACKS, name->bytes, &raw, &err);
    if (r == 0)
        r = raw_send(&raw, w->to, REPOSITORY_PACKS, name->bytes, &err);
    if (raw.fd < 0 ? is_damage(r) : r == -EBADMSG)
        return 1;
    if (r == 0)
        r = arrive(k, name, raw.source.bytes, &err);
    if (r == 0)
        r = send_parity(k, name, &err);
    if (r == 0)
        r = read_entries(k, name, &err);
    if (r < 0 && reterr)
        *reterr = err;
    k->sent_packs += r == 0;
    k->sent_bytes += r == 0 ? k->piece->pack->bytes : 0;
    return r;
}

void
copier_send(struct copier *k)
{
    struct copy_pack *pack = k->piece->pack;
    int r = pack->goes_whole ? send_pack(k, &k->err) : 1;
    pack->has_gone = r == 0;
    pack->goes_whole = pack->goes_whole && r == 0;
    k->r = r == 1 ? send_blocks(k, &k->err) : r;
}
