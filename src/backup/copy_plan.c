#include "backup/copy_int.h"
#include "backup/mark.h"
#include "backup/raw.h"
#include "base/quantity.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WHOLE_PERCENT 50 /* needed of a pack: from there on it goes as it is */

/* ---- names of blocks ---- */

bool
copy_translate(const struct copy *c, const struct block_id *here, struct block_id *ret_there)
{
    if (c->told.is_alike) {
        *ret_there = *here;
        return true;
    }
    if (c->wish.from->is_encrypted)
        return name_pairs_find(&c->names, here, ret_there);
    block_name(c->wish.to->keys, here->bytes, ret_there);
    return true;
}

/* Both name a block alike only if they have the same root, or none. */
static bool
is_alike(const struct copy *c)
{
    static const uint8_t zeros[HASH_SHA256_BYTES];
    struct block_id a, b;
    if (c->wish.from->is_encrypted != c->wish.to->is_encrypted)
        return false;
    block_name(c->wish.from->keys, zeros, &a);
    block_name(c->wish.to->keys, zeros, &b);
    return memcmp(&a, &b, sizeof(a)) == 0;
}

/* ---- which snapshots ---- */

static bool
is_same_backup(const struct snapshot_row *a, const struct snapshot_row *b)
{
    const struct snapshot_head *x = &a->head, *y = &b->head;
    return !a->is_damaged && !b->is_damaged && x->begun_ns == y->begun_ns &&
           a->end.ended_ns == b->end.ended_ns && a->end.entries == b->end.entries &&
           a->end.bytes == b->end.bytes && a->end.blocks == b->end.blocks &&
           text_eq(x->host, y->host) && text_eq(x->subject, y->subject) &&
           text_eq(x->name, y->name) && text_eq(x->type, y->type) && text_eq(x->source, y->source);
}

static const struct snapshot_row *
find_there(const struct copy *c, const struct snapshot_row *row)
{
    for (size_t i = 0; i < c->there.count; i++)
        if (is_same_backup(row, &c->there.rows[i]))
            return &c->there.rows[i];
    return NULL;
}

static bool
is_wished(const struct copy *c, const struct marks *marks, const struct snapshot_row *row)
{
    struct block_id name;
    object_digest(row->name, name.bytes);
    for (size_t i = 0; i < c->wish.only_count; i++)
        if (memcmp(&name, &c->wish.only[i], sizeof(name)) == 0)
            return true;
    return c->wish.only_count == 0 && !marks_find(marks, MARK_DELETED, &name);
}

static int
choose(struct copy *c, struct err *reterr)
{
    _cleanup_marks_ struct marks marks = {0};
    int r = marks_read(c->wish.from, &marks, reterr);
    for (size_t i = 0; i < c->here.count && r == 0; i++) {
        const struct snapshot_row *row = &c->here.rows[i];
        if (!is_wished(c, &marks, row))
            continue;
        c->told.snapshots++;
        if (find_there(c, row))
            c->told.had++;
        else
            vec_push(&c->todo, row);
    }
    return r;
}

static int
read_snapshots(struct copy *c, struct err *reterr)
{
    int r = snapshots_read(c->wish.from, &c->here, reterr);
    c->has_here = r == 0;
    if (r == 0)
        r = snapshots_read(c->wish.to, &c->there, reterr);
    c->has_there = r == 0;
    return r < 0 ? r : choose(c, reterr);
}

/* ---- a snapshot, from front to back ---- */

struct walk {
    struct repository_object object;
    struct snapshot_reader *reader;
    struct snapshot_records rest; /* of the file that is the last */
};

static void
walk_finish(struct walk *w)
{
    free(w->reader);
    repository_unmap(&w->object);
}
#define _cleanup_walk_ _cleanup_(walk_finish)

static int
walk_open(const struct repository *r, const char *hex, struct walk *ret, struct err *reterr)
{
    uint8_t name[HASH_SHA256_BYTES];
    struct snapshot_head head;
    object_digest(hex, name);
    *ret = (struct walk){.reader = mem_new(struct snapshot_reader)};
    int k = repository_map(r, REPOSITORY_SNAPSHOTS, name, true, &ret->object, reterr);
    if (k == 0)
        k = snapshot_open(ret->object.bytes, ret->object.len, ret->reader, &head, reterr);
    if (k < 0)
        err_prefix(reterr, "snapshot %.12s", hex);
    return k;
}

/* 1 and the next block; 0 behind the last. */
static int
walk_next(struct walk *w, struct snapshot_block *ret, struct err *reterr)
{
    struct snapshot_entry e;
    while (!snapshot_next_block(&w->rest, ret)) {
        int r = snapshot_next(w->reader, &e, reterr);
        if (r <= 0)
            return r;
        w->rest = e.blocks;
    }
    return 1;
}

