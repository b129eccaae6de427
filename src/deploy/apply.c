#include "deploy/apply.h"

#include "base/text.h"
#include "base/vec.h"
#include "deploy/audit.h"
#include "deploy/pending_int.h"
#include "deploy/room.h"
#include "unit/unit.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct deployment {
    const struct deploy_wish *wish;
    const struct deploy_host *host;
    struct arena *arena;
    struct deploy_outlook outlook;
    struct pending pending;
    struct deploy_end *end;
    bool touched; /* units may have been stopped */
};

/* The files of a generation, by name. */
struct files {
    struct generation_file *items;
    size_t count;
};

const char *
deploy_act_word(enum deploy_act act)
{
    static const char *const words[] = {[DEPLOY_STOP] = "stop",
                                        [DEPLOY_START] = "start",
                                        [DEPLOY_RESTART] = "restart",
                                        [DEPLOY_RELOAD] = "reload"};
    return words[act];
}

static void tell(const struct deploy_host *host, const char *fmt, ...) printf_like(2, 3);

static void
tell(const struct deploy_host *host, const char *fmt, ...)
{
    char line[1024];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    host->tell(host->arg, line);
}

static int
no_room(struct err *reterr)
{
    return err_set(reterr, ERR_TOO_LARGE, "two generations are larger than %llu bytes",
                   (unsigned long long)DEPLOY_BYTES);
}

/* ---- what it would do ---- */

/* Of one that ran, what somebody has changed since is as good as not there: it is replaced. */
static int
load_base(const struct deploy_wish *wish, unsigned number, struct arena *arena, struct files *ret,
          struct err *reterr)
{
    struct err err;
    *ret = (struct files){0};
    if (number == 0 || generation_load(wish->store, number, GENERATION_WHAT_IS_WHOLE, arena,
                                       &ret->items, &ret->count, &err) == 0)
        return 0;
    if (err.id == ERR_GENERATION_DAMAGED || err.id == ERR_GENERATION_NONE)
        return 0;
    if (reterr)
        *reterr = err;
    return -err_row(err.id)->err;
}

static int
load_goal(const struct deploy_wish *wish, struct arena *arena, struct files *ret,
          struct err *reterr)
{
    *ret = (struct files){0};
    if (!wish->files && wish->number == 0)
        return 0;
    if (!wish->files)
        return generation_load(wish->store, wish->number, GENERATION_WHOLE, arena, &ret->items,
                               &ret->count, reterr);
    ret->items = arena_alloc(arena, (wish->count + 1) * sizeof(*ret->items));
    if (!ret->items)
        return no_room(reterr);
    memcpy(ret->items, wish->files, wish->count * sizeof(*ret->items));
    ret->count = wish->count;
    return 0;
}

/* Units that differ, and how. */
struct differing {
    const char *unit;
    enum unit_difference how; /* the most that it did */
};

struct units {
    VEC(struct differing) all;
};

static struct differing *
find_differing(const struct units *units, const char *unit)
{
    for (size_t i = 0; i < units->all.count; i++)
        if (text_eq(units->all.items[i].unit, unit))
            return &units->all.items[i];
    return NULL;
}

static enum unit_difference
how_differing(const struct units *units, const char *unit)
{
    const struct differing *found = find_differing(units, unit);
    return found ? found->how : UNIT_DIFFERS_NOT;
}

static void
note_differing(struct units *units, const char *unit, const struct deploy_change *change)
{
    enum unit_difference how = change->from && change->to
                                   ? unit_compare(change->from->bytes, change->to->bytes)
                                   : UNIT_DIFFERS;
    struct differing *before = find_differing(units, unit);
    if (before)
        before->how = MAX(before->how, how);
    else
        *vec_add(&units->all) = (struct differing){unit, how};
}

/* What a unit may differ from. */
struct differences {
    struct units stale;    /* from any of the generations that they may run as */
    struct units unproven; /* from the last one in which all was well */
};

