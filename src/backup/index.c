#include "backup/index.h"

#include "backup/bytes_int.h"
#include "backup/object.h"
#include "base/crc32c.h"
#include "base/vec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "citadel index 1" /* with its zero: 16 bytes */
#define HEAD_BYTES 32
#define ID_BYTES sizeof(struct block_id)
#define ENTRY_BYTES 48
#define FRAGMENTS_MAX 4096
#define TRIES 10

/* ---- making one ---- */

struct drafted {
    struct block_id id;
    uint32_t pack, at, record_bytes, block_bytes;
};

struct index_draft {
    VEC(struct block_id) packs;
    VEC(struct drafted) blocks;
};

struct index_draft *
index_draft_new(void)
{
    return mem_new(struct index_draft);
}

void
index_draft_free(struct index_draft *d)
{
    if (!d)
        return;
    vec_finish(&d->packs);
    vec_finish(&d->blocks);
    free(d);
}

int
index_draft_add(struct index_draft *d, const struct block_id *pack,
                const struct pack_entries *entries, struct err *reterr)
{
    uint32_t number = (uint32_t)d->packs.count;
    if (entries->count > INDEX_BLOCKS_MAX - d->blocks.count)
        return err_set(reterr, ERR_TOO_LARGE,
                       "a part of the repository's index would have %zu blocks, of at most %zu",
                       d->blocks.count + entries->count, INDEX_BLOCKS_MAX);
    vec_push(&d->packs, *pack);
    for (size_t i = 0; i < entries->count; i++) {
        const struct pack_entry *e = &entries->items[i];
        vec_push(&d->blocks,
                 ((struct drafted){e->id, number, e->at, e->record_bytes, e->block_bytes}));
    }
    return 0;
}

size_t
index_draft_blocks(const struct index_draft *d)
{
    return d->blocks.count;
}

