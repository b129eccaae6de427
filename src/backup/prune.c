#include "backup/known.h"
#include "backup/prune_int.h"
#include "base/text.h"
#include "sys/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool
prune_is_stopped(const struct prune *p)
{
    return __atomic_load_n(&p->is_stopped, __ATOMIC_RELAXED);
}

static int64_t
now_ns(void)
{
    return (int64_t)clock_wall_us() * 1000;
}

static int
by_name(const void *a, const void *b)
{
    return memcmp(a, b, HASH_SHA256_BYTES);
}

#define TIDY_AFTER_US UINT64_C(86400000000) /* nobody sends one object for so long */

/* ---- which snapshots ---- */

static struct block_id
name_of(const struct snapshot_row *row)
{
    struct block_id name;
    object_digest(row->name, name.bytes);
    return name;
}

static struct keep_snapshot
describe(const struct prune *p, const struct snapshot_row *row)
{
    const struct block_id name = name_of(row);
    const struct mark *good = marks_find(&p->marks, MARK_GOOD, &name),
                      *bad = marks_find(&p->marks, MARK_DAMAGED, &name),
                      *deleted = marks_find(&p->marks, MARK_DELETED, &name);
    struct keep_snapshot s = {.begun_ns = row->head.begun_ns,
                              .type = row->head.type,
                              .is_pinned = marks_find(&p->marks, MARK_PINNED, &name) != NULL,
                              .is_deleted = deleted != NULL,
                              .deleted_ns = deleted ? deleted->at_ns : 0};
    memcpy(s.id, name.bytes, sizeof(s.id));
    if (good || bad)
        s.state = !bad || (good && good->at_ns > bad->at_ns) ? KEEP_GOOD : KEEP_DAMAGED;
    return s;
}

static bool
is_same(const struct snapshot_row *a, const struct snapshot_row *b)
{
    return text_eq(a->head.host, b->head.host) && text_eq(a->head.name, b->head.name) &&
           text_eq(a->head.subject, b->head.subject);
}

/* NULL: it is of no subject that is pruned. */
static const struct keep_wish *
rule_of(const struct prune *p, const struct snapshot_row *row)
{
    for (size_t i = 0; i < p->wish.rules_count && !row->is_damaged; i++)
        if (text_eq(p->wish.rules[i].subject, row->head.subject))
            return &p->wish.rules[i].keep;
    return NULL;
}

/* All of one subject and host, that of row i. */
static void
decide_group(struct prune *p, size_t i, bool *decided)
{
    const struct snapshots *all = &p->snapshots;
    _cleanup_free_ struct keep_snapshot *some = mem_alloc(all->count * sizeof(*some));
    _cleanup_free_ struct keep_verdict *verdicts = mem_alloc(all->count * sizeof(*verdicts));
    _cleanup_free_ size_t *rows = mem_alloc(all->count * sizeof(*rows));
    size_t count = 0;
    for (size_t k = i; k < all->count; k++) {
        if (decided[k] || !is_same(&all->rows[k], &all->rows[i]))
            continue;
        decided[k] = true;
        rows[count] = k;
        some[count++] = describe(p, &all->rows[k]);
    }
    keep_decide(some, count, rule_of(p, &all->rows[i]), now_ns(), verdicts);
    for (size_t k = 0; k < count; k++)
        p->verdicts[rows[k]] = verdicts[k];
}

/* What is damaged, or of another subject, stays. */
static void
decide(struct prune *p)
{
    const struct snapshots *all = &p->snapshots;
    _cleanup_free_ bool *decided = mem_alloc(all->count + 1);
    p->verdicts = mem_alloc((all->count + 1) * sizeof(*p->verdicts));
    for (size_t i = 0; i < all->count; i++)
        decided[i] = !rule_of(p, &all->rows[i]);
    for (size_t i = 0; i < all->count; i++)
        if (!decided[i])
            decide_group(p, i, decided);
    p->told.snapshots = all->count;
}