/* ---- what is known of names ---- */

/* Two that tell the same, of files that are the same, and cut alike. */
static void
pair(struct copy *c, const struct snapshot_row *here, const struct snapshot_row *there)
{
    _cleanup_walk_ struct walk a = {0}, b = {0};
    struct snapshot_entry x, y;
    struct snapshot_block p, q;
    if (walk_open(c->wish.from, here->name, &a, NULL) < 0 ||
        walk_open(c->wish.to, there->name, &b, NULL) < 0)
        return;
    while (snapshot_next(a.reader, &x, NULL) > 0 && snapshot_next(b.reader, &y, NULL) > 0 &&
           text_eq(x.path, y.path) && memcmp(x.digest, y.digest, sizeof(x.digest)) == 0)
        while (snapshot_next_block(&x.blocks, &p) && snapshot_next_block(&y.blocks, &q) &&
               p.bytes == q.bytes)
            name_pairs_add(&c->names, &p.id, &q.id);
}

static void
learn_names(struct copy *c)
{
    if (c->told.is_alike || !c->wish.from->is_encrypted || c->todo.count == 0)
        return;
    for (size_t i = 0; i < c->here.count && !copy_is_stopped(c); i++) {
        const struct snapshot_row *there = find_there(c, &c->here.rows[i]);
        if (there)
            pair(c, &c->here.rows[i], there);
    }
}

/* ---- what lies there already ---- */

static int
by_name(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct block_id));
}

/* What broke off may have left packs of which nobody has seen that they arrived. */
static int
check_left(struct copy *c, struct err *reterr)
{
    struct repository *to = c->wish.to;
    struct repository_names names = {0};
    struct index *index = NULL;
    VEC(struct block_id) indexed = {0};
    int r = index_open(to, &index, reterr);
    for (size_t i = 0; r == 0 && i < index_fragments(index); i++)
        for (size_t k = 0; k < index_fragment_packs(index, i); k++)
            vec_push(&indexed, index_pack_at(index, i, k));
    if (indexed.count > 1)
        qsort(indexed.items, indexed.count, sizeof(struct block_id), by_name);
    if (r == 0)
        r = repository_list(to, REPOSITORY_PACKS, &names, reterr);
    for (size_t i = 0; i < names.count && r == 0 && !copy_is_stopped(c); i++)
        if (indexed.count == 0 || !bsearch(names.items[i], indexed.items, indexed.count,
                                           sizeof(struct block_id), by_name))
            r = raw_check(to, REPOSITORY_PACKS, names.items[i], 0, true, reterr);
    index_free(index);
    vec_finish(&indexed);
    free(names.items);
    return r;
}

/* ---- which packs ---- */

static struct copy_pack *
find_pack(const struct copy *c, const struct block_id *name)
{
    return c->packs.count == 0
               ? NULL
               : bsearch(name, c->packs.items, c->packs.count, sizeof(struct copy_pack), by_name);
}

static void
list_packs(struct copy *c)
{
    const struct index *x = c->index;
    struct block_id id;
    size_t count = 0;
    for (size_t i = 0; i < index_fragments(x); i++)
        for (size_t k = 0; k < index_fragment_packs(x, i); k++) {
            const struct block_id name = index_pack_at(x, i, k);
            vec_add(&c->packs)->name = name;
        }
    if (c->packs.count > 1)
        qsort(c->packs.items, c->packs.count, sizeof(struct copy_pack), by_name);
    for (size_t i = 0; i < c->packs.count; i++)
        if (count == 0 || by_name(&c->packs.items[count - 1], &c->packs.items[i]) != 0)
            c->packs.items[count++] = c->packs.items[i];
    c->packs.count = count;
    for (size_t i = 0; i < index_fragments(x); i++)
        for (size_t k = 0; k < index_fragment_blocks(x, i); k++) {
            const struct index_place place = index_at(x, i, k, &id);
            struct copy_pack *pack = find_pack(c, &place.pack);
            pack->bytes = MAX(pack->bytes, (uint64_t)place.at + place.record_bytes);
        }
}

bool
copy_has(const struct copy *c, const struct block_id *here)
{
    struct block_id there;
    return copy_translate(c, here, &there) && known_has(c->known, &there);
}

/* What is not there, of any snapshot that is to go. */
static int
measure(struct copy *c, const struct snapshot_row *row, struct blocks *seen, struct err *reterr)
{
    _cleanup_walk_ struct walk w = {0};
    struct snapshot_block block;
    struct index_place place;
    int r = walk_open(c->wish.from, row->name, &w, reterr);
    while (r >= 0 && !copy_is_stopped(c) && (r = walk_next(&w, &block, reterr)) > 0)
        if (!copy_has(c, &block.id) && !blocks_add(seen, &block.id) &&
            index_find(c->index, &block.id, &place))
            find_pack(c, &place.pack)->needed_bytes += place.record_bytes;
    return MIN(r, 0);
}

