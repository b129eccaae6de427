#include "backup/verify.h"

#include "backup/known.h"
#include "backup/lock.h"
#include "backup/mark.h"
#include "backup/snapshot.h"
#include "backup/verify_int.h"
#include "base/mem.h"
#include "sys/work.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct checker {
    struct work work;
    struct verify *verify;
    struct pack_check check;
    bool is_busy;
};

struct verify {
    struct verify_wish wish;
    struct verify_told told;
    struct loop *loop;
    void (*ended)(int r, const struct err *err, void *arg);
    void *arg;
    struct loop_defer more, defer;

    struct index *index;
    struct lock *lock;
    VEC(struct block_id) packs; /* that are to be read */
    size_t next;
    VEC(struct block_id) good, bad; /* snapshots */
    VEC(struct block_id) damaged;   /* blocks, sorted in the end, */
    VEC(struct block_id) gone;      /* and packs, likewise */
    struct checker *checkers;
    size_t checkers_count;
    unsigned at_work;
    bool is_over;

    int r;
    struct err err;
};

static void step(struct verify *v);

static void
tell(struct verify *v, const struct err *problem)
{
    v->told.problems++;
    v->wish.found(problem, v->arg);
}

static int
by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct block_id));
}

static bool
has(const struct block_id *sorted, size_t count, const struct block_id *id)
{
    return count > 0 && bsearch(id, sorted, count, sizeof(*sorted), by_bytes) != NULL;
}

/* ---- snapshots ---- */

/* Whether all blocks of a file can be had, as far as is known. */
static bool
is_whole(const struct verify *v, const struct snapshot_entry *e)
{
    struct snapshot_records blocks = e->blocks;
    struct snapshot_block block;
    struct index_place place;
    while (snapshot_next_block(&blocks, &block))
        if (!index_find(v->index, &block.id, &place) || place.block_bytes != block.bytes ||
            has(v->damaged.items, v->damaged.count, &block.id) ||
            has(v->gone.items, v->gone.count, &place.pack))
            return false;
    return true;
}

static void
look_at_file(struct verify *v, const char *name, const struct snapshot_entry *e)
{
    struct err err;
    v->told.files += e->kind == SNAPSHOT_FILE;
    if (e->kind != SNAPSHOT_FILE || is_whole(v, e))
        return;
    v->told.damaged_files++;
    (void)err_set(&err, ERR_BLOCK_MISSING, "snapshot %.12s: '%s' cannot be restored as it was",
                  name, e->path);
    tell(v, &err);
}

static int
read_snapshot(struct verify *v, const uint8_t digest[HASH_SHA256_BYTES], struct err *reterr)
{
    _cleanup_repository_object_ struct repository_object object = {0};
    struct snapshot_reader *reader = mem_new(struct snapshot_reader);
    struct snapshot_head head;
    struct snapshot_entry e;
    char name[HASH_SHA256_HEX];
    hash_sha256_hex(digest, name);
    int r = repository_map(v->wish.repository, REPOSITORY_SNAPSHOTS, digest, true, &object, reterr);
    if (r == 0)
        r = snapshot_open(object.bytes, object.len, reader, &head, reterr);
    while (r >= 0 && (r = snapshot_next(reader, &e, reterr)) > 0)
        look_at_file(v, name, &e);
    free(reader);
    if (r < 0)
        err_prefix(reterr, "snapshot %.12s", name);
    return r;
}

static int
look_at_snapshots(struct verify *v, struct err *reterr)
{
    struct repository_names names = {0};
    int r = 0;
    if (v->wish.snapshot) {
        names.items = mem_alloc(HASH_SHA256_BYTES);
        names.count = 1;
        memcpy(names.items[0], v->wish.snapshot, HASH_SHA256_BYTES);
    } else {
        r = repository_list(v->wish.repository, REPOSITORY_SNAPSHOTS, &names, reterr);
    }
    for (size_t i = 0; i < names.count && r == 0; i++) {
        struct err err;
        uint64_t before = v->told.damaged_files;
        v->told.snapshots++;
        int k = read_snapshot(v, names.items[i], &err);
        if (k < 0)
            tell(v, &err);
        bool is_good = k == 0 && v->told.damaged_files == before;
        struct block_id *name = is_good ? vec_add(&v->good) : vec_add(&v->bad);
        memcpy(name->bytes, names.items[i], sizeof(name->bytes));
    }
    free(names.items);
    return r;
}

/* All that it tells of was looked at now. */
static bool
is_outdated(const struct verify *v, const struct mark *mark)
{
    if (mark->kind != MARK_GOOD && mark->kind != MARK_DAMAGED)
        return false;
    vec_foreach (&mark->names, name)
        if (!has(v->good.items, v->good.count, name) && !has(v->bad.items, v->bad.count, name))
            return false;
    return true;
}

/* So that those who remove snapshots know which to keep. What has seen only a part of the packs
 * says nothing; nor does one who may not write. */
