#include "backup/copy.h"

#include "backup/copy_int.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void step(struct copy *c);

bool
copy_is_stopped(const struct copy *c)
{
    return __atomic_load_n(&c->is_stopped, __ATOMIC_RELAXED);
}

static void
fail(struct copy *c, int r, const struct err *err)
{
    if (r >= 0 || c->r < 0)
        return;
    c->r = r;
    c->err = *err;
}

/* ---- what one thread does ---- */

static void
run_phase(struct work *work)
{
    struct copy *c = container_of(work, struct copy, work);
    struct err err;
    int r = 0;
    if (c->phase == COPY_LOOKS)
        r = copy_look(c, &err);
    else if (c->phase == COPY_PLANS)
        r = copy_plan(c, &err);
    else
        r = c->r < 0 || copy_is_stopped(c) ? copy_keep(c, &err) : copy_commit(c, &err);
    fail(c, r, &err);
}

static void
drop_pieces(struct copy *c)
{
    vec_foreach (&c->pieces, piece) {
        (*piece)->pack->piece = NULL;
        vec_finish(&(*piece)->blocks);
        free(*piece);
    }
    c->pieces.count = c->next_piece = 0;
}

static void
tell(struct copy *c, const struct snapshot_row *row)
{
    if (c->is_damaged) {
        c->told.failed++;
        err_prefix(&c->damage, "snapshot %.12s of %s", row->name,
                   row->is_damaged ? "something" : row->head.name);
        c->wish.found(&c->damage, c->arg);
        return;
    }
    c->told.copied++;
    c->wish.copied(row, c->wish.dry ? row->name : c->name_there, c->arg);
}

static void
begin_sending(struct copy *c)
{
    c->copiers_count = c->todo.count > 0 ? c->wish.threads : 0;
    c->copiers = mem_alloc((c->copiers_count + 1) * sizeof(*c->copiers));
    for (size_t i = 0; i < c->copiers_count; i++)
        copier_init(&c->copiers[i], c);
}

/* What comes next, once a phase has ended. */
static void
go_on(struct copy *c)
{
    const enum copy_phase was = c->phase;
    bool ends = c->r < 0 || copy_is_stopped(c);
    struct err err;
    switch (c->phase) {
    case COPY_LOOKS:
        if (!ends)
            begin_sending(c);
        c->phase = COPY_PLANS;
        break;
    case COPY_PLANS:
        c->phase = COPY_SENDS;
        break;
    case COPY_COMMITS:
        drop_pieces(c);
        if (!ends)
            tell(c, c->todo.items[c->next]);
        c->next++;
        c->phase = COPY_PLANS;
        break;
    case COPY_SENDS:
    case COPY_IS_OVER:
        break;
    }
    bool is_done = was != COPY_LOOKS && c->next == c->todo.count;
    if (ends && !is_done)
        fail(c, err_set_errno(&err, ECANCELED, "the copy was stopped"), &err);
    if (c->phase == COPY_PLANS && (ends || c->next == c->todo.count))
        c->phase = COPY_IS_OVER;
}

static void
on_phase(struct work *work, bool cancelled unused_arg)
{
    struct copy *c = container_of(work, struct copy, work);
    c->at_work--;
    go_on(c);
    step(c);
}

static void
start_phase(struct copy *c)
{
    c->work = (struct work){.run = run_phase, .done = on_phase};
    c->at_work++;
    work_start(c->loop, &c->work);
}

/* ---- what all threads do ---- */

static void
take_sent(struct copy *c, struct copier *k)
{
    c->told.packs += k->sent_packs;
    c->told.blocks += k->sent_blocks;
    c->told.bytes += k->sent_bytes;
    k->sent_packs = k->sent_blocks = k->sent_bytes = 0;
    vec_foreach (&k->names, pair)
        name_pairs_add(&c->names, &pair->here, &pair->there);
    vec_foreach (&k->missing, block)
        (void)blocks_add(&c->missing, &block->id);
    if (k->missing.count > 0 && !c->is_damaged) {
        c->is_damaged = true;
        c->damage = k->missing_err;
    }
    vec_foreach (&k->bases, block)
        vec_push(&c->bases, *block);
    k->names.count = k->missing.count = k->bases.count = 0;
}

static void
run_copier(struct work *work)
{
    copier_send(container_of(work, struct copier, work));
}

static void
on_sent(struct work *work, bool cancelled unused_arg)
{
    struct copier *k = container_of(work, struct copier, work);
    struct copy *c = k->copy;
    c->at_work--;
    k->is_busy = false;
    fail(c, k->r, &k->err);
    take_sent(c, k);
    step(c);
}