static int
by_id(const void *a, const void *b)
{
    const struct drafted *x = a, *y = b;
    int order = memcmp(&x->id, &y->id, ID_BYTES);
    if (order == 0)
        order = (x->pack > y->pack) - (x->pack < y->pack);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

/* Head, packs and entries are written twice over: once for the CRC, once for the file. */
typedef int (*sink)(void *arg, const void *bytes, size_t len, struct err *reterr);

static int
to_crc(void *arg, const void *bytes, size_t len, struct err *reterr unused_arg)
{
    uint32_t *crc = arg;
    *crc = crc32c(*crc, bytes, len);
    return 0;
}

static int
to_object(void *arg, const void *bytes, size_t len, struct err *reterr)
{
    return object_write(arg, bytes, len, reterr);
}

static int
write_body(const struct index_draft *d, sink to, void *arg, struct err *reterr)
{
    int r = to(arg, d->packs.items, d->packs.count * ID_BYTES, reterr);
    for (size_t i = 0; i < d->blocks.count && r == 0; i++) {
        const struct drafted *b = &d->blocks.items[i];
        uint8_t entry[ENTRY_BYTES];
        memcpy(entry, &b->id, ID_BYTES);
        put_u32(entry + 32, b->pack);
        put_u32(entry + 36, b->at);
        put_u32(entry + 40, b->record_bytes);
        put_u32(entry + 44, b->block_bytes);
        r = to(arg, entry, sizeof(entry), reterr);
    }
    return r;
}

static int
write_all(const struct index_draft *d, struct object_writer *w, struct err *reterr)
{
    uint8_t head[HEAD_BYTES] = MAGIC;
    uint32_t crc = 0;
    int r = write_body(d, to_crc, &crc, reterr);
    put_u32(head + 16, (uint32_t)d->packs.count);
    put_u32(head + 20, (uint32_t)d->blocks.count);
    put_u32(head + 24, crc);
    put_u32(head + 28, crc32c(0, head, 28));
    if (r == 0)
        r = object_write(w, head, sizeof(head), reterr);
    return r < 0 ? r : write_body(d, to_object, w, reterr);
}

int
index_draft_write(struct index_draft *d, const struct object_place *place,
                  char ret_name[HASH_SHA256_HEX], struct err *reterr)
{
    struct object_writer w;
    if (d->blocks.count > 0)
        qsort(d->blocks.items, d->blocks.count, sizeof(*d->blocks.items), by_id);
    int r = object_begin(&w, place, reterr);
    if (r < 0)
        return r;
    r = write_all(d, &w, reterr);
    if (r == 0)
        r = object_finish(&w, ret_name, reterr);
    object_end(&w);
    return r;
}

/* ---- opening ---- */

struct fragment {
    uint8_t name[HASH_SHA256_BYTES];
    struct repository_object object;
    const uint8_t *packs, *entries;
    uint32_t pack_count, count;
    bool *left_out; /* of its packs; NULL: none is */
};

struct index {
    VEC(struct fragment) fragments;
    uint64_t blocks;
};

static int
damaged(struct err *reterr, const char *name, const char *what)
{
    int r = err_set(reterr, ERR_INDEX_DAMAGED, "%s of the repository's index %s", name, what);
    err_fix(reterr, "`citadel backup verify --repair` makes it anew, of the packs");
    return r;
}

/* All that a search relies on, so that it has to look at nothing. */
static int
check(struct fragment *f, const char *name, struct err *reterr)
{
    const uint8_t *head = f->object.bytes;
    const size_t len = f->object.len;
    if (len < HEAD_BYTES || memcmp(head, MAGIC, sizeof(MAGIC)) != 0)
        return damaged(reterr, name, "is none of version 1");
    if (get_u32(head + 28) != crc32c(0, head, 28))
        return damaged(reterr, name, "has a head that is not what was written");
    f->pack_count = get_u32(head + 16);
    f->count = get_u32(head + 20);
    if (len != HEAD_BYTES + f->pack_count * (uint64_t)ID_BYTES + f->count * (uint64_t)ENTRY_BYTES)
        return damaged(reterr, name, "is not as long as its head says");
    if (get_u32(head + 24) != crc32c(0, head + HEAD_BYTES, len - HEAD_BYTES))
        return damaged(reterr, name, "is not what was written");
    f->packs = head + HEAD_BYTES;
    f->entries = f->packs + f->pack_count * ID_BYTES;
    for (uint32_t i = 0; i < f->count; i++)
        if (get_u32(f->entries + i * (size_t)ENTRY_BYTES + 32) >= f->pack_count)
            return damaged(reterr, name, "names a pack that it does not list");
    return 0;
}

static int
map_fragment(const struct repository *r, const uint8_t digest[HASH_SHA256_BYTES], const char *name,
             struct repository_object *ret, struct err *reterr)
{
    struct err err;
    int k = repository_map(r, REPOSITORY_INDEX, digest, false, ret, &err);
    if (k == -EINVAL || k == -ELOOP)
        return damaged(reterr, name, "is no file");
    if (k < 0 && err.id == ERR_SEAL_DAMAGED)
        return damaged(reterr, name, "is not what was written");
    if (k < 0 && reterr)
        *reterr = err;
    return k;
}

static int
open_fragment(struct index *x, const struct repository *r, const uint8_t digest[HASH_SHA256_BYTES],
              struct err *reterr)
{
    char name[HASH_SHA256_HEX];
    struct fragment f = {0};
    hash_sha256_hex(digest, name);
    memcpy(f.name, digest, sizeof(f.name));
    int k = map_fragment(r, digest, name, &f.object, reterr);
    if (k < 0)
        return k;
    k = check(&f, name, reterr);
    if (k < 0) {
        repository_unmap(&f.object);
        return k;
    }
    vec_push(&x->fragments, f);
    x->blocks += f.count;
    return 0;
}

static int
open_all(struct repository *repository, struct index *x, struct err *reterr)
{
    struct repository_names names = {0};
    int r = repository_list(repository, REPOSITORY_INDEX, &names, reterr);
    if (r == 0 && names.count > FRAGMENTS_MAX) {
        r = err_set(reterr, ERR_TOO_LARGE,
                    "the repository's index has %zu fragments, of at most %d", names.count,
                    FRAGMENTS_MAX);
        err_fix(reterr, "citadel backup prune");
    }
    for (size_t i = 0; i < names.count && r == 0; i++)
        r = open_fragment(x, repository, names.items[i], reterr);
    free(names.items);
    return r;
}

/* Whoever merges fragments writes the new one before the old are gone: so one that has gone since it was
 * listed is in another. */
int
index_open(struct repository *repository, struct index **ret_index, struct err *reterr)
{
    int r = -ENOENT;
    for (unsigned tries = 0; tries < TRIES && r == -ENOENT; tries++) {
        struct index *x = mem_new(struct index);
        r = open_all(repository, x, reterr);
        if (r < 0)
            index_free(x);
        else
            *ret_index = x;
    }
    return r;
}

static void
fragment_finish(struct fragment *f)
{
    repository_unmap(&f->object);
    free(f->left_out);
}

void
index_free(struct index *x)
{
    if (!x)
        return;
    vec_foreach (&x->fragments, f)
        fragment_finish(f);
    vec_finish(&x->fragments);
    free(x);
}

int
index_remove_damaged(struct repository *repository, size_t *ret_count, struct err *reterr)
{
    struct repository_names names = {0};
    int r = repository_list(repository, REPOSITORY_INDEX, &names, reterr);
    *ret_count = 0;
    for (size_t i = 0; i < names.count && r == 0; i++) {
        struct index *x = mem_new(struct index);
        if (open_fragment(x, repository, names.items[i], NULL) == -EBADMSG) {
            r = repository_remove(repository, REPOSITORY_INDEX, names.items[i], reterr);
            ++*ret_count;
        }
        index_free(x);
    }
    free(names.items);
    return r;
}

/* ---- asking ---- */

static struct index_place
place_at(const struct fragment *f, size_t i)
{
    const uint8_t *entry = f->entries + i * ENTRY_BYTES;
    struct index_place place = {.at = get_u32(entry + 36),
                                .record_bytes = get_u32(entry + 40),
                                .block_bytes = get_u32(entry + 44)};
    memcpy(&place.pack, f->packs + get_u32(entry + 32) * ID_BYTES, ID_BYTES);
    return place;
}

static bool
is_left_out(const struct fragment *f, size_t i)
{
    return f->left_out && f->left_out[get_u32(f->entries + i * ENTRY_BYTES + 32)];
}

/* Of the entries of one block, which are side by side, and one of which is at `at`, the n-th that is
 * not left out. What is passed over is taken off *n. */
static bool
take_nth(const struct fragment *f, size_t at, size_t *n, struct index_place *ret)
{
    const uint8_t *id = f->entries + at * ENTRY_BYTES;
    size_t first = at, end = at + 1;
    while (first > 0 && memcmp(f->entries + (first - 1) * ENTRY_BYTES, id, ID_BYTES) == 0)
        first--;
    while (end < f->count && memcmp(f->entries + end * ENTRY_BYTES, id, ID_BYTES) == 0)
        end++;
    for (size_t i = first; i < end; i++)
        if (!is_left_out(f, i) && (*n)-- == 0) {
            *ret = place_at(f, i);
            return true;
        }
    return false;
}

/* Digests are spread evenly: the first bytes tell where to look. From there on by halves, so that digests
 * that are not cost no more than any. */
static bool
find_in(const struct fragment *f, const struct block_id *id, size_t *ret_at)
{
    size_t low = 0, high = f->count; /* it is in [low, high) if anywhere */
    uint32_t first =
        (uint32_t)id->bytes[0] << 24 | id->bytes[1] << 16 | id->bytes[2] << 8 | id->bytes[3];
    size_t look = (size_t)((uint64_t)first * f->count >> 32);
    for (size_t reach = 16; low < high; reach *= 4) {
        int order = memcmp(id, f->entries + look * ENTRY_BYTES, ID_BYTES);
        if (order == 0) {
            *ret_at = look;
            return true;
        }
        if (order < 0)
            high = look;
        else
            low = look + 1;
        if (low >= high)
            break;
        look = high - low <= 2 * reach ? low + (high - low) / 2
               : order < 0             ? high - reach
                                       : low + reach;
    }
    return false;
}

bool
index_find_nth(const struct index *x, const struct block_id *id, size_t n, struct index_place *ret)
{
    size_t at;
    vec_foreach (&x->fragments, f)
        if (find_in(f, id, &at) && take_nth(f, at, &n, ret))
            return true;
    return false;
}

bool
index_find(const struct index *x, const struct block_id *id, struct index_place *ret)
{
    return index_find_nth(x, id, 0, ret);
}

static int
by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, ID_BYTES);
}