static void
keep_result(struct verify *v)
{
    const struct mark_wish good = {
        .kind = MARK_GOOD, .names = v->good.items, .count = v->good.count};
    const struct mark_wish bad = {
        .kind = MARK_DAMAGED, .names = v->bad.items, .count = v->bad.count};
    _cleanup_marks_ struct marks marks = {0};
    int r = v->wish.sample_percent < 100 || !v->lock ? -EPERM
                                                     : marks_read(v->wish.repository, &marks, NULL);
    if (r == 0 && good.count > 0)
        r = mark_write(v->wish.repository, &good, NULL);
    if (r == 0 && bad.count > 0)
        r = mark_write(v->wish.repository, &bad, NULL);
    vec_foreach (&marks.items, mark)
        if (r == 0 && is_outdated(v, mark))
            r = repository_remove(v->wish.repository, REPOSITORY_MARKS, mark->name, NULL);
}

/* ---- packs ---- */

static void
tell_mended(struct verify *v, const struct pack_check *c)
{
    char name[HASH_SHA256_HEX], what[256];
    v->told.prepared += c->is_prepared;
    if (!c->is_mended)
        return;
    v->told.mended++;
    hash_sha256_hex(c->name.bytes, name);
    (void)snprintf(what, sizeof(what),
                   "packs/%s is mended: %llu bytes were lost in %zu places, the first at byte %llu",
                   name, (unsigned long long)c->told.lost_bytes, c->told.ranges_count,
                   (unsigned long long)c->told.ranges[0].at);
    v->wish.mended(what, v->arg);
}

static void
on_checked(struct work *work, bool cancelled unused_arg)
{
    struct checker *c = container_of(work, struct checker, work);
    struct verify *v = c->verify;
    v->at_work--;
    c->is_busy = false;
    v->told.packs++;
    v->told.bytes += c->check.bytes;
    v->told.blocks += c->check.blocks;
    vec_foreach (&c->check.problems, problem)
        tell(v, problem);
    tell_mended(v, &c->check);
    vec_foreach (&c->check.damaged, id)
        vec_push(&v->damaged, *id);
    if (c->check.is_gone)
        vec_push(&v->gone, c->check.name);
    step(v);
}

static void
run_check(struct work *work)
{
    pack_check_run(&container_of(work, struct checker, work)->check);
}

static void
start(struct verify *v)
{
    for (size_t i = 0; i < v->checkers_count && v->next < v->packs.count; i++) {
        struct checker *c = &v->checkers[i];
        if (c->is_busy)
            continue;
        c->is_busy = true;
        c->check.name = v->packs.items[v->next++];
        c->work = (struct work){.run = run_check, .done = on_checked};
        v->at_work++;
        work_start(v->loop, &c->work);
    }
}

static void
end_verify(struct loop_defer *defer)
{
    struct verify *v = container_of(defer, struct verify, defer);
    v->ended(v->r, &v->err, v->arg);
}

static void
finish(struct verify *v)
{
    v->is_over = true;
    if (v->damaged.count > 1)
        qsort(v->damaged.items, v->damaged.count, sizeof(struct block_id), by_bytes);
    if (v->gone.count > 1)
        qsort(v->gone.items, v->gone.count, sizeof(struct block_id), by_bytes);
    if (v->r == 0)
        v->r = look_at_snapshots(v, &v->err);
    if (v->r == 0)
        keep_result(v);
    loop_defer(v->loop, &v->defer);
}

static void
step(struct verify *v)
{
    if (v->is_over)
        return;
    if (v->r == 0)
        start(v);
    if (v->at_work == 0)
        finish(v);
}

static void
on_more(struct loop_defer *defer)
{
    step(container_of(defer, struct verify, more));
}

/* ---- which packs ---- */

/* Those that hold what a snapshot needs. */
static int
find_needed(struct verify *v, struct err *reterr)
{
    _cleanup_repository_object_ struct repository_object object = {0};
    struct snapshot_reader *reader = mem_new(struct snapshot_reader);
    struct snapshot_head head;
    struct snapshot_entry e;
    struct snapshot_block block;
    struct index_place place;
    struct block_id last = {0};
    int r = repository_map(v->wish.repository, REPOSITORY_SNAPSHOTS, v->wish.snapshot, true,
                           &object, reterr);
    if (r == 0)
        r = snapshot_open(object.bytes, object.len, reader, &head, reterr);
    while (r >= 0 && (r = snapshot_next(reader, &e, reterr)) > 0)
        while (snapshot_next_block(&e.blocks, &block))
            if (index_find(v->index, &block.id, &place) && by_bytes(&place.pack, &last) != 0)
                vec_push(&v->packs, last = place.pack);
    free(reader);
    return r;
}