static int
add_differing(const struct files *from, const struct files *to, struct arena *arena,
              struct units *units, struct err *reterr)
{
    struct deploy_change *items;
    size_t count;
    if (deploy_compare(from->items, from->count, to->items, to->count, arena, &items, &count) < 0)
        return no_room(reterr);
    for (size_t i = 0; i < count; i++) {
        const char *unit = deploy_unit_of(items[i].name);
        if (unit)
            note_differing(units, unit, &items[i]);
    }
    return 0;
}

static const struct generation_file *
find_unit(const struct files *files, const char *unit)
{
    for (size_t i = 0; i < files->count; i++)
        if (text_eq(deploy_unit_of(files->items[i].name), unit))
            return &files->items[i];
    return NULL;
}

bool
deploy_runs(enum deploy_life life)
{
    return life < DEPLOY_RESTS;
}

/* How one that runs differs from what it is meant to be. What was deployed tells, unless the host knows
 * better; what it takes up while it runs, it may not have been told when a deployment was interrupted. */
static enum unit_difference
find_difference(enum deploy_life life, enum unit_difference stale)
{
    if (life == DEPLOY_RUNS_ELSE)
        return UNIT_DIFFERS;
    if (life == DEPLOY_RUNS_LIVE || (life == DEPLOY_RUNS_SO && stale == UNIT_DIFFERS_LIVE))
        return UNIT_DIFFERS_LIVE;
    return life == DEPLOY_RUNS_SO ? UNIT_DIFFERS_NOT : stale;
}

/* What one unit needs; whether it is anything. */
static bool
choose(const char *unit, const struct generation_file *file, enum deploy_life life,
       enum unit_difference stale, struct deploy_order *ret)
{
    *ret = (struct deploy_order){.unit = unit, .changed = stale != UNIT_DIFFERS_NOT};
    if (!file) {
        ret->act = DEPLOY_STOP;
        return deploy_runs(life);
    }
    if (deploy_runs(life)) {
        enum unit_care care = unit_care_of(file->bytes);
        enum unit_difference how = find_difference(life, stale);
        bool in_place = care == UNIT_CARE_RELOAD || how == UNIT_DIFFERS_LIVE;
        ret->act = in_place ? DEPLOY_RELOAD : DEPLOY_RESTART;
        ret->stops_first = care == UNIT_CARE_STOP_FIRST;
        ret->changed = how > UNIT_DIFFERS_AT_BOOT;
        return ret->changed && care != UNIT_CARE_NONE;
    }
    ret->act = DEPLOY_START;
    return (life == DEPLOY_RESTS || (life == DEPLOY_HELD && ret->changed)) &&
           unit_is_wanted(file->bytes);
}

/* The one unit that is of no generation. */
static const struct generation_file whole = {.name = "citadel-ai.target",
                                             .bytes = "[Install]\nWantedBy=multi-user.target\n"};

struct names {
    VEC(const char *) list;
};

static bool
has_name(const struct names *names, const char *name)
{
    for (size_t i = 0; i < names->list.count; i++)
        if (text_eq(names->list.items[i], name))
            return true;
    return false;
}

struct ordering {
    const struct deploy_wish *wish;
    const struct deploy_host *host;
    struct arena *arena;
    struct differences differ;
    VEC(struct deploy_order) orders;
    VEC(const char *) left;
    struct names running, resting; /* units of the goal */
};

static int
order(struct ordering *o, const char *unit, const struct generation_file *file, struct err *reterr)
{
    enum deploy_life life;
    struct deploy_order chosen;
    const struct deploy_wish *w = o->wish;
    int r = o->host->look(o->host->arg, unit, file ? file->bytes : NULL, &life, reterr);
    if (r < 0)
        return r;
    if (life == DEPLOY_SHUNNED && w->insist)
        life = DEPLOY_RESTS;
    if (life == DEPLOY_SHUNNED && file && unit_is_wanted(file->bytes))
        vec_push(&o->left, unit);
    if (file && deploy_runs(life))
        vec_push(&o->running.list, unit);
    if (file && life == DEPLOY_RESTS)
        vec_push(&o->resting.list, unit);
    enum unit_difference how = file ? how_differing(&o->differ.stale, unit) : UNIT_DIFFERS;
    if (!deploy_runs(life))
        how = MAX(how, how_differing(&o->differ.unproven, unit));
    if (choose(unit, file, life, how, &chosen) &&
        (chosen.act != DEPLOY_START || !w->starts || w->starts(unit)))
        vec_push(&o->orders, chosen);
    return 0;
}