/* Packs that are going there (mark.h) must not come back by their names: who removes them does not
 * look again. */
static int
choose_whole(struct copy *c, struct err *reterr)
{
    _cleanup_marks_ struct marks marks = {0};
    int r = c->told.is_alike ? marks_read(c->wish.to, &marks, reterr) : 0;
    vec_foreach (&c->packs, pack) {
        pack->goes_whole = c->told.is_alike && pack->needed_bytes > 0 &&
                           pack->needed_bytes >= pack->bytes / 100 * WHOLE_PERCENT &&
                           !marks_find(&marks, MARK_GOING, &pack->name);
        c->told.total_bytes += pack->goes_whole ? pack->bytes : pack->needed_bytes;
    }
    return r;
}

static int
need_room(const struct copy *c, struct err *reterr)
{
    quantity_text wanted, there;
    uint64_t room = 0;
    int r = repository_find_room(c->wish.to, &room, reterr);
    if (r < 0 || room >= c->told.total_bytes)
        return r;
    r = err_set_errno(reterr, ENOSPC, "the copy may take %s, and %s has room for %s",
                      quantity_show_bytes(c->told.total_bytes, wanted), c->wish.to->where,
                      quantity_show_bytes(room, there));
    err_fix(reterr, "make room there, or name the snapshots that are to be copied");
    return r;
}

/* One that is damaged is told when its turn comes. */
static int
measure_all(struct copy *c, struct err *reterr)
{
    struct blocks seen = {0};
    list_packs(c);
    vec_foreach (&c->todo, row)
        (void)!measure(c, *row, &seen, NULL);
    blocks_finish(&seen);
    int r = choose_whole(c, reterr);
    return r < 0 ? r : need_room(c, reterr);
}

int
copy_look(struct copy *c, struct err *reterr)
{
    struct repository *to = c->wish.to;
    c->told.is_alike = is_alike(c);
    int r = read_snapshots(c, reterr);
    if (r < 0 || c->todo.count == 0)
        return r;
    for (enum repository_area i = 0; i < REPOSITORY_AREAS && !c->wish.dry; i++)
        if (i != REPOSITORY_SNAPSHOTS && to->areas[i] >= 0) /* which a backup goes on from */
            object_clear_abandoned(to->areas[i]);
    if (!c->wish.dry)
        r = check_left(c, reterr);
    if (r == 0)
        r = known_open(to, &c->known, reterr);
    if (r == 0)
        r = index_open(c->wish.from, &c->index, reterr);
    if (r < 0)
        return r;
    learn_names(c);
    return measure_all(c, reterr);
}

/* ---- the next snapshot ---- */

static struct copy_piece *
piece_of(struct copy *c, struct copy_pack *pack)
{
    if (!pack->piece) {
        pack->piece = mem_new(struct copy_piece);
        pack->piece->pack = pack;
        vec_push(&c->pieces, pack->piece);
    }
    return pack->piece;
}

static void
miss(struct copy *c, const struct block_id *id)
{
    char name[HASH_SHA256_HEX];
    hash_sha256_hex(id->bytes, name);
    if (!c->is_damaged)
        (void)err_set(&c->damage, ERR_BLOCK_MISSING, "the block %s cannot be had", name);
    err_fix(&c->damage, "citadel backup verify --all");
    c->is_damaged = true;
}

void
copy_plan_block(struct copy *c, const struct snapshot_block *block)
{
    struct index_place place;
    if (copy_has(c, &block->id))
        return;
    if (blocks_has(&c->missing, &block->id) || !index_find(c->index, &block->id, &place)) {
        miss(c, &block->id);
        return;
    }
    struct copy_pack *pack = find_pack(c, &place.pack);
    if (pack->has_gone || blocks_add(&c->planned, &block->id))
        return;
    vec_push(&piece_of(c, pack)->blocks, *block);
}

int
copy_plan(struct copy *c, struct err *reterr)
{
    _cleanup_walk_ struct walk w = {0};
    struct snapshot_block block;
    const struct snapshot_row *row = c->todo.items[c->next];
    struct err err;
    c->is_damaged = false;
    int r = walk_open(c->wish.from, row->name, &w, &err);
    while (r >= 0 && !copy_is_stopped(c) && (r = walk_next(&w, &block, &err)) > 0)
        copy_plan_block(c, &block);
    if (r == -EBADMSG) { /* the others may be whole */
        c->is_damaged = true;
        c->damage = err;
        r = 0;
    }
    if (r < 0 && reterr)
        *reterr = err;
    return MIN(r, 0);
}
