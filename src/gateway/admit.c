#include "gateway/admit.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/quantity.h"

#include <inttypes.h>
#include <stdlib.h>

/* The requests of one key in one class. It lives as long as it has any, and then until another
 * takes its place among the idle ones, or has been given as much.
 *
 * `taken` counts what the key was given, on a scale that all lanes of a class share:
 * `floor` is where the last one stood that started, without what is only estimated: who
 * claims much lifts nobody. */
struct admit_lane {
    uint64_t key;
    unsigned class;
    uint64_t taken;
    uint64_t estimated; /* of that: for those that run */
    uint32_t waiting, running;
    uint64_t turns; /* that were given to who waits */
    struct admit_ask *first, *last;
    struct heap_item by_taken;    /* while any waits */
    struct heap_item by_waiting;  /* likewise: the longest first */
    struct admit_lane *next_same; /* of its bucket */
    struct admit_lane *next_idle, *previous_idle;
};

struct lanes {
    struct admit_lane **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
    struct admit_lane *spare; /* by next_same */
    struct admit_lane *first_idle, *last_idle;
    size_t idle_count;
};

struct class
{
    struct heap by_taken;
    struct heap by_waiting;
    uint64_t floor;
    uint32_t running, waiting;
};

struct admit {
    struct admit_limits limits;
    enum admit_presence presence;
    uint64_t ready_us; /* when a model that is coming should be there; 0: nobody can say */
    struct class classes[ADMIT_CLASSES];
    struct lanes lanes;
    struct heap deadlines;
    struct admit_ask *first_order, *last_order;
    struct admit_counts counts;
    uint64_t held_us; /* how long a slot is held, smoothed; 0: not known yet */
};

#define BUCKETS_MIN 16
#define RETRY_MAX_S UINT64_C(3600)
#define TOKENS_MAX (UINT64_C(1) << 40) /* of one request: sums of them do not overflow */

/* ---- lanes ---- */

static struct admit_lane **
bucket_of(const struct lanes *lanes, uint64_t key, unsigned class)
{
    const uint64_t both[] = {key, class};
    return &lanes->buckets[hash_key(both, sizeof(both)) & (lanes->bucket_count - 1)];
}

static void
grow(struct lanes *lanes)
{
    struct lanes old = *lanes;
    lanes->bucket_count = old.bucket_count ? 2 * old.bucket_count : BUCKETS_MIN;
    lanes->buckets = mem_alloc(lanes->bucket_count * sizeof(struct admit_lane *));
    for (size_t i = 0; i < old.bucket_count; i++)
        for (struct admit_lane *lane = old.buckets[i], *next; lane; lane = next) {
            struct admit_lane **bucket = bucket_of(lanes, lane->key, lane->class);
            next = lane->next_same;
            lane->next_same = *bucket;
            *bucket = lane;
        }
    free(old.buckets);
}

static void
unlink_idle(struct lanes *lanes, struct admit_lane *lane)
{
    *(lane->previous_idle ? &lane->previous_idle->next_idle : &lanes->first_idle) = lane->next_idle;
    *(lane->next_idle ? &lane->next_idle->previous_idle : &lanes->last_idle) = lane->previous_idle;
    lane->next_idle = lane->previous_idle = NULL;
    lanes->idle_count--;
}

static bool
is_idle(const struct admit_lane *lane)
{
    return lane->waiting == 0 && lane->running == 0;
}

static struct admit_lane *
find_lane(struct lanes *lanes, uint64_t key, unsigned class)
{
    if (lanes->count == lanes->bucket_count)
        grow(lanes);
    struct admit_lane **bucket = bucket_of(lanes, key, class), *lane = *bucket;
    while (lane && !(lane->key == key && lane->class == class))
        lane = lane->next_same;
    if (lane) {
        if (is_idle(lane))
            unlink_idle(lanes, lane);
        return lane;
    }
    lane = lanes->spare;
    if (lane)
        lanes->spare = lane->next_same;
    else
        lane = mem_new(struct admit_lane);
    *lane = (struct admit_lane){.key = key, .class = class, .next_same = *bucket};
    *bucket = lane;
    lanes->count++;
    return lane;
}