static int
delete_some(struct prune *p, struct err *reterr)
{
    VEC(struct block_id) names = {0};
    for (size_t i = 0; i < p->snapshots.count; i++)
        if (p->verdicts[i].fate == KEEP_GOES)
            vec_push(&names, name_of(&p->snapshots.rows[i]));
    const struct mark_wish wish = {
        .kind = MARK_DELETED, .names = names.items, .count = names.count};
    p->told.deleted = names.count;
    int r = names.count > 0 && !p->wish.dry ? mark_write(p->wish.repository, &wish, reterr) : 0;
    vec_finish(&names);
    return r;
}

static bool
has_sums(const struct prune *p, const uint8_t sums[HASH_SHA256_BYTES])
{
    for (size_t i = 0; i < p->snapshots.count; i++)
        if (p->verdicts[i].fate != KEEP_ENDS && !p->snapshots.rows[i].is_damaged &&
            memcmp(p->snapshots.rows[i].end.sums, sums, HASH_SHA256_BYTES) == 0)
            return true;
    return false;
}

static int
remove_some(struct prune *p, struct err *reterr)
{
    int r = 0;
    for (size_t i = 0; i < p->snapshots.count && r == 0; i++) {
        const struct snapshot_row *row = &p->snapshots.rows[i];
        const struct block_id name = name_of(row);
        if (p->verdicts[i].fate != KEEP_ENDS)
            continue;
        p->told.removed++;
        if (p->wish.dry)
            continue;
        r = repository_remove(p->wish.repository, REPOSITORY_SNAPSHOTS, name.bytes, reterr);
        if (r == 0 && !has_sums(p, row->end.sums))
            r = repository_remove(p->wish.repository, REPOSITORY_SUMS, row->end.sums, reterr);
    }
    return r;
}

/* Those about snapshots that are all gone say nothing any more. */
static int
sweep_marks(struct prune *p, struct err *reterr)
{
    struct repository_names names = {0};
    int r = repository_list(p->wish.repository, REPOSITORY_SNAPSHOTS, &names, reterr);
    vec_foreach (&p->marks.items, mark) {
        bool holds = mark->kind == MARK_GOING;
        vec_foreach (&mark->names, name)
            holds = holds || (names.count > 0 && bsearch(name, names.items, names.count,
                                                         sizeof(*names.items), by_name));
        if (r == 0 && !holds)
            r = repository_remove(p->wish.repository, REPOSITORY_MARKS, mark->name, reterr);
    }
    free(names.items);
    return r;
}

/* ---- all of it, on a thread ---- */

static int
refuse_second(struct prune *p, struct err *reterr)
{
    vec_foreach (&p->locks.items, l) {
        if (l->is_ours || l->is_dead || l->kind != LOCK_PRUNES)
            continue;
        int r = err_set(reterr, ERR_REPOSITORY_BUSY, "%s prunes the repository %s already",
                        l->host[0] ? l->host : "somebody", p->wish.repository->where);
        err_fix(reterr, "wait until that has ended; if it has crashed: citadel backup unlock");
        return r;
    }
    return 0;
}

/* Before anybody goes on without them: whoever has lost his lock finds that out before he relies
 * on anything. */
static int
remove_dead(struct prune *p, struct err *reterr)
{
    int r = 0;
    vec_foreach (&p->locks.items, l)
        if (l->is_dead && r == 0 && !p->wish.dry)
            r = lock_remove(p->wish.repository, l, reterr);
    return r;
}

/* What a crash has left is known from here on, and goes or stays as all else; what others store
 * now is theirs. */
static int
index_rest(struct prune *p, struct err *reterr)
{
    struct known *known = NULL;
    int r = p->wish.dry || prune_is_beside(&p->locks)
                ? 0
                : known_open(p->wish.repository, &known, reterr);
    known_free(known);
    return r;
}