/* ---- who makes room, and who comes back ---- */

static struct deploy_order *
find_order(const struct ordering *o, const char *unit)
{
    for (size_t i = 0; i < o->orders.count; i++)
        if (text_eq(o->orders.items[i].unit, unit))
            return &o->orders.items[i];
    return NULL;
}

/* Whether the deployment that is taken back has stopped it. */
static bool
was_stopped(const struct ordering *o, const char *unit)
{
    const struct deploy_orders *all = o->wish->undone;
    for (size_t i = 0; all && i < all->count; i++)
        if (text_eq(all->items[i].unit, unit))
            return all->items[i].act == DEPLOY_STOP || all->items[i].act == DEPLOY_RESTART;
    return false;
}

static int
has_memory(void *arg, const char *unit, bool *ret, struct err *reterr unused_arg)
{
    const struct ordering *o = arg;
    *ret = has_name(&o->running, unit) || (has_name(&o->resting, unit) && was_stopped(o, unit));
    return 0;
}

static int
takes_memory(void *arg, const char *unit, bool *ret, struct err *reterr unused_arg)
{
    const struct deploy_order *order = find_order(arg, unit);
    *ret = order && (order->act == DEPLOY_START || order->act == DEPLOY_RESTART);
    return 0;
}

static void
order_to_make_room(struct ordering *o, const struct deploy_room *room)
{
    struct deploy_order *order = find_order(o, room->unit);
    if (!order)
        order = vec_add(&o->orders);
    *order = (struct deploy_order){
        .act = DEPLOY_STOP, .unit = room->unit, .changed = true, .makes_room_for = room->for_name};
}

static bool
is_among(const struct deploy_room *items, size_t count, const char *unit)
{
    for (size_t i = 0; i < count; i++)
        if (text_eq(items[i].unit, unit))
            return true;
    return false;
}

/* What is not wanted by itself ran all the same, as somebody had asked for it. */
static void
bring_back(struct ordering *o, const struct deploy_room *room, size_t room_count)
{
    for (size_t i = 0; i < o->resting.list.count; i++) {
        const char *unit = o->resting.list.items[i];
        if (was_stopped(o, unit) && !find_order(o, unit) && !is_among(room, room_count, unit))
            vec_push(&o->orders, ((struct deploy_order){.act = DEPLOY_START, .unit = unit}));
    }
}

static int
make_room(struct ordering *o, const struct files *goal, struct err *reterr)
{
    const struct deploy_room_asks asks = {has_memory, takes_memory, o};
    struct deploy_room *items;
    size_t count;
    if (o->orders.count == 0 && !o->wish->undone)
        return 0;
    int r = deploy_room_find(goal->items, goal->count, &asks, o->arena, &items, &count, reterr);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++)
        if (has_name(&o->running, items[i].unit))
            order_to_make_room(o, &items[i]);
    bring_back(o, items, count);
    return 0;
}

/* ---- all orders ---- */

static int
hand_over(struct ordering *o, struct deploy_outlook *ret, struct err *reterr)
{
    struct deploy_orders *orders = &ret->orders;
    orders->items = arena_alloc(o->arena, (o->orders.count + 1) * sizeof(*orders->items));
    ret->left = arena_alloc(o->arena, (o->left.count + 1) * sizeof(*ret->left));
    if (!orders->items || !ret->left)
        return no_room(reterr);
    orders->count = o->orders.count;
    if (orders->count)
        memcpy(orders->items, o->orders.items, orders->count * sizeof(*orders->items));
    ret->left_count = o->left.count;
    if (ret->left_count)
        memcpy(ret->left, o->left.items, ret->left_count * sizeof(*ret->left));
    return 0;
}