void
index_leave_out(struct index *x, const struct block_id *packs, size_t count)
{
    vec_foreach (&x->fragments, f)
        for (uint32_t i = 0; i < f->pack_count && count > 0; i++) {
            if (!bsearch(f->packs + i * ID_BYTES, packs, count, ID_BYTES, by_bytes))
                continue;
            if (!f->left_out)
                f->left_out = mem_alloc(f->pack_count * sizeof(*f->left_out));
            f->left_out[i] = true;
        }
}

uint64_t
index_blocks(const struct index *x)
{
    return x->blocks;
}

size_t
index_fragments(const struct index *x)
{
    return x->fragments.count;
}

const uint8_t *
index_fragment_name(const struct index *x, size_t i)
{
    return x->fragments.items[i].name;
}

size_t
index_fragment_packs(const struct index *x, size_t i)
{
    return x->fragments.items[i].pack_count;
}

struct block_id
index_pack_at(const struct index *x, size_t i, size_t k)
{
    struct block_id pack;
    memcpy(&pack, x->fragments.items[i].packs + k * ID_BYTES, ID_BYTES);
    return pack;
}

size_t
index_fragment_blocks(const struct index *x, size_t i)
{
    return x->fragments.items[i].count;
}

struct index_place
index_at(const struct index *x, size_t i, size_t k, struct block_id *ret_id)
{
    const struct fragment *f = &x->fragments.items[i];
    memcpy(ret_id, f->entries + k * ENTRY_BYTES, ID_BYTES);
    return place_at(f, k);
}
