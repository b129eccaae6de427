#include "backup/prune_int.h"

#include "backup/block.h"
#include "backup/mend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LITTLE_PERCENT 60 /* needed of a pack: below that it is copied */
#define RECORD_MAX (CODEC_STORED_MAX + 128)
#define ROOM_LEFT ((uint64_t)(256 * MIB))

/* ---- what snapshots need ---- */

static int
need_blocks_of(struct prune *p, const struct snapshot_row *row, struct err *reterr)
{
    _cleanup_repository_object_ struct repository_object object = {0};
    struct snapshot_reader *reader = mem_new(struct snapshot_reader);
    struct snapshot_head head;
    struct snapshot_entry e;
    struct snapshot_block block;
    uint8_t name[HASH_SHA256_BYTES];
    object_digest(row->name, name);
    int r = repository_map(p->wish.repository, REPOSITORY_SNAPSHOTS, name, true, &object, reterr);
    if (r == 0)
        r = snapshot_open(object.bytes, object.len, reader, &head, reterr);
    while (r >= 0 && (r = snapshot_next(reader, &e, reterr)) > 0)
        while (snapshot_next_block(&e.blocks, &block))
            (void)blocks_add(&p->wants.blocks, &block.id);
    free(reader);
    return r;
}

/* Of all that are there. One that cannot be read may need anything: then nothing goes. */
static int
find_needed(struct prune *p, struct err *reterr)
{
    int r = 0;
    for (size_t i = 0; i < p->snapshots.count && r == 0; i++) {
        const struct snapshot_row *row = &p->snapshots.rows[i];
        if (p->verdicts[i].fate == KEEP_ENDS) /* it is removed already */
            continue;
        if (!prune_is_stopped(p))
            r = need_blocks_of(p, row, reterr);
        if (r < 0) {
            err_prefix(reterr, "nothing is removed while snapshot %.12s cannot be read", row->name);
            err_fix(reterr,
                    "bring it back from a copy, or remove snapshots/%.12s*: then prune again",
                    row->name);
        }
    }
    return r;
}

/* ---- which packs have it ---- */

static int
open_pack(const struct prune *p, const struct prune_pack *pack, struct repository_file **ret,
          struct pack_entries *ret_entries, struct err *reterr)
{
    int r =
        repository_open_file(p->wish.repository, REPOSITORY_PACKS, pack->name.bytes, ret, reterr);
    if (r < 0)
        return r;
    const struct flow_source source = repository_file_source(*ret);
    r = pack_read_entries(&source, ret_entries, reterr);
    if (r < 0)
        repository_close_file(*ret);
    return r;
}

static int
find_base(struct prune *p, struct repository_file *file, const struct pack_entry *e)
{
    uint8_t bytes[PACK_HEAD_MAX];
    const size_t len = MIN((size_t)e->record_bytes, sizeof(bytes));
    const struct pack head = {bytes, len};
    struct pack_found found;
    if (repository_read_file(file, e->at, bytes, len, NULL) < 0 ||
        pack_read_head(&head, 0, &found, NULL) < 0)
        return -EBADMSG;
    if (found.record.base)
        (void)blocks_add(&p->wants.bases, found.record.base);
    return 0;
}

/* Of all its blocks. */
static void
find_bases(struct prune *p, struct prune_pack *pack)
{
    struct repository_file *file = NULL;
    struct pack_entries entries = {0};
    if (open_pack(p, pack, &file, &entries, NULL) < 0) {
        pack->is_unread = true;
        return;
    }
    for (size_t i = 0; i < entries.count && !pack->is_unread; i++)
        if (entries.items[i].has_base)
            pack->is_unread = find_base(p, file, &entries.items[i]) < 0;
    pack->bytes = repository_file_bytes(file);
    free(entries.items);
    repository_close_file(file);
}

/* Whoever restores finds what the index tells of; and what is going is to go. */
#define ORDER 3
static unsigned
order(const struct prune_pack *pack)
{
    return pack->is_going ? 2 : !pack->is_indexed;
}

static bool
is_wanted(struct prune_wants *wants, const struct pack_entry *e)
{
    bool block = blocks_remove(&wants->blocks, &e->id);
    bool base = !e->has_base && blocks_remove(&wants->bases, &e->id);
    return block || base;
}

/* The first pack that has a block is the one that is asked for it. */
static void
ask(struct prune *p, struct prune_pack *pack)
{
    struct repository_file *file = NULL;
    struct pack_entries entries = {0};
    if (pack->is_unread || open_pack(p, pack, &file, &entries, NULL) < 0) {
        pack->is_unread = true;
        return;
    }
    for (size_t i = 0; i < entries.count; i++)
        if (is_wanted(&p->wants, &entries.items[i]))
            pack->needed_bytes += entries.items[i].record_bytes;
    free(entries.items);
    repository_close_file(file);
}