/* Those that run, and that neither the goal nor what was before it has. */
static int
order_strangers(struct ordering *o, const struct files *goal, struct err *reterr)
{
    const char **units;
    size_t count;
    if (!o->host->list)
        return 0;
    int r = o->host->list(o->host->arg, o->arena, &units, &count, reterr);
    for (size_t i = 0; r == 0 && i < count; i++)
        if (!find_unit(goal, units[i]) && !find_differing(&o->differ.stale, units[i]))
            r = order(o, units[i], NULL, reterr);
    return r;
}

/* For each unit that goes, has come or stays, and for each that is no more but may still run. */
static int
order_all(struct ordering *o, const struct files *goal, struct deploy_outlook *ret,
          struct err *reterr)
{
    const struct units *stale = &o->differ.stale;
    int r = 0;
    for (size_t i = 0; r == 0 && i < stale->all.count; i++)
        if (!find_unit(goal, stale->all.items[i].unit))
            r = order(o, stale->all.items[i].unit, NULL, reterr);
    if (r == 0)
        r = order_strangers(o, goal, reterr);
    for (size_t i = 0; r == 0 && i < goal->count; i++) {
        const char *unit = deploy_unit_of(goal->items[i].name);
        if (unit)
            r = order(o, unit, &goal->items[i], reterr);
    }
    if (r == 0)
        r = order(o, whole.name, goal->count ? &whole : NULL, reterr);
    if (r == 0)
        r = make_room(o, goal, reterr);
    return r == 0 ? hand_over(o, ret, reterr) : r;
}

/* Units may run as the current generation says, or as what an interrupted deployment left. */
static int
find_differences(struct ordering *o, const struct pending *pending,
                 const struct deploy_outlook *outlook, bool astray, const struct files *goal,
                 struct err *reterr)
{
    struct pending all = *pending;
    struct files from = {0};
    int r = 0;
    pending_add_from(&all, outlook->current);
    for (size_t i = 0; r == 0 && i < all.from_count; i++) {
        r = load_base(o->wish, all.from[i], o->arena, &from, reterr);
        if (r == 0)
            r = add_differing(&from, goal, o->arena, &o->differ.stale, reterr);
    }
    from = (struct files){0};
    if (r == 0 && (all.unknown || astray)) /* they may run as anything */
        r = add_differing(&from, goal, o->arena, &o->differ.stale, reterr);
    if (r == 0 && outlook->stable)
        r = load_base(o->wish, outlook->stable, o->arena, &from, reterr);
    if (r == 0 && outlook->stable)
        r = add_differing(&from, goal, o->arena, &o->differ.unproven, reterr);
    return r;
}

/* Only of this boot: after it everything runs as the current generation says. */
static int
load_pending(const char *state_dir, struct pending *ret, struct err *reterr)
{
    char boot[CLOCK_BOOT_ID_LEN + 1] = "";
    int r = pending_load(state_dir, ret, reterr);
    if (r == 0 && ret->under_way && clock_boot_id(boot) == 0 && !text_eq(boot, ret->boot)) {
        ret->from_count = 0;
        ret->unknown = false;
    }
    return r;
}

static int
find_losses(const struct deploy_wish *wish, const struct files *current, struct arena *arena,
            struct deploy_outlook *ret, struct err *reterr)
{
    struct deploy_lack *losses = arena_alloc(arena, (wish->lack_count + 1) * sizeof(*losses));
    if (!losses)
        return no_room(reterr);
    for (size_t i = 0; i < wish->lack_count; i++)
        if (deploy_is_loss(&wish->lacks[i], current->items, current->count))
            losses[ret->loss_count++] = wish->lacks[i];
    ret->losses = losses;
    return 0;
}

