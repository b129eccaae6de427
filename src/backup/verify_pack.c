/* A pack is read once, from front to back: its own digest and those of its blocks are found side
 * by side. */

#include "backup/verify_int.h"

#include "backup/mend.h"
#include "backup/pack_int.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES (PACK_HEAD_MAX + CODEC_STORED_MAX)
#define PROBLEMS_MAX 1000 /* of a pack that are told one by one */

void
pack_check_init(struct pack_check *c, const struct repository *repository,
                const struct index *index)
{
    *c = (struct pack_check){.repository = repository, .index = index};
    c->reader = block_reader_new(repository, index);
    c->record = mem_alloc(PIECE_BYTES);
    c->block = mem_alloc(CODEC_BLOCK_MAX);
}

void
pack_check_finish(struct pack_check *c)
{
    block_reader_free(c->reader);
    free(c->record);
    free(c->block);
    vec_finish(&c->problems);
    vec_finish(&c->damaged);
}

static void
add_problem(struct pack_check *c, const struct err *err)
{
    char name[HASH_SHA256_HEX];
    if (c->problems.count == PROBLEMS_MAX)
        return;
    struct err *problem = vec_add(&c->problems);
    *problem = *err;
    hash_sha256_hex(c->name.bytes, name);
    err_prefix(problem, "packs/%s", name);
}

static void
add_damaged(struct pack_check *c, const struct block_id *id, struct err *err)
{
    char name[HASH_SHA256_HEX];
    hash_sha256_hex(id->bytes, name);
    err_prefix(err, "block %.16s", name);
    add_problem(c, err);
    vec_push(&c->damaged, *id);
}

/* ---- reading ---- */

static int
read_at(const struct pack_check *c, uint64_t at, void *to, size_t len, struct err *reterr)
{
    return repository_read_file(c->file, at, to, len, reterr);
}

/* Bytes that belong to no record: only the pack's own digest is made of them. */
static int
pass(struct pack_check *c, struct hash_sha256 *whole, uint64_t *at, uint64_t to, struct err *reterr)
{
    while (*at < to) {
        size_t len = (size_t)MIN(to - *at, (uint64_t)PIECE_BYTES);
        int r = read_at(c, *at, c->record, len, reterr);
        if (r < 0)
            return r;
        hash_sha256_update(whole, c->record, len);
        *at += len;
    }
    return 0;
}

/* ---- a record ---- */

static int
look(struct pack_check *c, const struct pack_entry *e, struct hash_sha256 *whole,
     struct err *reterr)
{
    const struct pack record = {c->record, e->record_bytes};
    struct pack_found found = {0};
    struct hash_sha256 hash;
    uint8_t digest[HASH_SHA256_BYTES];
    struct block_id id;
    hash_sha256_init(&hash);
    int r = pack_read(&record, 0, &found, reterr);
    if (r == 0 && (memcmp(&found.record.id, &e->id, sizeof(e->id)) != 0 ||
                   found.record.block_bytes != e->block_bytes))
        r = err_set(reterr, ERR_PACK_DAMAGED, "its record is that of another block");
    if (r == 0)
        r = block_decode(c->reader, &found, c->block, reterr);
    struct hash_sha256_piece pieces[] = {{whole, c->record, e->record_bytes},
                                         {&hash, c->block, r == 0 ? e->block_bytes : 0}};
    hash_sha256_update_many(pieces, ARRAY_SIZE(pieces));
    hash_sha256_final(&hash, digest);
    block_name(c->repository->keys, digest, &id);
    if (r == 0 && memcmp(&id, &e->id, sizeof(id)) != 0)
        r = err_set(reterr, ERR_BACKUP_DAMAGED_BLOCK, "it comes back as something else");
    return r;
}