static bool
is_going(const struct prune *p, const struct block_id *name)
{
    return marks_find(&p->marks, MARK_GOING, name) != NULL;
}

static int
list_packs(struct prune *p, struct err *reterr)
{
    struct repository_names names = {0};
    int r = repository_list(p->wish.repository, REPOSITORY_PACKS, &names, reterr);
    for (size_t i = 0; i < names.count; i++) {
        struct prune_pack *pack = vec_add(&p->packs);
        memcpy(pack->name.bytes, names.items[i], sizeof(pack->name));
        pack->is_going = is_going(p, &pack->name);
    }
    free(names.items);
    return r;
}

static int
by_name(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct block_id));
}

static int
find_indexed(struct prune *p, struct err *reterr)
{
    struct index *x = NULL;
    int r = index_open(p->wish.repository, &x, reterr);
    for (size_t i = 0; r == 0 && i < index_fragments(x); i++)
        for (size_t k = 0; k < index_fragment_packs(x, i) && p->packs.count > 0; k++) {
            const struct block_id name = index_pack_at(x, i, k);
            struct prune_pack *pack =
                bsearch(&name, p->packs.items, p->packs.count, sizeof(*pack), by_name);
            if (pack)
                pack->is_indexed = true;
        }
    if (r == 0)
        index_free(x);
    return r;
}

int
prune_look(struct prune *p, struct err *reterr)
{
    int r = find_needed(p, reterr);
    if (r == 0)
        r = list_packs(p, reterr);
    if (r == 0)
        r = find_indexed(p, reterr);
    if (r < 0)
        return r;
    vec_foreach (&p->packs, pack)
        if (!prune_is_stopped(p))
            find_bases(p, pack);
    for (unsigned i = 0; i < ORDER; i++)
        vec_foreach (&p->packs, pack)
            if (!prune_is_stopped(p) && order(pack) == i)
                ask(p, pack);
    vec_foreach (&p->packs, pack) {
        p->told.packs++;
        p->told.bytes += pack->bytes;
        p->told.unread_packs += pack->is_unread;
        p->told.unneeded_bytes +=
            pack->is_unread ? 0 : pack->bytes - MIN(pack->bytes, pack->needed_bytes);
    }
    return 0;
}

/* ---- copying ---- */

struct copying {
    struct prune *p;
    struct pack_writer *to;
    struct index_draft *draft;
    struct index *index;
    struct block_reader *reader;
    struct prune_wants wants;
    uint8_t *record, *block;
};

static bool
is_little(const struct prune_pack *pack)
{
    return !pack->is_going && !pack->is_unread && pack->is_indexed && pack->needed_bytes > 0 &&
           pack->needed_bytes < pack->bytes / 100 * LITTLE_PERCENT;
}

static int
end_pack(struct copying *c, struct err *reterr)
{
    struct pack_entries entries;
    struct block_id name;
    char text[HASH_SHA256_HEX];
    int r = c->to ? pack_finish(c->to, text, &entries, reterr) : 0;
    if (r == 0 && c->to) {
        object_digest(text, name.bytes);
        vec_push(&c->p->made, name);
        r = index_draft_add(c->draft, &name, &entries, reterr);
        if (r == 0 && c->p->wish.parity_percent > 0)
            r = mend_prepare(c->p->wish.repository, name.bytes, c->p->wish.parity_percent, reterr);
    }
    pack_writer_free(c->to);
    c->to = NULL;
    return r;
}

/* As it lies there, once it has been seen to come back as what it is. */
static int
copy_record(struct copying *c, struct repository_file *from, const struct pack_entry *e,
            struct err *reterr)
{
    const struct object_place place = repository_place(c->p->wish.repository, REPOSITORY_PACKS);
    const struct pack whole = {c->record, e->record_bytes};
    struct pack_found found;
    struct block_id id;
    if (e->record_bytes > RECORD_MAX || e->block_bytes > CODEC_BLOCK_MAX)
        return err_set(reterr, ERR_PACK_DAMAGED, "a record is longer than any");
    const struct snapshot_block block = {e->id, e->block_bytes};
    int r = repository_read_file(from, e->at, c->record, e->record_bytes, reterr);
    if (r == 0)
        r = pack_read(&whole, 0, &found, reterr);
    if (r == 0 && found.record.block_bytes != e->block_bytes)
        r = err_set(reterr, ERR_PACK_DAMAGED, "a record is that of another block");
    if (r == 0)
        r = block_decode(c->reader, &found, c->block, reterr);
    if (r < 0)
        return r;
    block_find_ids(c->p->wish.repository->keys, &block, 1, c->block, &id);
    if (memcmp(&id, &e->id, sizeof(id)) != 0)
        return err_set(reterr, ERR_BACKUP_DAMAGED_BLOCK, "a block comes back as something else");
    if (!c->to)
        r = pack_begin(&place, &c->to, reterr);
    if (r == 0)
        r = pack_add(c->to, &found.record, reterr);
    c->p->told.copied_bytes += e->record_bytes;
    return r == 0 && pack_is_full(c->to) ? end_pack(c, reterr) : r;
}

