#include "backup/copy_int.h"
#include "backup/raw.h"
#include "backup/repository_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 512 /* blocks that are named at once */

/* ---- packs, and the index of them ---- */

static int
end_packs(struct copy *c, struct index_draft *draft, struct err *reterr)
{
    int r = 0;
    for (size_t i = 0; i < c->copiers_count && r == 0; i++) {
        struct copier *k = &c->copiers[i];
        r = copier_end_pack(k, reterr);
        vec_foreach (&k->packed, packed) {
            if (r == 0)
                r = index_draft_add(draft, &packed->name, &packed->entries, reterr);
            free(packed->entries.items);
        }
        k->packed.count = 0;
    }
    return r;
}

int
copy_keep(struct copy *c, struct err *reterr)
{
    const struct object_place place = repository_place(c->wish.to, REPOSITORY_INDEX);
    struct index_draft *draft = index_draft_new();
    char name[HASH_SHA256_HEX];
    int r = end_packs(c, draft, reterr);
    if (r == 0 && index_draft_blocks(draft) > 0)
        r = index_draft_write(draft, &place, name, reterr);
    index_draft_free(draft);
    return r;
}

/* What lies there, and not what this machine has kept of it. */
static int
arrive(const struct copy *c, enum repository_area area, const uint8_t name[HASH_SHA256_BYTES],
       uint64_t bytes, struct err *reterr)
{
    if (c->wish.verify && repository_is_copied(area))
        repository_forget(c->wish.to);
    return raw_check(c->wish.to, area, name, bytes, c->wish.verify, reterr);
}

/* ---- a snapshot as it lies there ---- */

static int
send_object(const struct copy *c, enum repository_area area, const uint8_t name[HASH_SHA256_BYTES],
            struct err *reterr)
{
    _cleanup_raw_ struct raw raw = RAW_INIT;
    int r = raw_open(c->wish.from, area, name, &raw, reterr);
    if (r == 0)
        r = raw_send(&raw, c->wish.to, area, name, reterr);
    return r < 0 ? r : arrive(c, area, name, raw.source.bytes, reterr);
}

static int
send_snapshot(struct copy *c, const struct snapshot_row *row, struct err *reterr)
{
    uint8_t name[HASH_SHA256_BYTES];
    object_digest(row->name, name);
    memcpy(c->name_there, row->name, sizeof(c->name_there));
    int r = send_object(c, REPOSITORY_SUMS, row->end.sums, reterr);
    if (r == 0)
        r = lock_check(c->writes, reterr);
    return r < 0 ? r : send_object(c, REPOSITORY_SNAPSHOTS, name, reterr);
}

/* ---- a snapshot told anew ---- */

static int
write_sums(const struct copy *c, const uint8_t here[HASH_SHA256_BYTES],
           uint8_t ret_there[HASH_SHA256_BYTES], struct err *reterr)
{
    const struct object_place place = repository_place(c->wish.to, REPOSITORY_SUMS);
    _cleanup_repository_object_ struct repository_object object = {0};
    struct object_writer w;
    char name[HASH_SHA256_HEX];
    int r = repository_map(c->wish.from, REPOSITORY_SUMS, here, true, &object, reterr);
    if (r == 0)
        r = object_begin(&w, &place, reterr);
    if (r < 0)
        return r;
    r = object_write(&w, object.bytes, object.len, reterr);
    if (r == 0)
        r = object_finish(&w, name, reterr);
    object_end(&w);
    if (r < 0)
        return r;
    object_digest(name, ret_there);
    return arrive(c, REPOSITORY_SUMS, ret_there, repository_lying_bytes(c->wish.to, object.len),
                  reterr);
}

static int
add_blocks(const struct copy *c, struct snapshot_writer *w, struct snapshot_records *blocks,
           struct err *reterr)
{
    struct snapshot_block some[BATCH];
    size_t count;
    int r = 0;
    do {
        for (count = 0; count < BATCH && snapshot_next_block(blocks, &some[count]); count++)
            if (!copy_translate(c, &some[count].id, &some[count].id))
                return err_set(reterr, ERR_BLOCK_MISSING, "a block was not read");
        r = count > 0 ? snapshot_add_blocks(w, some, count, reterr) : 0;
    } while (r == 0 && count == BATCH);
    return r;
}

static int
add_entry(const struct copy *c, struct snapshot_writer *w, struct snapshot_entry *e,
          struct err *reterr)
{
    struct snapshot_xattr xattr;
    int r = snapshot_add(w, e, reterr);
    while (r == 0 && snapshot_next_xattr(&e->xattrs, &xattr))
        r = snapshot_add_xattr(w, xattr.name, xattr.value, xattr.len, reterr);
    return r < 0 ? r : add_blocks(c, w, &e->blocks, reterr);
}

static int
write_entries(struct copy *c, const struct repository_object *object, struct err *reterr)
{
    const struct object_place place = repository_place(c->wish.to, REPOSITORY_SNAPSHOTS);
    _cleanup_free_ struct snapshot_reader *reader = mem_new(struct snapshot_reader);
    struct snapshot_writer *w = NULL;
    struct snapshot_head head;
    struct snapshot_entry e;
    uint8_t name[HASH_SHA256_BYTES];
    int r = snapshot_open(object->bytes, object->len, reader, &head, reterr);
    if (r == 0)
        r = snapshot_begin(&place, &head, &w, reterr);
    if (r < 0)
        return r;
    while (r >= 0 && (r = snapshot_next(reader, &e, reterr)) > 0)
        r = add_entry(c, w, &e, reterr);
    struct snapshot_end end = reader->end;
    if (r == 0)
        r = write_sums(c, reader->end.sums, end.sums, reterr);
    if (r == 0)
        r = lock_check(c->writes, reterr);
    if (r == 0)
        r = snapshot_commit(w, &end, c->name_there, reterr);
    const uint64_t bytes = snapshot_bytes(w);
    snapshot_writer_free(w);
    if (r < 0)
        return r;
    object_digest(c->name_there, name);
    return arrive(c, REPOSITORY_SNAPSHOTS, name, repository_lying_bytes(c->wish.to, bytes), reterr);
}

static int
write_snapshot(struct copy *c, const struct snapshot_row *row, struct err *reterr)
{
    _cleanup_repository_object_ struct repository_object object = {0};
    uint8_t name[HASH_SHA256_BYTES];
    object_digest(row->name, name);
    int r = repository_map(c->wish.from, REPOSITORY_SNAPSHOTS, name, true, &object, reterr);
    return r < 0 ? r : write_entries(c, &object, reterr);
}

int
copy_commit(struct copy *c, struct err *reterr)
{
    const struct snapshot_row *row = c->todo.items[c->next];
    int r = copy_keep(c, reterr);
    if (r < 0 || c->is_damaged)
        return r;
    return c->told.is_alike ? send_snapshot(c, row, reterr) : write_snapshot(c, row, reterr);
}
