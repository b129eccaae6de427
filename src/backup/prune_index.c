/* The index without packs that go. The new fragment is there before the old ones are not. */

#include "backup/index.h"
#include "backup/prune_int.h"

#include <stdlib.h>
#include <string.h>

#define SMALL_BLOCKS 65536 /* of a fragment that is merged with others, */
#define SMALL_MANY 32      /* where there are so many */

struct kept {
    struct block_id pack;
    struct pack_entry entry;
};

static int
by_name(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct block_id));
}

/* The same entry may be in two fragments. */
static int
by_pack(const void *a, const void *b)
{
    const struct kept *x = a, *y = b;
    int order = memcmp(&x->pack, &y->pack, sizeof(x->pack));
    return order ? order : (x->entry.at > y->entry.at) - (x->entry.at < y->entry.at);
}

static bool
has(const struct block_id *sorted, size_t count, const struct block_id *id)
{
    return count > 0 && bsearch(id, sorted, count, sizeof(*sorted), by_name) != NULL;
}

static bool
is_concerned(const struct index *x, size_t i, const struct block_id *gone, size_t count)
{
    for (size_t k = 0; k < index_fragment_packs(x, i); k++) {
        const struct block_id pack = index_pack_at(x, i, k);
        if (has(gone, count, &pack))
            return true;
    }
    return false;
}

struct rewriting {
    struct index *index;
    bool *concerned; /* of its fragments */
    VEC(struct kept) kept;
};

static void
gather(struct rewriting *w, size_t i, const struct block_id *gone, size_t count)
{
    for (size_t k = 0; k < index_fragment_blocks(w->index, i); k++) {
        struct kept kept = {0};
        const struct index_place place = index_at(w->index, i, k, &kept.entry.id);
        if (has(gone, count, &place.pack))
            continue;
        kept.pack = place.pack;
        kept.entry.at = place.at;
        kept.entry.record_bytes = place.record_bytes;
        kept.entry.block_bytes = place.block_bytes;
        vec_push(&w->kept, kept);
    }
}

static void
find_concerned(struct rewriting *w, const struct block_id *gone, size_t count)
{
    const size_t fragments = index_fragments(w->index);
    size_t small = 0;
    w->concerned = mem_alloc((fragments + 1) * sizeof(*w->concerned));
    for (size_t i = 0; i < fragments; i++)
        small += index_fragment_blocks(w->index, i) < SMALL_BLOCKS;
    for (size_t i = 0; i < fragments; i++) {
        w->concerned[i] = is_concerned(w->index, i, gone, count) ||
                          (small > SMALL_MANY && index_fragment_blocks(w->index, i) < SMALL_BLOCKS);
        if (w->concerned[i])
            gather(w, i, gone, count);
    }
}

/* From one pack's first entry on; returns how many there are. */
static size_t
take_pack(const struct kept *kept, size_t count, struct pack_entry *ret, size_t *ret_count)
{
    size_t n = 0;
    *ret_count = 0;
    for (; n < count && memcmp(&kept[n].pack, &kept[0].pack, sizeof(kept[n].pack)) == 0; n++)
        if (n == 0 || kept[n].entry.at != kept[n - 1].entry.at)
            ret[(*ret_count)++] = kept[n].entry;
    return n;
}

static int
write_kept(struct rewriting *w, struct repository *repository, char ret_name[HASH_SHA256_HEX],
           struct err *reterr)
{
    const struct object_place place = repository_place(repository, REPOSITORY_INDEX);
    struct index_draft *draft = index_draft_new();
    _cleanup_free_ struct pack_entry *entries = mem_alloc((w->kept.count + 1) * sizeof(*entries));
    int r = 0;
    if (w->kept.count > 1)
        qsort(w->kept.items, w->kept.count, sizeof(*w->kept.items), by_pack);
    for (size_t at = 0; at < w->kept.count && r == 0;) {
        const struct kept *first = &w->kept.items[at];
        struct pack_entries list = {.items = entries};
        at += take_pack(first, w->kept.count - at, entries, &list.count);
        r = index_draft_add(draft, &first->pack, &list, reterr);
    }
    if (r == 0 && index_draft_blocks(draft) > 0)
        r = index_draft_write(draft, &place, ret_name, reterr);
    index_draft_free(draft);
    return r;
}

int
prune_index(struct repository *repository, const struct block_id *gone, size_t count,
            struct err *reterr)
{
    struct rewriting w = {0};
    char made[HASH_SHA256_HEX] = "", name[HASH_SHA256_HEX];
    int r = index_open(repository, &w.index, reterr);
    if (r < 0)
        return r;
    find_concerned(&w, gone, count);
    r = write_kept(&w, repository, made, reterr);
    for (size_t i = 0; i < index_fragments(w.index) && r == 0; i++) {
        hash_sha256_hex(index_fragment_name(w.index, i), name);
        if (w.concerned[i] && strcmp(name, made) != 0)
            r = repository_remove(repository, REPOSITORY_INDEX, index_fragment_name(w.index, i),
                                  reterr);
    }
    vec_finish(&w.kept);
    free(w.concerned);
    index_free(w.index);
    return r;
}