static void
drop_lane(struct lanes *lanes, struct admit_lane *lane)
{
    struct admit_lane **at = bucket_of(lanes, lane->key, lane->class);
    while (*at != lane)
        at = &(*at)->next_same;
    *at = lane->next_same;
    lane->next_same = lanes->spare;
    lanes->spare = lane;
    lanes->count--;
}

/* A key that has nothing here any more is remembered while it is ahead of the others. */
static void
rest_lane(struct admit *a, struct admit_lane *lane)
{
    struct lanes *lanes = &a->lanes;
    if (!is_idle(lane))
        return;
    if (lane->taken <= a->classes[lane->class].floor) {
        drop_lane(lanes, lane);
        return;
    }
    if (lanes->idle_count == ADMIT_IDLE_KEYS_MAX) {
        struct admit_lane *oldest = lanes->first_idle;
        unlink_idle(lanes, oldest);
        drop_lane(lanes, oldest);
    }
    lane->previous_idle = lanes->last_idle;
    *(lanes->last_idle ? &lanes->last_idle->next_idle : &lanes->first_idle) = lane;
    lanes->last_idle = lane;
    lanes->idle_count++;
}

static uint64_t
cost_of(uint64_t tokens)
{
    return MIN(MAX(tokens, UINT64_C(1)), TOKENS_MAX);
}

/* ---- orders ---- */

static void
give_order(struct admit *a, struct admit_ask *ask, enum admit_order order)
{
    ask->order = order;
    ask->is_ordered = true;
    ask->next_order = NULL;
    ask->previous_order = a->last_order;
    *(a->last_order ? &a->last_order->next_order : &a->first_order) = ask;
    a->last_order = ask;
}

static void
unlink_order(struct admit *a, struct admit_ask *ask)
{
    if (!ask->is_ordered)
        return;
    *(ask->previous_order ? &ask->previous_order->next_order : &a->first_order) = ask->next_order;
    *(ask->next_order ? &ask->next_order->previous_order : &a->last_order) = ask->previous_order;
    ask->is_ordered = false;
}

struct admit_ask *
admit_take_order(struct admit *a)
{
    struct admit_ask *ask = a->first_order;
    if (ask)
        unlink_order(a, ask);
    return ask;
}

/* As long as everybody takes to start who waits now, at the pace so far. */
static uint64_t
retry_after(const struct admit *a, uint64_t now_us)
{
    uint64_t wait_us = 0, slots = MAX(a->limits.slots, 1U);
    if (a->presence != ADMIT_THERE && a->ready_us == 0)
        return 0;
    if (a->presence == ADMIT_THERE && a->held_us == 0)
        return 0;
    if (a->presence != ADMIT_THERE && a->ready_us > now_us)
        wait_us = a->ready_us - now_us;
    wait_us += a->held_us * (a->counts.waiting + UINT64_C(1)) / slots;
    return MIN(MAX((wait_us + 999999) / 1000000, UINT64_C(1)), RETRY_MAX_S);
}

static void
refuse(struct admit *a, struct admit_ask *ask, enum admit_order order, uint64_t now_us)
{
    ask->state = ADMIT_OUTSIDE;
    ask->lane = NULL;
    ask->retry_after_s = retry_after(a, now_us);
    a->counts.refused++;
    give_order(a, ask, order);
}

/* ---- the queue ---- */