static int
copy_pack(struct copying *c, struct prune_pack *pack, struct err *reterr)
{
    struct repository_file *file = NULL;
    struct pack_entries entries = {0};
    int r = open_pack(c->p, pack, &file, &entries, reterr);
    if (r < 0)
        return r;
    for (size_t i = 0; i < entries.count && r == 0; i++)
        if (is_wanted(&c->wants, &entries.items[i]))
            r = copy_record(c, file, &entries.items[i], reterr);
    free(entries.items);
    repository_close_file(file);
    return r;
}

/* Of all snapshots and packs again, without what packs have that stay. */
static int
find_what_moves(struct copying *c, struct err *reterr)
{
    struct prune *p = c->p;
    blocks_finish(&p->wants.blocks);
    blocks_finish(&p->wants.bases);
    int r = find_needed(p, reterr);
    vec_foreach (&p->packs, pack)
        if (r == 0)
            find_bases(p, pack);
    c->wants = p->wants;
    p->wants = (struct prune_wants){0};
    vec_foreach (&p->packs, pack) {
        struct repository_file *file = NULL;
        struct pack_entries entries = {0};
        if (r < 0 || pack->is_going || pack->needed_bytes == 0 || is_little(pack) ||
            open_pack(p, pack, &file, &entries, NULL) < 0)
            continue;
        for (size_t i = 0; i < entries.count; i++)
            (void)is_wanted(&c->wants, &entries.items[i]);
        free(entries.items);
        repository_close_file(file);
    }
    return r;
}

static uint64_t
find_room(const struct prune *p)
{
    uint64_t room = 0;
    if (repository_find_room(p->wish.repository, &room, NULL) < 0)
        return 0;
    return room > ROOM_LEFT ? room - ROOM_LEFT : 0;
}

/* One that cannot be copied stays as it is, and is for those who verify. */
static int
copy_all(struct copying *c, struct err *reterr)
{
    struct prune *p = c->p;
    const struct object_place place = repository_place(p->wish.repository, REPOSITORY_INDEX);
    uint64_t left = MIN(PRUNE_COPY_BYTES, find_room(p));
    char name[HASH_SHA256_HEX];
    VEC(struct prune_pack *) copied = {0};
    int r = 0;
    vec_foreach (&p->packs, pack) {
        struct err err;
        if (r < 0 || prune_is_stopped(p) || !is_little(pack) || pack->needed_bytes > left)
            continue;
        left -= pack->needed_bytes;
        int k = copy_pack(c, pack, &err);
        if (k == 0)
            vec_push(&copied, pack);
        else if (k != -EBADMSG) /* -EIO may be of what is written: then nothing goes */
            r = k;
        if (r < 0 && reterr)
            *reterr = err;
    }
    if (r == 0)
        r = end_pack(c, reterr);
    if (r == 0 && index_draft_blocks(c->draft) > 0)
        r = index_draft_write(c->draft, &place, name, reterr);
    vec_foreach (&copied, pack)
        if (r == 0)
            (*pack)->needed_bytes = 0;
    vec_finish(&copied);
    return r;
}

int
prune_copy(struct prune *p, struct err *reterr)
{
    bool any = false;
    if (p->told.unread_packs > 0) /* what these need is not known */
        return 0;
    vec_foreach (&p->packs, pack)
        any = any || is_little(pack);
    if (!any)
        return 0;
    struct copying c = {.p = p, .draft = index_draft_new()};
    int r = index_open(p->wish.repository, &c.index, reterr);
    if (r == 0)
        r = find_what_moves(&c, reterr);
    if (r == 0) {
        c.reader = block_reader_new(p->wish.repository, c.index);
        c.record = mem_alloc(RECORD_MAX);
        c.block = mem_alloc(CODEC_BLOCK_MAX);
        r = copy_all(&c, reterr);
    }
    pack_writer_free(c.to);
    block_reader_free(c.reader);
    index_draft_free(c.draft);
    index_free(c.index);
    blocks_finish(&c.wants.blocks);
    blocks_finish(&c.wants.bases);
    free(c.record);
    free(c.block);
    return r;
}