static void
start_copiers(struct copy *c)
{
    for (size_t i = 0; i < c->copiers_count && c->next_piece < c->pieces.count; i++) {
        struct copier *k = &c->copiers[i];
        if (k->is_busy)
            continue;
        k->is_busy = true;
        k->piece = c->pieces.items[c->next_piece++];
        k->piece->pack->piece = NULL; /* what is planned from here on is another */
        k->work = (struct work){.run = run_copier, .done = on_sent};
        c->at_work++;
        work_start(c->loop, &k->work);
    }
}

/* What packs need that went whole, or did not, is only known when they have. */
static void
send(struct copy *c)
{
    if (c->r < 0 || copy_is_stopped(c))
        return;
    start_copiers(c);
    if (c->at_work > 0)
        return;
    vec_foreach (&c->bases, block)
        copy_plan_block(c, block);
    c->bases.count = 0;
    start_copiers(c);
}

/* ---- all of it ---- */

static void
end_copy(struct loop_defer *defer)
{
    struct copy *c = container_of(defer, struct copy, defer);
    c->ended(c->r, &c->err, c->arg);
}

/* As if each was there. */
static void
tell_dry(struct copy *c)
{
    for (; c->next < c->todo.count; c->next++) {
        const struct snapshot_row *row = c->todo.items[c->next];
        c->is_damaged = row->is_damaged;
        if (c->is_damaged)
            (void)err_set(&c->damage, ERR_SNAPSHOT_DAMAGED, "it is not what was written");
        tell(c, row);
    }
    c->phase = COPY_IS_OVER;
}

static void
step(struct copy *c)
{
    if (c->phase == COPY_SENDS) {
        send(c);
        if (c->at_work > 0)
            return;
        c->phase = COPY_COMMITS;
    }
    if (c->phase != COPY_LOOKS && c->phase != COPY_IS_OVER && c->wish.dry)
        tell_dry(c);
    if (c->phase == COPY_IS_OVER)
        loop_defer(c->loop, &c->defer);
    else
        start_phase(c);
}

static void
on_more(struct loop_defer *defer)
{
    step(container_of(defer, struct copy, more));
}

/* ---- beginning ---- */

static int
check_wish(const struct copy_wish *w, struct err *reterr)
{
    if (text_eq(w->from->id, w->to->id)) {
        int r = err_set(reterr, ERR_COPY_SAME, "%s and %s are one repository, with the id %s",
                        w->from->where, w->to->where, w->to->id);
        err_fix(reterr, "set backup.copy.to to another place, then: citadel backup init --copy");
        return r;
    }
    int r = repository_need_reading(w->from, reterr);
    return r < 0 ? r : repository_need_reading(w->to, reterr);
}

int
copy_new(struct loop *loop, const struct copy_wish *wish,
         void (*ended)(int r, const struct err *err, void *arg), void *arg, struct copy **ret,
         struct err *reterr)
{
    struct copy *c = mem_new(struct copy);
    assert(wish->threads > 0 && wish->threads <= COPY_THREADS_MAX);
    c->wish = *wish;
    c->loop = loop;
    c->ended = ended;
    c->arg = arg;
    c->more.run = on_more;
    c->defer.run = end_copy;
    c->told.is_read_back = wish->verify || !repository_is_elsewhere(wish->to);
    int r = check_wish(wish, reterr);
    if (r == 0)
        r = lock_take(loop, wish->from, LOCK_READS, "copy", &c->reads, reterr);
    if (r == 0 && !wish->dry)
        r = lock_take(loop, wish->to, LOCK_WRITES, "copy", &c->writes, reterr);
    if (r < 0) {
        copy_free(c);
        return r;
    }
    loop_defer(loop, &c->more);
    *ret = c;
    return 0;
}

void
copy_stop(struct copy *c)
{
    __atomic_store_n(&c->is_stopped, true, __ATOMIC_RELAXED);
}

void
copy_free(struct copy *c)
{
    if (!c)
        return;
    assert(c->at_work == 0);
    loop_defer_cancel(c->loop, &c->more);
    loop_defer_cancel(c->loop, &c->defer);
    drop_pieces(c);
    vec_finish(&c->pieces);
    vec_finish(&c->bases);
    for (size_t i = 0; i < c->copiers_count; i++)
        copier_finish(&c->copiers[i]);
    free(c->copiers);
    vec_finish(&c->packs);
    vec_finish(&c->todo);
    name_pairs_finish(&c->names);
    blocks_finish(&c->planned);
    blocks_finish(&c->missing);
    index_free(c->index);
    known_free(c->known);
    if (c->has_here)
        snapshots_finish(&c->here);
    if (c->has_there)
        snapshots_finish(&c->there);
    lock_release(c->writes);
    lock_release(c->reads);
    free(c);
}

const struct copy_told *
copy_told(const struct copy *c)
{
    return &c->told;
}