static int
look(const struct deploy_wish *wish, const struct deploy_host *host, struct arena *arena,
     struct pending *ret_pending, struct deploy_outlook *ret, struct err *reterr)
{
    struct ordering o = {.wish = wish, .host = host, .arena = arena};
    struct files current = {0}, goal = {0};
    bool astray = false, ignored;
    *ret = (struct deploy_outlook){0};
    *ret_pending = (struct pending){0};
    int r = generation_or_none(wish->store, GENERATION_CURRENT, &ret->current, &astray, reterr);
    if (r == 0)
        r = generation_or_none(wish->store, GENERATION_STABLE, &ret->stable, &ignored, reterr);
    if (r == 0)
        r = load_pending(wish->state_dir, ret_pending, reterr);
    if (r == 0)
        r = load_base(wish, ret->current, arena, &current, reterr);
    if (r == 0)
        r = find_losses(wish, &current, arena, ret, reterr);
    if (r == 0)
        r = load_goal(wish, arena, &goal, reterr);
    if (r == 0)
        deploy_digest(wish->store, ret->current, goal.items, goal.count, ret->digest);
    if (r == 0 && deploy_compare(current.items, current.count, goal.items, goal.count, arena,
                                 &ret->changes, &ret->change_count) < 0)
        r = no_room(reterr);
    if (r == 0)
        r = find_differences(&o, ret_pending, ret, astray, &goal, reterr);
    if (r == 0)
        r = order_all(&o, &goal, ret, reterr);
    if (r == 0 && !astray)
        r = host->check(host->arg, &ret->behind, reterr);
    ret->behind |= astray;
    ret->same = ret->change_count == 0 && (ret->current || goal.count == 0);
    ret->interrupted = ret_pending->under_way && !ret_pending->failed;
    ret->failed = ret_pending->failed;
    ret->pending_to = ret_pending->to;
    vec_finish(&o.differ.stale.all);
    vec_finish(&o.differ.unproven.all);
    vec_finish(&o.orders);
    vec_finish(&o.left);
    vec_finish(&o.running.list);
    vec_finish(&o.resting.list);
    return r;
}

int
deploy_look(const struct deploy_wish *wish, const struct deploy_host *host, struct arena *arena,
            struct deploy_outlook *ret, struct err *reterr)
{
    struct pending pending;
    return look(wish, host, arena, &pending, ret, reterr);
}

bool
deploy_is_nothing(const struct deploy_outlook *outlook)
{
    return outlook->same && outlook->orders.count == 0 && !outlook->interrupted &&
           !outlook->failed && !outlook->behind;
}

/* ---- what is written down ---- */

static int
write_down(const struct deployment *d, enum event_kind kind, const char *text, struct err *reterr)
{
    char line[600];
    (void)snprintf(line, sizeof(line), "%s: %s", d->wish->why, text);
    return deploy_audit(d->wish->state_dir, kind, d->wish->by, line, reterr);
}

static int
write_down_begin(const struct deployment *d, unsigned goal, struct err *reterr)
{
    char text[64];
    (void)snprintf(text, sizeof(text), "from generation %u to %u", d->outlook.current, goal);
    return write_down(d, EVENT_DEPLOY_BEGUN, text, reterr);
}

/* That it cannot be written down any more undoes nothing. */
static void
write_down_end(const struct deployment *d, int r, const struct err *err)
{
    char text[64];
    struct err ignored;
    (void)snprintf(text, sizeof(text), "generation %u is current", d->end->to);
    if (write_down(d,
                   r == 0             ? EVENT_DEPLOY_DONE
                   : d->end->reverted ? EVENT_DEPLOY_REVERTED
                                      : EVENT_DEPLOY_FAILED,
                   r == 0 ? text : err->what, &ignored) < 0)
        tell(d->host, "%s", ignored.what);
}

/* ---- doing it ---- */

/* Written before the link moves: from then on, nobody knows what runs as what. */
static int
begin(struct deployment *d, unsigned to, struct err *reterr)
{
    struct pending *p = &d->pending;
    if (d->outlook.current)
        pending_add_from(p, d->outlook.current);
    p->under_way = true;
    p->failed = false;
    p->to = to;
    (void)snprintf(p->by, sizeof(p->by), "%s", d->wish->by);
    if (clock_boot_id(p->boot) < 0)
        p->boot[0] = '\0';
    return pending_save(d->wish->state_dir, p, reterr);
}