static void
rank_lane(struct admit *a, struct admit_lane *lane)
{
    struct class *class = &a->classes[lane->class];
    bool ranked = lane->by_taken.place != 0;
    if (lane->waiting == 0 && ranked) {
        heap_remove(&class->by_taken, &lane->by_taken);
        heap_remove(&class->by_waiting, &lane->by_waiting);
    } else if (lane->waiting && ranked) {
        heap_move(&class->by_taken, &lane->by_taken, lane->taken);
        heap_move(&class->by_waiting, &lane->by_waiting, UINT64_MAX - lane->waiting);
    } else if (lane->waiting) {
        heap_add(&class->by_taken, &lane->by_taken, lane->taken);
        heap_add(&class->by_waiting, &lane->by_waiting, UINT64_MAX - lane->waiting);
    }
}

static void
enqueue(struct admit *a, struct admit_lane *lane, struct admit_ask *ask, uint64_t now_us)
{
    struct class *class = &a->classes[ask->class];
    if (lane->waiting == 0)
        lane->taken = MAX(lane->taken, class->floor);
    ask->state = ADMIT_WAITING;
    ask->lane = lane;
    ask->next = NULL;
    ask->turn = lane->turns++;
    ask->previous = lane->last;
    *(lane->last ? &lane->last->next : &lane->first) = ask;
    lane->last = ask;
    lane->waiting++;
    class->waiting++;
    a->counts.waiting++;
    uint64_t never = UINT64_MAX - 1;
    heap_add(&a->deadlines, &ask->deadline,
             ask->wait_us < never - now_us ? now_us + ask->wait_us : never);
    rank_lane(a, lane);
}

/* Its lane may be empty then: who calls lets it rest. */
static void
dequeue(struct admit *a, struct admit_ask *ask)
{
    struct admit_lane *lane = ask->lane;
    *(ask->previous ? &ask->previous->next : &lane->first) = ask->next;
    *(ask->next ? &ask->next->previous : &lane->last) = ask->previous;
    ask->next = ask->previous = NULL;
    lane->waiting--;
    a->classes[lane->class].waiting--;
    a->counts.waiting--;
    heap_remove(&a->deadlines, &ask->deadline);
    rank_lane(a, lane);
}

static void
send_away(struct admit *a, struct admit_ask *ask, enum admit_order order, uint64_t now_us)
{
    struct admit_lane *lane = ask->lane;
    dequeue(a, ask);
    rest_lane(a, lane);
    refuse(a, ask, order, now_us);
}

/* ---- slots ---- */

/* Beside those that run, the reserved slots of higher classes that are
 * free are not there for it. */
static bool
may_start(const struct admit *a, unsigned class)
{
    uint64_t used = a->counts.running;
    for (unsigned c = 0; c < class; c++)
        if (a->limits.reserved[c] > a->classes[c].running)
            used += a->limits.reserved[c] - a->classes[c].running;
    return a->presence == ADMIT_THERE && used < a->limits.slots;
}

static void
start(struct admit *a, struct admit_lane *lane, struct admit_ask *ask, uint64_t now_us)
{
    struct class *class = &a->classes[ask->class];
    class->floor = MAX(class->floor, lane->taken - lane->estimated);
    lane->taken += cost_of(ask->tokens);
    lane->estimated += cost_of(ask->tokens);
    lane->running++;
    class->running++;
    a->counts.running++;
    ask->state = ADMIT_RUNNING;
    ask->lane = lane;
    ask->started_us = now_us;
    give_order(a, ask, ADMIT_GO);
}

/* Whoever may start now does. After each event nobody waits who could run. */
static void
fill_slots(struct admit *a, uint64_t now_us)
{
    for (unsigned c = 0; c < ADMIT_CLASSES; c++)
        while (a->classes[c].waiting && may_start(a, c)) {
            struct heap_item *item = heap_first(&a->classes[c].by_taken);
            struct admit_lane *lane = container_of(item, struct admit_lane, by_taken);
            struct admit_ask *ask = lane->first;
            dequeue(a, ask);
            start(a, lane, ask, now_us);
            rank_lane(a, lane);
        }
}

/* ---- events ---- */