/* What the index tells of must be there. */
static void
look_for_packs(struct verify *v)
{
    for (size_t i = 0; i < index_fragments(v->index); i++)
        for (size_t k = 0; k < index_fragment_packs(v->index, i); k++) {
            const struct block_id pack = index_pack_at(v->index, i, k);
            char name[HASH_SHA256_HEX];
            struct err err;
            if (has(v->packs.items, v->packs.count, &pack))
                continue;
            hash_sha256_hex(pack.bytes, name);
            (void)err_set(&err, ERR_PACK_DAMAGED, "packs/%s is not there any more", name);
            tell(v, &err);
            vec_push(&v->gone, pack);
        }
}

static int
find_all(struct verify *v, struct err *reterr)
{
    struct repository_names names = {0};
    int r = repository_list(v->wish.repository, REPOSITORY_PACKS, &names, reterr);
    for (size_t i = 0; i < names.count && r == 0; i++)
        memcpy(vec_add(&v->packs)->bytes, names.items[i], HASH_SHA256_BYTES);
    free(names.items);
    if (r == 0)
        look_for_packs(v);
    return r;
}

/* Each once; and of these as many as are to be read, at least one. */
static void
draw(struct verify *v)
{
    size_t count = 0;
    if (v->packs.count > 1)
        qsort(v->packs.items, v->packs.count, sizeof(struct block_id), by_bytes);
    for (size_t i = 0; i < v->packs.count; i++) {
        uint32_t chance = 0;
        if (i > 0 && by_bytes(&v->packs.items[i], &v->packs.items[count ? count - 1 : 0]) == 0)
            continue;
        if (v->wish.sample_percent < 100)
            (void)!getrandom(&chance, sizeof(chance), 0);
        bool last = count == 0 && i + 1 == v->packs.count;
        if (chance < v->wish.sample_percent / 100 * UINT32_MAX || last)
            v->packs.items[count++] = v->packs.items[i];
    }
    v->packs.count = count;
    v->told.total_packs = count;
}

/* Of the packs, which say all that it does. */
static int
repair_index(struct verify *v, struct err *reterr)
{
    struct known *known = NULL;
    size_t count = 0;
    char what[128];
    int r = index_remove_damaged(v->wish.repository, &count, reterr);
    if (r == 0) /* also of one that broke off behind that */
        r = known_open(v->wish.repository, &known, reterr);
    known_free(known);
    if (r == 0 && count > 0) {
        (void)snprintf(what, sizeof(what), "parts of the index that are made anew: %zu", count);
        v->wish.mended(what, v->arg);
    }
    return r;
}

int
verify_new(struct loop *loop, const struct verify_wish *wish,
           void (*ended)(int r, const struct err *err, void *arg), void *arg, struct verify **ret,
           struct err *reterr)
{
    struct verify *v = mem_new(struct verify);
    assert(wish->threads > 0 && wish->threads <= VERIFY_THREADS_MAX);
    v->wish = *wish;
    v->loop = loop;
    v->ended = ended;
    v->arg = arg;
    v->more.run = on_more;
    v->defer.run = end_verify;
    int r = repository_need_reading(wish->repository, reterr);
    repository_forget(wish->repository);
    if (r == 0)
        r = lock_take(loop, wish->repository, wish->repair ? LOCK_WRITES : LOCK_READS, "verify",
                      &v->lock, reterr);
    if (r == 0 && wish->repair)
        r = repair_index(v, reterr);
    if (r == 0)
        r = index_open(wish->repository, &v->index, reterr);
    if (r == 0)
        r = wish->snapshot ? find_needed(v, reterr) : find_all(v, reterr);
    if (r < 0) {
        verify_free(v);
        return r;
    }
    draw(v);
    v->checkers_count = wish->threads;
    v->checkers = mem_alloc(v->checkers_count * sizeof(*v->checkers));
    for (size_t i = 0; i < v->checkers_count; i++) {
        v->checkers[i].verify = v;
        pack_check_init(&v->checkers[i].check, wish->repository, v->index);
        v->checkers[i].check.repaired = wish->repair ? wish->repository : NULL;
        v->checkers[i].check.parity_percent = wish->parity_percent;
    }
    loop_defer(loop, &v->more);
    *ret = v;
    return 0;
}

void
verify_stop(struct verify *v)
{
    if (v->is_over || v->r < 0)
        return;
    v->r = err_set_errno(&v->err, ECANCELED, "the verification was stopped");
    loop_defer(v->loop, &v->more);
}

void
verify_free(struct verify *v)
{
    if (!v)
        return;
    assert(v->at_work == 0);
    loop_defer_cancel(v->loop, &v->more);
    loop_defer_cancel(v->loop, &v->defer);
    for (size_t i = 0; i < v->checkers_count; i++)
        pack_check_finish(&v->checkers[i].check);
    free(v->checkers);
    vec_finish(&v->packs);
    vec_finish(&v->damaged);
    vec_finish(&v->gone);
    vec_finish(&v->good);
    vec_finish(&v->bad);
    index_free(v->index);
    lock_release(v->lock);
    free(v);
}

const struct verify_told *
verify_told(const struct verify *v)
{
    return &v->told;
}