enum stage { STAGE_STOP, STAGE_RELOAD, STAGE_START };

/* What of an order is done at that stage, if anything. A model that is restarted goes first: others may
 * need the memory that it has. */
static bool
act_at(const struct deploy_order *o, enum stage stage, enum deploy_act *ret)
{
    bool apart = o->act == DEPLOY_RESTART && o->stops_first;
    *ret = !apart ? o->act : stage == STAGE_STOP ? DEPLOY_STOP : DEPLOY_START;
    switch (stage) {
    case STAGE_STOP:
        return *ret == DEPLOY_STOP;
    case STAGE_RELOAD:
        return *ret == DEPLOY_RELOAD;
    case STAGE_START:
        return !o->failed && (*ret == DEPLOY_START || *ret == DEPLOY_RESTART);
    }
    return false;
}

/* All of that stage at once; each is marked with why it failed. */
static int
carry_out(struct deployment *d, enum stage stage, struct err *reterr)
{
    struct deploy_orders *all = &d->outlook.orders;
    struct deploy_order *items = arena_alloc(d->arena, (all->count + 1) * sizeof(*items));
    enum deploy_act act;
    size_t count = 0;
    if (!items)
        return no_room(reterr);
    for (size_t i = 0; i < all->count; i++)
        if (act_at(&all->items[i], stage, &act)) {
            items[count] = all->items[i];
            items[count++].act = act;
        }
    int r = count ? d->host->carry_out(d->host->arg, items, count, reterr) : 0;
    for (size_t i = 0, n = 0; i < all->count; i++)
        if (act_at(&all->items[i], stage, &act)) {
            all->items[i].failed = items[n].failed;
            memcpy(all->items[i].reason, items[n++].reason, sizeof(items->reason));
        }
    d->end->acts += count;
    return r;
}

static const struct deploy_order *
find_failed(const struct deploy_orders *orders, bool changed)
{
    for (size_t i = 0; i < orders->count; i++)
        if (orders->items[i].failed && (orders->items[i].changed || !changed))
            return &orders->items[i];
    return NULL;
}

/* As it was started: systemd forgets of a unit that is gone how it is stopped. */
static int
stop_all(struct deployment *d, bool insist, struct err *reterr)
{
    int r = carry_out(d, STAGE_STOP, reterr);
    const struct deploy_order *failed =
        r == 0 && insist ? find_failed(&d->outlook.orders, false) : NULL;
    return failed ? deploy_explain(failed, reterr) : r;
}

/* What a person has stopped is wanted again. */
static int
want_all(const struct deployment *d, struct err *reterr)
{
    const struct deploy_orders *all = &d->outlook.orders;
    enum deploy_act act;
    int r = 0;
    for (size_t i = 0; r == 0 && d->wish->insist && i < all->count; i++)
        if (act_at(&all->items[i], STAGE_START, &act))
            r = d->host->wish(d->host->arg, all->items[i].unit, true, reterr);
    return r;
}

/* One that does not take up while it runs what it could is started anew; a model stays, and is told. */
static void
restart_the_deaf(struct deployment *d, const struct files *goal)
{
    for (size_t i = 0; i < d->outlook.orders.count; i++) {
        struct deploy_order *o = &d->outlook.orders.items[i];
        if (o->act != DEPLOY_RELOAD || !o->failed ||
            unit_care_of(find_unit(goal, o->unit)->bytes) != UNIT_CARE_RESTART)
            continue;
        tell(d->host, "%s does not take it up while it runs: %s", o->unit, o->reason);
        o->act = DEPLOY_RESTART;
        o->failed = false;
    }
}

static bool
has_failed(const struct deploy_orders *orders, enum deploy_act act)
{
    for (size_t i = 0; i < orders->count; i++)
        if (orders->items[i].failed && orders->items[i].act == act)
            return true;
    return false;
}