/* A place in a full queue: that of the last one of who has the most there, in the lowest class that
 * has any. Not for who has as many himself. */
static bool
make_room(struct admit *a, const struct admit_lane *lane, uint64_t now_us)
{
    unsigned c = ADMIT_CLASSES - 1;
    while (c > lane->class && a->classes[c].waiting == 0)
        c--;
    struct heap_item *item = heap_first(&a->classes[c].by_waiting);
    if (!item)
        return false;
    struct admit_lane *longest = container_of(item, struct admit_lane, by_waiting);
    if (c == lane->class && longest->waiting <= lane->waiting + 1)
        return false;
    send_away(a, longest->last, ADMIT_FULL, now_us);
    return true;
}

void
admit_arrive(struct admit *a, struct admit_ask *ask, uint64_t now_us)
{
    assert(ask->state == ADMIT_OUTSIDE && !ask->is_ordered && ask->class < ADMIT_CLASSES);
    a->counts.arrived++;
    ask->arrived_us = now_us;
    if (a->presence == ADMIT_GONE) {
        refuse(a, ask, ADMIT_NOT_NOW, now_us);
        return;
    }
    struct admit_lane *lane = find_lane(&a->lanes, ask->key, ask->class);
    if (may_start(a, ask->class)) {
        lane->taken = MAX(lane->taken, a->classes[ask->class].floor);
        start(a, lane, ask, now_us);
    } else if (ask->wait_us == 0) {
        refuse(a, ask, a->presence == ADMIT_THERE ? ADMIT_WAITED : ADMIT_NOT_NOW, now_us);
        rest_lane(a, lane);
    } else if (a->counts.waiting < a->limits.queue || make_room(a, lane, now_us)) {
        enqueue(a, lane, ask, now_us);
    } else {
        refuse(a, ask, ADMIT_FULL, now_us);
        rest_lane(a, lane);
    }
}

/* A slot comes free; what its key was given is put right. */
static void
end_run(struct admit *a, struct admit_ask *ask, uint64_t tokens, uint64_t now_us)
{
    struct admit_lane *lane = ask->lane;
    uint64_t estimate = cost_of(ask->tokens);
    ask->state = ADMIT_OUTSIDE;
    ask->lane = NULL;
    lane->running--;
    a->classes[lane->class].running--;
    a->counts.running--;
    lane->taken += cost_of(tokens) - estimate;
    lane->estimated -= estimate;
    if (lane->waiting)
        lane->taken = MAX(lane->taken, a->classes[lane->class].floor);
    rank_lane(a, lane);
    rest_lane(a, lane);
    fill_slots(a, now_us);
}

void
admit_done(struct admit *a, struct admit_ask *ask, uint64_t tokens, uint64_t now_us)
{
    assert(ask->state == ADMIT_RUNNING);
    uint64_t held_us = MAX(now_us - MIN(now_us, ask->started_us), UINT64_C(1));
    a->held_us = a->held_us ? (7 * a->held_us + held_us) / 8 : held_us;
    a->counts.done++;
    unlink_order(a, ask);
    end_run(a, ask, tokens, now_us);
}

void
admit_leave(struct admit *a, struct admit_ask *ask, uint64_t now_us)
{
    unlink_order(a, ask);
    if (ask->state == ADMIT_OUTSIDE)
        return;
    a->counts.left++;
    if (ask->state == ADMIT_RUNNING) {
        end_run(a, ask, 0, now_us);
        return;
    }
    struct admit_lane *lane = ask->lane;
    dequeue(a, ask);
    ask->state = ADMIT_OUTSIDE;
    ask->lane = NULL;
    rest_lane(a, lane);
}

static struct admit_ask *
first_deadline(const struct admit *a)
{
    struct heap_item *item = heap_first(&a->deadlines);
    return item ? container_of(item, struct admit_ask, deadline) : NULL;
}

