/* Packs that are not needed: said to be going, and removed when nobody can rely on them any more. */

#include "backup/prune_int.h"

#include <stdlib.h>
#include <string.h>

static int
by_name(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct block_id));
}

static struct prune_pack *
find(struct prune *p, const struct block_id *name)
{
    return p->packs.count > 0
               ? bsearch(name, p->packs.items, p->packs.count, sizeof(*p->packs.items), by_name)
               : NULL;
}

/* ---- removing ---- */

/* The index first, the pack last, then what said that it goes. */
static int
remove_packs(struct prune *p, const struct block_id *names, size_t count, struct err *reterr)
{
    int r = prune_index(p->wish.repository, names, count, reterr);
    for (size_t i = 0; i < count && r == 0; i++) {
        const struct prune_pack *pack = find(p, &names[i]);
        r = repository_remove(p->wish.repository, REPOSITORY_PARITY, names[i].bytes, reterr);
        if (r == 0)
            r = repository_remove(p->wish.repository, REPOSITORY_PACKS, names[i].bytes, reterr);
        if (r == 0 && pack) {
            p->told.removed_packs++;
            p->told.removed_bytes += pack->bytes;
        }
    }
    return r;
}

/* ---- those that others have said to be going ---- */

static bool
is_alive(const struct prune *p, const struct block_id *name)
{
    vec_foreach (&p->locks.items, l)
        if (!l->is_dead && !l->is_ours && memcmp(l->name, name, sizeof(*name)) == 0)
            return true;
    return false;
}

static bool
is_waiting(const struct prune *p, const struct mark *mark)
{
    vec_foreach (&mark->waits_for, name)
        if (is_alive(p, name))
            return true;
    return false;
}

/* A snapshot has come that needs it, or it cannot be read: it stays. */
static bool
stays(struct prune *p, const struct block_id *name)
{
    const struct prune_pack *pack = find(p, name);
    return pack && (pack->needed_bytes > 0 || pack->is_unread);
}

static int
sweep_mark(struct prune *p, const struct mark *mark, struct err *reterr)
{
    VEC(struct block_id) gone = {0};
    vec_foreach (&mark->names, name)
        if (!stays(p, name))
            vec_push(&gone, *name);
    if (gone.count > 1)
        qsort(gone.items, gone.count, sizeof(*gone.items), by_name);
    int r = remove_packs(p, gone.items, gone.count, reterr);
    if (r == 0)
        r = repository_remove(p->wish.repository, REPOSITORY_MARKS, mark->name, reterr);
    vec_finish(&gone);
    return r;
}

/* As many as are at work: none of them is ours. */
static void
find_at_work(const struct locks *locks, struct block_id **ret, size_t *ret_count)
{
    *ret = mem_alloc((locks->items.count + 1) * sizeof(**ret));
    *ret_count = 0;
    vec_foreach (&locks->items, l)
        if (!l->is_ours && !l->is_dead)
            memcpy((*ret)[(*ret_count)++].bytes, l->name, sizeof(**ret));
}

/* The same, and for whom it waits; what said it before goes. */
static int
say_for_whom(struct prune *p, const struct mark *mark, const struct locks *locks,
             struct err *reterr)
{
    _cleanup_free_ struct block_id *at_work = NULL;
    struct mark_wish wish = {
        .kind = MARK_GOING, .names = mark->names.items, .count = mark->names.count};
    find_at_work(locks, &at_work, &wish.waits_count);
    wish.waits_for = at_work;
    p->told.going_packs += mark->names.count;
    int r = mark_write(p->wish.repository, &wish, reterr);
    return r < 0 ? r : repository_remove(p->wish.repository, REPOSITORY_MARKS, mark->name, reterr);
}

static int
sweep_going(struct prune *p, struct err *reterr)
{
    int r = 0;
    vec_foreach (&p->marks.items, mark) {
        if (r < 0 || mark->kind != MARK_GOING || prune_is_stopped(p))
            continue;
        if (!mark->has_waited && prune_is_beside(&p->locks))
            r = say_for_whom(p, mark, &p->locks, reterr);
        else if (is_waiting(p, mark))
            p->told.going_packs += mark->names.count;
        else
            r = sweep_mark(p, mark, reterr);
    }
    return r;
}