/* What others rest on comes first; without it they would fail of something that only follows from it. */
static int
start_all(struct deployment *d, const struct files *goal, struct err *reterr)
{
    int r = want_all(d, reterr);
    if (r == 0)
        r = carry_out(d, STAGE_RELOAD, reterr);
    if (r == 0)
        restart_the_deaf(d, goal);
    return r == 0 && !has_failed(&d->outlook.orders, DEPLOY_RELOAD)
               ? carry_out(d, STAGE_START, reterr)
               : r;
}

static bool
touches_host(const struct deploy_outlook *o)
{
    for (size_t i = 0; i < o->change_count; i++)
        if (text_starts(o->changes[i].name, "units/") && !deploy_unit_of(o->changes[i].name))
            return true;
    return false;
}

/* To a generation that is there, or to nothing; if it insists, not before all has stopped that must. */
static int
move(struct deployment *d, unsigned to, bool insist, struct err *reterr)
{
    const struct deploy_host *host = d->host;
    struct files goal = {0};
    int r = to ? generation_load(d->wish->store, to, GENERATION_WHOLE, d->arena, &goal.items,
                                 &goal.count, reterr)
               : 0;
    if (r == 0)
        r = begin(d, to, reterr);
    if (r == 0) {
        d->touched = true;
        r = stop_all(d, insist, reterr);
    }
    if (r == 0 && (d->outlook.current != to || to == 0))
        r = generation_set(d->wish->store, GENERATION_CURRENT, to, reterr);
    if (r < 0)
        return r;
    d->end->to = to;
    if (d->outlook.behind || touches_host(&d->outlook))
        r = host->prepare(host->arg, to != 0, reterr);
    if (r == 0)
        r = host->reload(host->arg, reterr);
    return r == 0 ? start_all(d, &goal, reterr) : r;
}

static int
settle(struct deployment *d, bool is_stable, struct err *reterr)
{
    unsigned removed;
    int r = 0;
    if (is_stable && d->end->to && d->outlook.stable != d->end->to)
        r = generation_set(d->wish->store, GENERATION_STABLE, d->end->to, reterr);
    if (r == 0)
        r = pending_remove(d->wish->state_dir, reterr);
    return r == 0 ? generation_prune(d->wish->store, d->wish->keep, &removed, reterr) : r;
}

/* The next one is told, and begins from what is known. */
static int
fail(struct deployment *d, const struct err *why, struct err *reterr)
{
    struct err err;
    d->pending.failed = true;
    if (pending_save(d->wish->state_dir, &d->pending, &err) < 0)
        tell(d->host, "%s", err.what);
    int r = d->end->to
                ? err_set(reterr, ERR_DEPLOY_FAILED,
                          "generation %u is current, and not as it should be: %s", d->end->to,
                          why->what)
                : err_set(reterr, ERR_DEPLOY_FAILED,
                          "nothing is deployed any more, but not all has stopped: %s", why->what);
    err_fix(reterr, "%s", why->fix[0] ? why->fix : "citadel generations");
    return r;
}

/* A generation of before comes back; what was wrong with the other is what is told in the end. */
static int
revert(struct deployment *d, unsigned to, unsigned bad, const struct err *why, struct err *reterr)
{
    const struct deploy_orders undone = d->outlook.orders;
    struct deploy_wish back = *d->wish;
    struct err err = {0};
    tell(d->host, "%s", why->what);
    tell(d->host, "going back to generation %u", to);
    back.files = NULL;
    back.number = to;
    back.undone = &undone;
    int r = look(&back, d->host, d->arena, &d->pending, &d->outlook, &err);
    if (r == 0)
        r = move(d, to, false, &err);
    const struct deploy_order *failed = r == 0 ? find_failed(&d->outlook.orders, true) : NULL;
    if (failed) {
        r = deploy_explain(failed, &err);
        err_prefix(&err, "it does not come back as it was");
    }
    if (r == 0)
        r = settle(d, false, &err);
    if (r < 0)
        return fail(d, &err, reterr);
    d->end->reverted = true;
    r = err_set(reterr, ERR_DEPLOY_REVERTED, "generation %u was taken back, and %u runs again: %s",
                bad, to, why->what);
    err_fix(reterr, "%s", why->fix);
    return r;
}