void
admit_tick(struct admit *a, uint64_t now_us)
{
    enum admit_order order = a->presence == ADMIT_THERE ? ADMIT_WAITED : ADMIT_NOT_NOW;
    for (struct admit_ask *ask; (ask = first_deadline(a)) && ask->deadline.rank <= now_us;)
        send_away(a, ask, order, now_us);
}

uint64_t
admit_next_us(const struct admit *a)
{
    const struct admit_ask *ask = first_deadline(a);
    return ask ? ask->deadline.rank : UINT64_MAX;
}

void
admit_set_presence(struct admit *a, enum admit_presence presence, uint64_t ready_in_us,
                   uint64_t now_us)
{
    a->presence = presence;
    a->ready_us = ready_in_us ? now_us + ready_in_us : 0;
    for (struct admit_ask *ask; presence == ADMIT_GONE && (ask = first_deadline(a));)
        send_away(a, ask, ADMIT_NOT_NOW, now_us);
    fill_slots(a, now_us);
}

void
admit_set_limits(struct admit *a, const struct admit_limits *limits, uint64_t now_us)
{
    uint32_t left = limits->slots;
    a->limits = *limits;
    for (unsigned c = 0; c < ADMIT_CLASSES; c++) {
        a->limits.reserved[c] = MIN(a->limits.reserved[c], left);
        left -= a->limits.reserved[c];
    }
    fill_slots(a, now_us);
}

/* ---- questions ---- */

const struct admit_counts *
admit_counts(const struct admit *a)
{
    return &a->counts;
}

/* Who has left meanwhile has kept his turn. */
uint32_t
admit_before(const struct admit *a, const struct admit_ask *ask)
{
    const struct admit_lane *lane = ask->lane;
    assert(ask->state == ADMIT_WAITING);
    uint64_t own = MIN(ask->turn - lane->first->turn, lane->waiting - UINT64_C(1));
    uint32_t before = a->classes[lane->class].waiting - lane->waiting + (uint32_t)own;
    for (unsigned c = 0; c < lane->class; c++)
        before += a->classes[c].waiting;
    return before;
}

int
admit_refusal(const struct admit_ask *ask, const char *model, struct err *reterr)
{
    quantity_text within;
    int r = 0;
    switch (ask->order) {
    case ADMIT_FULL:
        r = err_set(reterr, ERR_QUEUE_FULL, "too many requests wait for %s already", model);
        break;
    case ADMIT_WAITED:
        r = err_set(reterr, ERR_WAITED, "%s had no free place within %s", model,
                    quantity_print_us(ask->wait_us, within));
        break;
    case ADMIT_NOT_NOW:
        r = err_set(reterr, ERR_MODEL_AWAY, "%s is not there to answer", model);
        break;
    case ADMIT_GO:
        break;
    }
    assert(r < 0);
    if (ask->retry_after_s)
        err_fix(reterr, "try again in %" PRIu64 " s", ask->retry_after_s);
    return r;
}

struct admit *
admit_new(const struct admit_limits *limits)
{
    struct admit *a = mem_new(struct admit);
    admit_set_limits(a, limits, 0);
    return a;
}

void
admit_free(struct admit *a)
{
    if (!a)
        return;
    assert(a->counts.waiting == 0 && a->counts.running == 0 && !a->first_order);
    while (a->lanes.first_idle) {
        struct admit_lane *lane = a->lanes.first_idle;
        unlink_idle(&a->lanes, lane);
        drop_lane(&a->lanes, lane);
    }
    for (struct admit_lane *lane; (lane = a->lanes.spare);) {
        a->lanes.spare = lane->next_same;
        free(lane);
    }
    for (unsigned c = 0; c < ADMIT_CLASSES; c++) {
        heap_finish(&a->classes[c].by_taken);
        heap_finish(&a->classes[c].by_waiting);
    }
    heap_finish(&a->deadlines);
    free(a->lanes.buckets);
    free(a);
}