static int
look_around(struct prune *p, struct err *reterr)
{
    int r = locks_read(p->wish.repository, p->lock, &p->locks, reterr);
    if (r == 0)
        r = refuse_second(p, reterr);
    if (r == 0)
        r = remove_dead(p, reterr);
    if (r == 0 && !p->wish.dry && p->locks.now_us > TIDY_AFTER_US) /* not all hosts can tell */
        (void)!repository_tidy(p->wish.repository, p->locks.now_us - TIDY_AFTER_US, NULL);
    if (r == 0)
        r = marks_read(p->wish.repository, &p->marks, reterr);
    if (r == 0)
        r = index_rest(p, reterr);
    if (r == 0)
        r = snapshots_read(p->wish.repository, &p->snapshots, reterr);
    p->has_snapshots = r == 0;
    return r;
}

static int
prune_all(struct prune *p, struct err *reterr)
{
    int r = look_around(p, reterr);
    if (r < 0)
        return r;
    decide(p);
    r = remove_some(p, reterr);
    if (r == 0)
        r = delete_some(p, reterr);
    if (r == 0 && !p->wish.dry)
        r = sweep_marks(p, reterr);
    if (r == 0)
        r = prune_look(p, reterr);
    if (r < 0 || p->wish.dry)
        return r;
    r = prune_copy(p, reterr);
    return r < 0 ? r : prune_sweep(p, reterr);
}

static void
run_prune(struct work *work)
{
    struct prune *p = container_of(work, struct prune, work);
    p->r = prune_all(p, &p->err);
    if (p->r == 0 && prune_is_stopped(p))
        p->r = err_set_errno(&p->err, ECANCELED, "the pruning was stopped");
}

/* ---- beginning and end ---- */

static void
end_prune(struct loop_defer *defer)
{
    struct prune *p = container_of(defer, struct prune, defer);
    p->ended(p->r, &p->err, p->arg);
}

static void
on_pruned(struct work *work, bool cancelled unused_arg)
{
    struct prune *p = container_of(work, struct prune, work);
    p->is_at_work = false;
    loop_defer(p->loop, &p->defer);
}

int
prune_new(struct loop *loop, const struct prune_wish *wish,
          void (*ended)(int r, const struct err *err, void *arg), void *arg, struct prune **ret,
          struct err *reterr)
{
    struct prune *p = mem_new(struct prune);
    p->wish = *wish;
    p->loop = loop;
    p->ended = ended;
    p->arg = arg;
    p->defer.run = end_prune;
    int r = repository_need_reading(wish->repository, reterr);
    if (r == 0)
        r = lock_take(loop, wish->repository, LOCK_PRUNES, "prune", &p->lock, reterr);
    if (r < 0) {
        prune_free(p);
        return r;
    }
    p->is_at_work = true;
    p->work = (struct work){.run = run_prune, .done = on_pruned};
    work_start(loop, &p->work);
    *ret = p;
    return 0;
}

void
prune_stop(struct prune *p)
{
    __atomic_store_n(&p->is_stopped, true, __ATOMIC_RELAXED);
}

void
prune_free(struct prune *p)
{
    if (!p)
        return;
    assert(!p->is_at_work);
    loop_defer_cancel(p->loop, &p->defer);
    if (p->has_snapshots)
        snapshots_finish(&p->snapshots);
    marks_finish(&p->marks);
    locks_finish(&p->locks);
    blocks_finish(&p->wants.blocks);
    blocks_finish(&p->wants.bases);
    vec_finish(&p->packs);
    vec_finish(&p->made);
    free(p->verdicts);
    lock_release(p->lock);
    free(p);
}

const struct prune_told *
prune_told(const struct prune *p)
{
    return &p->told;
}

void
prune_tell(const struct prune *p,
           void (*tell)(const struct snapshot_row *row, const struct keep_verdict *verdict,
                        const struct keep_wish *keep, void *arg),
           void *arg)
{
    static const struct keep_wish none;
    for (size_t i = 0; p->verdicts && i < p->snapshots.count; i++) {
        const struct keep_wish *keep = rule_of(p, &p->snapshots.rows[i]);
        tell(&p->snapshots.rows[i], &p->verdicts[i], keep ? keep : &none, arg);
    }
}