int
deploy_explain(const struct deploy_order *failed, struct err *reterr)
{
    size_t len = strcspn(failed->unit, ".");
    int r = err_set(reterr, ERR_DEPLOY_FAILED, "%s: %s", failed->unit, failed->reason);
    if (text_ends(failed->unit, ".service") && text_starts(failed->unit, "citadel-"))
        err_fix(reterr, "citadel logs %.*s", (int)(len - strlen("citadel-")),
                failed->unit + strlen("citadel-"));
    else
        err_fix(reterr, "systemctl status %s", failed->unit);
    return r;
}

/* Who takes all away wants nothing back. */
static bool
stays(const struct deployment *d)
{
    return d->wish->stay || (!d->wish->files && d->wish->number == 0);
}

/* All was to be started; and what failed, failed just so before. */
static bool
is_proven(const struct deployment *d)
{
    return !d->wish->starts && (!d->end->failed || d->outlook.stable);
}

static int
conclude(struct deployment *d, int r, const struct err *why, struct err *reterr)
{
    struct err err = *why;
    const struct deploy_order *failed = find_failed(&d->outlook.orders, true);
    d->end->failed = failed ? failed : find_failed(&d->outlook.orders, false);
    if (r == 0 && !failed && d->end->to == 0 && d->end->failed)
        failed = d->end->failed;
    if (r == 0 && !failed)
        return settle(d, is_proven(d), reterr);
    if (r == 0)
        (void)deploy_explain(failed, &err);
    if (stays(d) || d->outlook.stable == 0 || d->outlook.stable == d->end->to)
        return fail(d, &err, reterr);
    return revert(d, d->outlook.stable, d->end->to, &err, reterr);
}

static int
find_goal(struct deployment *d, unsigned *ret_number, struct err *reterr)
{
    const struct deploy_wish *w = d->wish;
    if (d->outlook.same || !w->files) {
        *ret_number = w->files ? d->outlook.current : w->number;
        return 0;
    }
    const struct generation_wish add = {w->by, w->why, w->files, w->count};
    return generation_add(w->store, &add, ret_number, reterr);
}

/* To the goal; or, if it cannot be, to where it was. */
static int
go(struct deployment *d, unsigned goal, struct err *reterr)
{
    struct err why = {0};
    int r = move(d, goal, !stays(d), &why);
    if (r == 0 || d->end->to == goal)
        return conclude(d, r, &why, reterr);
    if (d->touched && d->outlook.current && !stays(d))
        return revert(d, d->outlook.current, goal, &why, reterr);
    *reterr = why;
    return r;
}

int
deploy_apply(const struct deploy_wish *wish, const struct deploy_host *host, struct arena *arena,
             struct deploy_end *ret_end, struct err *reterr)
{
    struct deployment d = {.wish = wish, .host = host, .arena = arena, .end = ret_end};
    struct err err = {0};
    unsigned goal = 0;
    *ret_end = (struct deploy_end){0};
    int r = look(wish, host, arena, &d.pending, &d.outlook, reterr);
    if (r == 0)
        r = deploy_digest_check(wish->expect, d.outlook.digest, reterr);
    if (r == 0 && d.outlook.loss_count && !wish->lose)
        r = deploy_refuse_losses(d.outlook.losses, d.outlook.loss_count, reterr);
    if (r < 0)
        return r;
    ret_end->from = ret_end->to = d.outlook.current;
    if (d.outlook.interrupted || d.outlook.failed)
        tell(host, "the deployment of generation %u by %s %s", d.pending.to, d.pending.by,
             d.outlook.failed ? "failed; what it left is replaced"
                              : "was interrupted; it is made good now");
    if (deploy_is_nothing(&d.outlook))
        return 0;
    r = find_goal(&d, &goal, reterr);
    if (r < 0)
        return r;
    r = write_down_begin(&d, goal, reterr);
    if (r < 0)
        return r;
    r = go(&d, goal, &err);
    write_down_end(&d, r, &err);
    if (r < 0 && reterr)
        *reterr = err;
    return r;
}