/* ---- more of them ---- */

bool
prune_is_beside(const struct locks *locks)
{
    vec_foreach (&locks->items, l)
        if (!l->is_ours && !l->is_dead)
            return true;
    return false;
}

/* What no fragment of the index tells of may be what somebody is storing now. */
static bool
may_go(const struct prune_pack *pack, bool at_work)
{
    return !pack->is_going && !pack->is_unread && pack->needed_bytes == 0 &&
           (pack->is_indexed || !at_work);
}

static bool
are_snapshots_the_same(const struct prune *p)
{
    struct repository_names names = {0};
    size_t count = 0;
    bool same = repository_list(p->wish.repository, REPOSITORY_SNAPSHOTS, &names, NULL) == 0;
    for (size_t i = 0; i < p->snapshots.count && same; i++) {
        uint8_t name[HASH_SHA256_BYTES];
        if (p->verdicts[i].fate == KEEP_ENDS)
            continue;
        object_digest(p->snapshots.rows[i].name, name);
        count++;
        same = names.count > 0 &&
               bsearch(name, names.items, names.count, sizeof(*names.items), by_name);
    }
    same = same && count == names.count;
    free(names.items);
    return same;
}

/* Nor may a pack have come whose blocks have bases in those that go: of a backup that was stopped. */
static bool
are_packs_the_same(struct prune *p)
{
    struct repository_names names = {0};
    bool same = repository_list(p->wish.repository, REPOSITORY_PACKS, &names, NULL) == 0;
    for (size_t i = 0; i < names.count && same; i++) {
        struct block_id name;
        memcpy(name.bytes, names.items[i], sizeof(name));
        same = find(p, &name) != NULL;
        vec_foreach (&p->made, made)
            same = same || by_name(made, &name) == 0;
    }
    free(names.items);
    return same;
}

/* The mark that has just been made of these packs: as it lies there. */
static const struct mark *
find_made(const struct marks *marks, const struct block_id *name)
{
    return marks_find(marks, MARK_GOING, name);
}

/* It is said, then looked who was at work when it was: whoever came later knows it. */
static int
say_and_wait(struct prune *p, const struct block_id *names, size_t count, struct err *reterr)
{
    _cleanup_marks_ struct marks marks = {0};
    _cleanup_locks_ struct locks locks = {0};
    const struct mark_wish wish = {.kind = MARK_GOING, .names = names, .count = count};
    int r = mark_write(p->wish.repository, &wish, reterr);
    if (r == 0)
        r = locks_read(p->wish.repository, p->lock, &locks, reterr);
    if (r == 0)
        r = marks_read(p->wish.repository, &marks, reterr);
    const struct mark *made = r == 0 ? find_made(&marks, &names[0]) : NULL;
    if (!made)
        return r;
    if (prune_is_beside(&locks) || !are_snapshots_the_same(p) || !are_packs_the_same(p))
        return say_for_whom(p, made, &locks, reterr);
    return sweep_mark(p, made, reterr);
}

static int
sweep_more(struct prune *p, struct err *reterr)
{
    VEC(struct block_id) names = {0};
    bool at_work = prune_is_beside(&p->locks);
    vec_foreach (&p->packs, pack)
        if (may_go(pack, at_work) && names.count < MARK_NAMES_MAX)
            vec_push(&names, pack->name);
    int r = names.count > 0 && !prune_is_stopped(p)
                ? say_and_wait(p, names.items, names.count, reterr)
                : 0;
    vec_finish(&names);
    return r;
}

/* While a pack cannot be read, nobody knows what its blocks have as bases. */
int
prune_sweep(struct prune *p, struct err *reterr)
{
    bool all_read = p->told.unread_packs == 0;
    int r = all_read ? sweep_going(p, reterr) : 0;
    if (r == 0 && all_read)
        r = sweep_more(p, reterr);
    if (r == 0 && !prune_is_stopped(p))
        r = prune_index(p->wish.repository, NULL, 0, reterr); /* many small parts become one */
    return r;
}
