#include "backup/known.h"

#include "backup/blocks.h"
#include "backup/mark.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct known {
    struct index *index;
    struct blocks added;
};

/* ---- packs without an index ---- */

static int
by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct block_id));
}

struct packs {
    VEC(struct block_id) items;
};

static bool
has(const struct packs *packs, const struct block_id *pack)
{
    return packs->items.count > 0 &&
           bsearch(pack, packs->items.items, packs->items.count, sizeof(*pack), by_bytes) != NULL;
}

static void
sort(struct packs *packs)
{
    if (packs->items.count > 1)
        qsort(packs->items.items, packs->items.count, sizeof(*packs->items.items), by_bytes);
}

static int
find_going(struct repository *r, struct packs *ret, struct err *reterr)
{
    _cleanup_marks_ struct marks marks = {0};
    int k = marks_read(r, &marks, reterr);
    vec_foreach (&marks.items, mark)
        if (mark->kind == MARK_GOING)
            vec_foreach (&mark->names, name)
                vec_push(&ret->items, *name);
    sort(ret);
    return k;
}

static void
find_indexed(const struct index *x, struct packs *ret)
{
    for (size_t i = 0; i < index_fragments(x); i++)
        for (size_t k = 0; k < index_fragment_packs(x, i); k++)
            vec_push(&ret->items, index_pack_at(x, i, k));
    sort(ret);
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
index_rest(struct repository *r, const struct index *x, const struct packs *going,
           size_t *ret_blocks, struct err *reterr)
{
    const struct object_place place = repository_place(r, REPOSITORY_INDEX);
    struct repository_names names = {0};
    struct index_draft *draft = index_draft_new();
    struct packs indexed = {0};
    char name[HASH_SHA256_HEX];
    find_indexed(x, &indexed);
    int k = repository_list(r, REPOSITORY_PACKS, &names, reterr);
    for (size_t i = 0; i < names.count && k == 0; i++) {
        struct block_id pack;
        memcpy(pack.bytes, names.items[i], sizeof(pack));
        if (!has(&indexed, &pack) && !has(going, &pack))
            k = index_pack(r, &pack, draft, reterr);
    }
    *ret_blocks = index_draft_blocks(draft);
    if (k == 0 && *ret_blocks > 0)
        k = index_draft_write(draft, &place, name, reterr);
    index_draft_free(draft);
    vec_finish(&indexed.items);
    free(names.items);
    return k;
}

static int
open_index(struct repository *repository, const struct packs *going, struct index **ret,
           struct err *reterr)
{
    size_t more = 0;
    int r = index_open(repository, ret, reterr);
    if (r == 0 && repository_need_reading(repository, NULL) == 0)
        r = index_rest(repository, *ret, going, &more, reterr);
    if (r == 0 && more > 0) {
        index_free(*ret);
        *ret = NULL;
        r = index_open(repository, ret, reterr);
    }
    return r;
}

int
known_open(struct repository *repository, struct known **ret, struct err *reterr)
{
    struct index *x = NULL;
    struct packs going = {0};
    int r = find_going(repository, &going, reterr);
    if (r == 0)
        r = open_index(repository, &going, &x, reterr);
    if (r == 0) {
        index_leave_out(x, going.items.items, going.items.count);
        *ret = mem_new(struct known);
        (*ret)->index = x;
    } else {
        index_free(x);
    }
    vec_finish(&going.items);
    return r;
}

void
known_free(struct known *k)
{
    if (!k)
        return;
    index_free(k->index);
    blocks_finish(&k->added);
    free(k);
}

/* ---- asking ---- */

bool
known_has(const struct known *k, const struct block_id *id)
{
    struct index_place place;
    return index_find(k->index, id, &place);
}

const struct index *
known_index(const struct known *k)
{
    return k->index;
}

bool
known_add(struct known *k, const struct block_id *id)
{
    return known_has(k, id) || blocks_add(&k->added, id);
}
