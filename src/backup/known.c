#include "backup/known.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN 1024 /* a power of two, as all sizes */

struct known {
    struct index *index;
    struct block_id *slots; /* of those that are being added; zeros: free */
    size_t room, count;     /* at most 3/4 of the room: 43 to 86 bytes a block */
};

/* ---- packs without an index ---- */

static int
by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct block_id));
}

/* Of all fragments, sorted. */
static struct block_id *
indexed_packs(const struct index *x, size_t *ret_count)
{
    size_t count = 0;
    for (size_t i = 0; i < index_fragments(x); i++)
        count += index_fragment_packs(x, i);
    struct block_id *packs = mem_alloc((count + 1) * sizeof(*packs));
    for (size_t i = 0, at = 0; i < index_fragments(x); i++)
        for (size_t k = 0; k < index_fragment_packs(x, i); k++)
            packs[at++] = index_pack_at(x, i, k);
    qsort(packs, count, sizeof(*packs), by_bytes);
    *ret_count = count;
    return packs;
}

static int
index_pack(struct repository *r, const struct block_id *name, struct index_draft *draft,
           struct err *reterr)
{
    struct repository_file *file = NULL;
    struct pack_entries entries;
    struct err err;
    int k = repository_open_file(r, REPOSITORY_PACKS, name->bytes, &file, &err);
    if (k < 0) {
        if (err.id == ERR_SEAL_DAMAGED)
            return 0;
        if (reterr)
            *reterr = err;
        return k;
    }
    const struct flow_source source = repository_file_source(file);
    if (pack_read_entries(&source, &entries, NULL) == 0) {
        k = index_draft_add(draft, name, &entries, reterr);
        free(entries.items);
    }
    repository_close_file(file);
    return k;
}

/* *ret_blocks: how many were indexed. */
static int
index_rest(struct repository *r, const struct index *x, size_t *ret_blocks, struct err *reterr)
{
    struct repository_names names = {0};
    struct index_draft *draft = index_draft_new();
    size_t count;
    _cleanup_free_ struct block_id *packs = indexed_packs(x, &count);
    char name[HASH_SHA256_HEX];
    const struct object_place place = repository_place(r, REPOSITORY_INDEX);
    int k = repository_list(r, REPOSITORY_PACKS, &names, reterr);
    for (size_t i = 0; i < names.count && k == 0; i++) {
        struct block_id pack;
        memcpy(pack.bytes, names.items[i], sizeof(pack));
        if (!bsearch(&pack, packs, count, sizeof(*packs), by_bytes))
            k = index_pack(r, &pack, draft, reterr);
    }
    *ret_blocks = index_draft_blocks(draft);
    if (k == 0 && *ret_blocks > 0)
        k = index_draft_write(draft, &place, name, reterr);
    index_draft_free(draft);
    free(names.items);
    return k;
}

int
known_open(struct repository *repository, struct known **ret, struct err *reterr)
{
    struct index *x = NULL;
    size_t more = 0;
    int r = index_open(repository, &x, reterr);
    if (r == 0 && repository_need_reading(repository, NULL) == 0)
        r = index_rest(repository, x, &more, reterr);
    if (r == 0 && more > 0) {
        index_free(x);
        x = NULL;
        r = index_open(repository, &x, reterr);
    }
    if (r < 0) {
        index_free(x);
        return r;
    }
    *ret = mem_new(struct known);
    (*ret)->index = x;
    return 0;
}

void
known_free(struct known *k)
{
    if (!k)
        return;
    index_free(k->index);
    free(k->slots);
    free(k);
}

/* ---- asking ---- */

bool
known_has(const struct known *k, const struct block_id *id)
{
    struct index_place place;
    return index_find(k->index, id, &place);
}

/* Where it is, or would be. Digests of what others made are no keys to rely on: hence the hash. */
static struct block_id *
slot_of(struct known *k, const struct block_id *id)
{
    static const struct block_id none;
    size_t at = (size_t)hash_key(id, sizeof(*id)) & (k->room - 1);
    while (memcmp(&k->slots[at], &none, sizeof(none)) != 0 &&
           memcmp(&k->slots[at], id, sizeof(*id)) != 0)
        at = (at + 1) & (k->room - 1);
    return &k->slots[at];
}

static void
grow(struct known *k)
{
    static const struct block_id none;
    _cleanup_free_ struct block_id *old = k->slots;
    size_t room = k->room;
    k->room = room ? 2 * room : SLOTS_MIN;
    k->slots = mem_alloc(k->room * sizeof(*k->slots));
    for (size_t i = 0; i < room; i++)
        if (memcmp(&old[i], &none, sizeof(none)) != 0)
            *slot_of(k, &old[i]) = old[i];
}

bool
known_add(struct known *k, const struct block_id *id)
{
    if (known_has(k, id))
        return true;
    if (4 * (k->count + 1) > 3 * k->room)
        grow(k);
    struct block_id *slot = slot_of(k, id);
    if (memcmp(slot, id, sizeof(*id)) == 0)
        return true;
    *slot = *id;
    k->count++;
    return false;
}