/* In the order of their places, whatever the trailer says of these. */
static int
by_place(const void *a, const void *b)
{
    const struct pack_entry *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

static int
look_at_records(struct pack_check *c, const struct pack_entries *entries, uint64_t *at,
                struct hash_sha256 *whole, struct err *reterr)
{
    int r = 0;
    if (entries->count > 1)
        qsort(entries->items, entries->count, sizeof(*entries->items), by_place);
    for (size_t i = 0; i < entries->count && r == 0; i++) {
        const struct pack_entry *e = &entries->items[i];
        struct err err = {0};
        if (e->at < *at || e->record_bytes > PIECE_BYTES) {
            (void)err_set(&err, ERR_PACK_DAMAGED, "no record can be at byte %u", e->at);
            add_damaged(c, &e->id, &err);
            continue;
        }
        r = pass(c, whole, at, e->at, reterr);
        if (r == 0)
            r = read_at(c, *at, c->record, e->record_bytes, reterr);
        if (r < 0)
            return r;
        *at += e->record_bytes;
        c->blocks++;
        if (look(c, e, whole, &err) < 0)
            add_damaged(c, &e->id, &err);
    }
    return r;
}

/* ---- the pack ---- */

/* Where the trailer does not tell, records are found without it, too; not in one that is sealed,
 * where it is damaged as all of a piece is. */
static int
salvage(struct pack_check *c, struct pack_entries *ret, struct err *reterr)
{
    _cleanup_repository_object_ struct repository_object object = {0};
    int r = repository_map(c->repository, REPOSITORY_PACKS, c->name.bytes, false, &object, reterr);
    const struct pack pack = {object.bytes, object.len};
    if (r == 0)
        (void)pack_salvage(&pack, ret);
    return r;
}

static int
find_records(struct pack_check *c, struct pack_entries *ret, struct err *reterr)
{
    struct err err;
    int r = repository_open_whole(c->repository, REPOSITORY_PACKS, c->name.bytes, &c->file, reterr);
    c->is_gone = r < 0;
    if (r < 0)
        return r;
    const struct flow_source source = repository_file_source(c->file);
    c->bytes = source.bytes;
    if (pack_read_entries(&source, ret, &err) == 0)
        return 0;
    add_problem(c, &err);
    r = salvage(c, ret, reterr);
    c->is_gone = r < 0;
    return r;
}

/* The name of one that is sealed is that of what lies there: it is read once more for it. */
static int
check_name(const struct pack_check *c, struct hash_sha256 *whole, struct err *reterr)
{
    struct block_id name;
    if (c->repository->is_encrypted)
        return repository_check_file(c->file, reterr);
    hash_sha256_final(whole, name.bytes);
    return memcmp(&name, &c->name, sizeof(name)) == 0
               ? 0
               : err_set(reterr, ERR_PACK_DAMAGED, "it is not what its name says");
}

static int
check(struct pack_check *c, struct err *reterr)
{
    struct pack_entries entries = {0};
    struct hash_sha256 whole;
    uint64_t at = 0;
    hash_sha256_init(&whole);
    int r = find_records(c, &entries, reterr);
    if (r == 0)
        r = look_at_records(c, &entries, &at, &whole, reterr);
    if (r == 0)
        r = pass(c, &whole, &at, c->bytes, reterr);
    if (r == 0)
        r = check_name(c, &whole, reterr);
    free(entries.items);
    repository_close_file(c->file);
    c->file = NULL;
    return r;
}

static void
look_once(struct pack_check *c)
{
    struct err err = {0};
    c->problems.count = c->damaged.count = 0;
    c->is_gone = false;
    c->bytes = c->blocks = 0;
    if (check(c, &err) < 0)
        add_problem(c, &err);
}

/* It is looked at again when it is mended, and proved so. */
static void
mend(struct pack_check *c)
{
    struct err err = {0};
    int r = mend_pack(c->repaired, c->name.bytes, &c->told, &err);
    if (r < 0 && r != -ENOENT)
        add_problem(c, &err);
    if (r < 0)
        return;
    look_once(c);
    c->is_mended = c->problems.count == 0;
}

/* What was mended may have lost some of its parity as well. */
static void
prepare(struct pack_check *c)
{
    struct err err = {0};
    bool is_there = mend_is_prepared(c->repaired, c->name.bytes) &&
                    !(c->is_mended && c->told.parity_lost_bytes > 0);
    if (c->parity_percent == 0 || is_there)
        return;
    if (mend_prepare(c->repaired, c->name.bytes, c->parity_percent, &err) < 0)
        add_problem(c, &err);
    else
        c->is_prepared = true;
}

void
pack_check_run(struct pack_check *c)
{
    c->is_mended = c->is_prepared = false;
    look_once(c);
    if (c->repaired && c->problems.count > 0)
        mend(c);
    if (c->repaired && c->problems.count == 0)
        prepare(c);
}
