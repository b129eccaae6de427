#include "gateway/admit.h"

#include "base/mem.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>

#define SECOND UINT64_C(1000000)

static void
arrive(struct admit *a, struct admit_ask *ask, uint64_t key, unsigned class, uint64_t tokens,
       uint64_t now_us)
{
    *ask = (struct admit_ask){.key = key, .class = class, .tokens = tokens, .wait_us = 60 * SECOND};
    admit_arrive(a, ask, now_us);
}

static unsigned
take_orders(struct admit *a)
{
    unsigned orders = 0;
    while (admit_take_order(a))
        orders++;
    return orders;
}

static void
leave(struct admit *a, struct admit_ask *asks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        admit_leave(a, &asks[i], 0);
    (void)take_orders(a);
    for (size_t i = 0; i < count; i++) /* whom the others' slots have let in */
        admit_leave(a, &asks[i], 0);
}

static void
leave_all(struct admit *a, struct admit_ask *asks, size_t count)
{
    leave(a, asks, count);
    const struct admit_counts *c = admit_counts(a);
    CHECK_EQ(c->running, 0);
    CHECK_EQ(c->waiting, 0);
    CHECK_EQ(c->arrived, c->done + c->left + c->refused);
}

TEST(who_finds_a_slot_goes_and_the_others_wait)
{
    struct admit *a = admit_new(&(struct admit_limits){.slots = 2, .queue = 1});
    struct admit_ask asks[4];
    for (unsigned i = 0; i < 4; i++)
        arrive(a, &asks[i], 1, 0, 10, 0);
    for (unsigned i = 0; i < 2; i++) {
        struct admit_ask *ask = admit_take_order(a);
        CHECK(ask == &asks[i] && ask->order == ADMIT_GO && ask->state == ADMIT_RUNNING);
    }
    CHECK_EQ(asks[2].state, ADMIT_WAITING);
    CHECK(admit_take_order(a) == &asks[3]);
    CHECK_EQ(asks[3].order, ADMIT_FULL);
    CHECK(admit_take_order(a) == NULL);
    admit_done(a, &asks[1], 10, SECOND);
    CHECK(admit_take_order(a) == &asks[2]);
    CHECK_EQ(asks[2].order, ADMIT_GO);
    leave_all(a, asks, 4);
    admit_free(a);
}

TEST(a_wait_ends_when_its_time_is_over)
{
    struct admit *a = admit_new(&(struct admit_limits){.slots = 1, .queue = 9});
    struct admit_ask asks[3];
    arrive(a, &asks[0], 1, 0, 10, 0);
    arrive(a, &asks[1], 1, 0, 10, 5);
    asks[2] = (struct admit_ask){.key = 2, .wait_us = 7};
    admit_arrive(a, &asks[2], 10);
    CHECK_EQ(take_orders(a), 1);
    CHECK_EQ(admit_next_us(a), 17);
    admit_tick(a, 16);
    CHECK(admit_take_order(a) == NULL);
    admit_tick(a, 17);
    CHECK(admit_take_order(a) == &asks[2]);
    CHECK_EQ(asks[2].order, ADMIT_WAITED);
    CHECK_EQ(admit_next_us(a), 60 * SECOND + 5);
    admit_set_presence(a, ADMIT_COMING, 0, 20);
    admit_tick(a, 61 * SECOND);
    CHECK(admit_take_order(a) == &asks[1]);
    CHECK_EQ(asks[1].order, ADMIT_NOT_NOW);
    CHECK_EQ(admit_next_us(a), UINT64_MAX);
    leave_all(a, asks, 3);
    admit_free(a);
}

TEST(who_may_not_wait_is_told_at_once)
{
    struct admit *a = admit_new(&(struct admit_limits){.slots = 1, .queue = 9});
    struct admit_ask first, now = {.key = 2};
    arrive(a, &first, 1, 0, 10, 0);
    admit_arrive(a, &now, 1);
    CHECK_EQ(take_orders(a), 2);
    CHECK_EQ(now.order, ADMIT_WAITED);
    CHECK_EQ(now.state, ADMIT_OUTSIDE);
    admit_done(a, &first, 1, 2);
    admit_free(a);
}

TEST(a_model_that_is_not_there_is_waited_for_while_it_comes)
{
    struct admit *a = admit_new(&(struct admit_limits){.slots = 1, .queue = 9});
    struct admit_ask asks[3];
    admit_set_presence(a, ADMIT_COMING, 20 * SECOND, 0);
    arrive(a, &asks[0], 1, 0, 10, 0);
    arrive(a, &asks[1], 1, 0, 10, 0);
    CHECK(admit_take_order(a) == NULL);
    admit_set_presence(a, ADMIT_THERE, 0, 20 * SECOND);
    CHECK(admit_take_order(a) == &asks[0]);
    CHECK(admit_take_order(a) == NULL);
    admit_set_presence(a, ADMIT_GONE, 90 * SECOND, 21 * SECOND);
    CHECK(admit_take_order(a) == &asks[1]);
    CHECK_EQ(asks[1].order, ADMIT_NOT_NOW);
    CHECK_EQ(asks[1].retry_after_s, 90);
    CHECK_EQ(asks[0].state, ADMIT_RUNNING);
    arrive(a, &asks[2], 1, 0, 10, 22 * SECOND);
    CHECK_EQ(take_orders(a), 1);
    CHECK_EQ(asks[2].order, ADMIT_NOT_NOW);
    leave_all(a, asks, 3);
    admit_free(a);
}

TEST(a_reserved_slot_waits_for_its_class)
{
    struct admit *a =
        admit_new(&(struct admit_limits){.slots = 4, .reserved = {1, 2}, .queue = 99});
    struct admit_ask asks[10];
    for (unsigned i = 0; i < 4; i++) /* of the lowest: one slot is not reserved */
        arrive(a, &asks[i], 1, 3, 10, 0);
    CHECK_EQ(take_orders(a), 1);
    for (unsigned i = 4; i < 8; i++) /* the two of its own, since the free one is taken */
        arrive(a, &asks[i], 1, 1, 10, 0);
    CHECK_EQ(take_orders(a), 2);
    arrive(a, &asks[8], 1, 0, 10, 0);
    CHECK_EQ(take_orders(a), 1);
    arrive(a, &asks[9], 1, 0, 10, 0);
    CHECK_EQ(take_orders(a), 0);
    admit_done(a, &asks[0], 10, 1); /* the free one comes free: the highest class is first */
    CHECK(admit_take_order(a) == &asks[9]);
    CHECK_EQ(take_orders(a), 0);
    leave_all(a, asks, 10);
    admit_free(a);
}

/* A flood of one key is served in turn with the others, and leaves them room in the queue. */
TEST(a_flood_of_one_key_does_not_drown_the_others)
{
    struct admit *a = admit_new(&(struct admit_limits){.slots = 1, .queue = 20});
    struct admit_ask flood[50], other[5];
    unsigned refused = 0;
    for (unsigned i = 0; i < 50; i++)
        arrive(a, &flood[i], 1, 0, 10, 0);
    for (unsigned i = 0; i < 5; i++)
        arrive(a, &other[i], 2 + i, 0, 10, 0);
    (void)take_orders(a);
    for (unsigned i = 0; i < 50; i++)
        refused += flood[i].state == ADMIT_OUTSIDE && flood[i].order == ADMIT_FULL;
    CHECK_EQ(refused, 50 - 1 - 15);
    CHECK_EQ(flood[20].state, ADMIT_OUTSIDE); /* the newest ones made room */
    CHECK_EQ(flood[15].state, ADMIT_WAITING);
    for (unsigned i = 0; i < 5; i++)
        CHECK_EQ(other[i].state, ADMIT_WAITING);
    admit_done(a, &flood[0], 10, 1);
    for (unsigned i = 0; i < 6; i++) {
        struct admit_ask *ask = admit_take_order(a);
        REQUIRE(ask != NULL);
        admit_done(a, ask, 10, 2);
    }
    for (unsigned i = 0; i < 5; i++)
        CHECK_EQ(other[i].state, ADMIT_OUTSIDE);
    leave(a, flood, 50);
    leave(a, other, 5);
    leave(a, flood, 50);
    leave_all(a, other, 5);
    admit_free(a);
}

/* Of a lower class, room is made for a higher one; not the other way. */
TEST(a_full_queue_makes_room_for_a_higher_class)
{
    struct admit *a = admit_new(&(struct admit_limits){.slots = 1, .queue = 2});
    struct admit_ask asks[6];
    arrive(a, &asks[0], 1, 0, 10, 0);
    arrive(a, &asks[1], 1, 2, 10, 0);
    arrive(a, &asks[2], 2, 2, 10, 0);
    arrive(a, &asks[3], 3, 1, 10, 0);
    CHECK_EQ(take_orders(a), 2);
    CHECK(asks[1].state == ADMIT_OUTSIDE || asks[2].state == ADMIT_OUTSIDE);
    arrive(a, &asks[4], 3, 3, 10, 0);
    CHECK(admit_take_order(a) == &asks[4]);
    CHECK_EQ(asks[4].order, ADMIT_FULL);
    arrive(a, &asks[5], 9, 0, 10, 0);
    CHECK_EQ(take_orders(a), 1);
    CHECK_EQ(asks[5].state, ADMIT_WAITING);
    CHECK_EQ(asks[3].state, ADMIT_WAITING);
    leave_all(a, asks, 6);
    admit_free(a);
}

/* With one slot, and always something to do: each key gets the same tokens, whatever
 * its requests ask for and however wrong the estimates are; to within its largest
 * request and that of another. */
TEST(keys_share_by_tokens_and_not_by_requests)
{
    static const struct {
        uint64_t estimate, real;
    } keys[] = {{100, 100}, {10, 10}, {100, 20}, {1, 50}};
    struct admit *a = admit_new(&(struct admit_limits){.slots = 1, .queue = 99});
    struct admit_ask asks[ARRAY_SIZE(keys)][2] = {0}, *running;
    uint64_t given[ARRAY_SIZE(keys)] = {0};
    for (unsigned k = 0; k < ARRAY_SIZE(keys); k++)
        for (unsigned i = 0; i < 2; i++)
            arrive(a, &asks[k][i], k, 0, keys[k].estimate, 0);
    for (unsigned n = 0; n < 5000; n++) {
        running = admit_take_order(a);
        REQUIRE(running != NULL);
        uint64_t k = running->key;
        given[k] += keys[k].real;
        admit_done(a, running, keys[k].real, n);
        arrive(a, running, k, 0, keys[k].estimate, n);
    }
    for (unsigned k = 1; k < ARRAY_SIZE(keys); k++) {
        int64_t apart = (int64_t)(given[k] - given[0]);
        tap_note("key %u: %lld apart", k, (long long)apart);
        CHECK(apart <= 200 && apart >= -200);
    }
    leave_all(a, &asks[0][0], 2 * ARRAY_SIZE(keys));
    admit_free(a);
}

/* A pause earns nothing: of what runs and the next slots who comes back gets
 * as many as who was there. */
TEST(a_key_that_comes_back_begins_where_the_others_are)
{
    struct admit *a = admit_new(&(struct admit_limits){.slots = 4, .queue = 99});
    struct admit_ask steady[40], back[40], *running[4];
    unsigned backs = 0;
    for (unsigned i = 0; i < 40; i++)
        arrive(a, &steady[i], 1, 0, 10, 0);
    for (unsigned i = 0; i < 20; i++)
        admit_done(a, admit_take_order(a), 10, i);
    for (unsigned i = 0; i < 40; i++)
        arrive(a, &back[i], 2, 0, 10, 30);
    for (unsigned i = 0; i < 4; i++)
        running[i] = admit_take_order(a);
    for (unsigned i = 0; i < 4; i++)
        admit_done(a, running[i], 10, 40);
    for (unsigned i = 0; i < 12; i++) {
        struct admit_ask *ask = admit_take_order(a);
        REQUIRE(ask != NULL);
        backs += ask->key == 2;
        admit_done(a, ask, 10, 50 + i);
    }
    CHECK(backs >= 7 && backs <= 9); /* 4 of the others ran before */
    leave(a, steady, 40);
    leave(a, back, 40);
    leave(a, steady, 40);
    leave_all(a, back, 40);
    admit_free(a);
}

TEST(a_key_that_took_much_waits_also_after_it_was_gone)
{
    struct admit *a = admit_new(&(struct admit_limits){.slots = 1, .queue = 99});
    struct admit_ask big, small[10];
    arrive(a, &big, 1, 0, 1000, 0);
    for (unsigned i = 0; i < 10; i++)
        arrive(a, &small[i], 2, 0, 10, 0);
    CHECK(admit_take_order(a) == &big);
    admit_done(a, &big, 1000, 1);
    arrive(a, &big, 1, 0, 1000, 1);
    for (unsigned i = 0; i < 10; i++) {
        CHECK(admit_take_order(a) == &small[i]);
        admit_done(a, &small[i], 10, 2);
    }
    CHECK(admit_take_order(a) == &big);
    admit_done(a, &big, 1000, 3);
    admit_free(a);
}

/* What others claim, and do not take, is no reason to forget it. */
TEST(a_debt_is_not_paid_by_what_others_claim)
{
    struct admit_limits limits = {.slots = 2, .queue = 9};
    struct admit *a = admit_new(&limits);
    struct admit_ask debtor, claims[2], running, other;
    arrive(a, &debtor, 1, 0, 1000, 0);
    CHECK(admit_take_order(a) == &debtor);
    admit_done(a, &debtor, 1000, 1);
    for (unsigned i = 0; i < 2; i++)
        arrive(a, &claims[i], 2, 0, UINT32_MAX, 1);
    CHECK_EQ(take_orders(a), 2);
    for (unsigned i = 0; i < 2; i++)
        admit_done(a, &claims[i], 10, 2);
    limits.slots = 1;
    admit_set_limits(a, &limits, 2);
    arrive(a, &running, 3, 0, 10, 2);
    arrive(a, &debtor, 1, 0, 10, 2);
    arrive(a, &other, 4, 0, 10, 2);
    CHECK(admit_take_order(a) == &running);
    admit_done(a, &running, 10, 3);
    CHECK(admit_take_order(a) == &other);
    admit_done(a, &other, 10, 4);
    CHECK(admit_take_order(a) == &debtor);
    admit_done(a, &debtor, 10, 5);
    admit_free(a);
}

TEST(retry_after_is_an_estimate_or_nothing)
{
    struct admit *a = admit_new(&(struct admit_limits){.slots = 2, .queue = 2});
    struct admit_ask asks[5], late;
    for (unsigned i = 0; i < 5; i++)
        arrive(a, &asks[i], 1, 0, 10, 0);
    CHECK_EQ(asks[4].order, ADMIT_FULL);
    CHECK_EQ(asks[4].retry_after_s, 0); /* nothing was ever done */
    (void)take_orders(a);
    admit_done(a, &asks[0], 10, 10 * SECOND); /* a slot is held for 10 s */
    arrive(a, &asks[0], 1, 0, 10, 10 * SECOND);
    arrive(a, &late, 1, 0, 10, 10 * SECOND);
    CHECK_EQ(late.order, ADMIT_FULL);
    CHECK_EQ(late.retry_after_s, 15); /* two that wait and itself, two at a time */
    (void)take_orders(a);
    leave_all(a, asks, 5);
    admit_free(a);
}

TEST(refusals_say_what_and_when)
{
    static const struct {
        enum admit_order order;
        uint64_t retry_after_s;
        int r;
        const char *what, *fix;
    } rows[] = {
        {ADMIT_FULL, 7, -EAGAIN, "too many requests wait for phi3 already", "try again in 7 s"},
        {ADMIT_WAITED, 0, -ETIMEDOUT, "phi3 had no free place within 1m", ""},
        {ADMIT_NOT_NOW, 90, -EAGAIN, "phi3 is not there to answer", "try again in 90 s"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct admit_ask ask = {
            .order = rows[i].order, .retry_after_s = rows[i].retry_after_s, .wait_us = 60 * SECOND};
        struct err err = {0};
        CHECK_EQ(admit_refusal(&ask, "phi3", &err), rows[i].r);
        CHECK_STR(err.what, rows[i].what);
        CHECK_STR(err.fix, rows[i].fix);
    }
}

/* ---- any order of events ---- */

#define ASKS 64

struct driver {
    struct admit *a;
    struct admit_limits limits;
    enum admit_presence presence;
    struct admit_ask asks[ASKS];
    uint64_t number[ASKS]; /* in the order of arrival */
    bool ended[ASKS];      /* outside, or its end was told */
    uint64_t arrivals, ends, now_us;
    uint32_t seed;
};

static uint32_t
draw(struct driver *d, uint32_t below)
{
    d->seed = d->seed * 1664525 + 1013904223;
    return (d->seed >> 8) % below;
}

static void
draw_limits(struct driver *d)
{
    d->limits = (struct admit_limits){.slots = draw(d, 6), .queue = draw(d, 20)};
    uint32_t left = d->limits.slots;
    for (unsigned c = 0; c < ADMIT_CLASSES; c++) {
        d->limits.reserved[c] = draw(d, 3);
        d->limits.reserved[c] = MIN(d->limits.reserved[c], left);
        left -= d->limits.reserved[c];
    }
}

static void
end(struct driver *d, size_t i)
{
    CHECK(!d->ended[i]);
    d->ended[i] = true;
    d->ends++;
}

/* One event. */
static void
drive(struct driver *d)
{
    size_t i = draw(d, ASKS);
    struct admit_ask *ask = &d->asks[i];
    d->now_us += draw(d, 20);
    uint32_t what = draw(d, 100);
    if (what < 50 && d->ended[i]) {
        *ask = (struct admit_ask){.key = draw(d, 5),
                                  .class = draw(d, ADMIT_CLASSES),
                                  .tokens = draw(d, 100),
                                  .wait_us = draw(d, 400)};
        d->number[i] = d->arrivals++;
        d->ended[i] = false;
        admit_arrive(d->a, ask, d->now_us);
    } else if (what < 80 && ask->state == ADMIT_RUNNING) {
        end(d, i);
        admit_done(d->a, ask, draw(d, 100), d->now_us);
    } else if (what < 88 && !d->ended[i]) {
        end(d, i);
        admit_leave(d->a, ask, d->now_us);
    } else if (what < 96) {
        admit_tick(d->a, d->now_us);
    } else if (what < 98) {
        d->presence = (enum admit_presence)draw(d, 3);
        admit_set_presence(d->a, d->presence, draw(d, 100), d->now_us);
    } else {
        draw_limits(d);
        admit_set_limits(d->a, &d->limits, d->now_us);
    }
}

static uint32_t
running_of(const struct driver *d, unsigned class)
{
    uint32_t n = 0;
    for (size_t i = 0; i < ASKS; i++)
        n += d->asks[i].state == ADMIT_RUNNING && d->asks[i].class == class;
    return n;
}

/* Slots that are not there for one more of a class. */
static uint32_t
used_for(const struct driver *d, unsigned class)
{
    uint32_t used = 0;
    for (unsigned c = 0; c < ADMIT_CLASSES; c++) {
        uint32_t running = running_of(d, c);
        used += c < class ? MAX(running, d->limits.reserved[c]) : running;
    }
    return used;
}

/* The oldest of its key and class. */
static void
check_first(const struct driver *d, size_t i)
{
    for (size_t k = 0; k < ASKS; k++)
        CHECK(!(d->asks[k].state == ADMIT_WAITING && d->asks[k].key == d->asks[i].key &&
                d->asks[k].class == d->asks[i].class && d->number[k] < d->number[i]));
}

static void
check_orders(struct driver *d)
{
    unsigned lowest = 0;
    bool any = false;
    for (struct admit_ask *ask; (ask = admit_take_order(d->a));) {
        size_t i = (size_t)(ask - d->asks);
        CHECK(!d->ended[i]);
        if (ask->order != ADMIT_GO) {
            CHECK_EQ(ask->state, ADMIT_OUTSIDE);
            end(d, i);
            continue;
        }
        CHECK_EQ(ask->state, ADMIT_RUNNING);
        CHECK_EQ(d->presence, ADMIT_THERE);
        check_first(d, i);
        lowest = MAX(lowest, ask->class);
        any = true;
    }
    if (any)
        CHECK(used_for(d, lowest) <= d->limits.slots);
}

static void
check_rest(const struct driver *d)
{
    const struct admit_counts *c = admit_counts(d->a);
    uint32_t waiting = 0, running = 0;
    uint64_t next = UINT64_MAX;
    for (size_t i = 0; i < ASKS; i++) {
        const struct admit_ask *ask = &d->asks[i];
        running += ask->state == ADMIT_RUNNING;
        if (ask->state != ADMIT_WAITING)
            continue;
        waiting++;
        next = MIN(next, ask->arrived_us + ask->wait_us);
        CHECK(d->presence == ADMIT_COMING ||
              (d->presence == ADMIT_THERE && used_for(d, ask->class) >= d->limits.slots));
    }
    CHECK_EQ(c->waiting, waiting);
    CHECK_EQ(c->running, running);
    CHECK_EQ(c->arrived, d->arrivals);
    CHECK_EQ(c->done + c->left + c->refused, d->ends);
    CHECK_EQ(admit_next_us(d->a), next);
}

TEST(any_order_of_events_keeps_the_promises)
{
    for (uint32_t seed = 1; seed <= 30; seed++) {
        struct driver *d = mem_new(struct driver);
        d->seed = seed;
        tap_note("seed %u", seed);
        draw_limits(d);
        d->a = admit_new(&d->limits);
        memset(d->ended, true, sizeof(d->ended));
        for (unsigned step = 0; step < 2000; step++) {
            drive(d);
            check_orders(d);
            check_rest(d);
        }
        admit_set_presence(d->a, ADMIT_GONE, 0, d->now_us);
        check_orders(d);
        for (size_t i = 0; i < ASKS; i++)
            if (d->asks[i].state == ADMIT_RUNNING) {
                end(d, i);
                admit_done(d->a, &d->asks[i], 1, d->now_us);
            }
        check_rest(d);
        CHECK_EQ(admit_counts(d->a)->running + admit_counts(d->a)->waiting, 0);
        CHECK_EQ(d->ends, d->arrivals);
        admit_free(d->a);
        free(d);
    }
}

/* Keys that come once and never again take no room for ever. */
TEST(strangers_are_forgotten)
{
    struct admit *a = admit_new(&(struct admit_limits){.slots = 2, .queue = 9});
    struct admit_ask asks[2] = {0};
    size_t before = 0;
    for (uint64_t key = 0; key < 5 * ADMIT_IDLE_KEYS_MAX; key++) {
        struct admit_ask *ask = &asks[key % 2];
        if (ask->state == ADMIT_RUNNING)
            admit_done(a, ask, 1000, key);
        arrive(a, ask, key, 0, 10, key);
        (void)take_orders(a);
        if (key == 2 * ADMIT_IDLE_KEYS_MAX)
            before = tap_heap_bytes();
    }
    CHECK(tap_heap_bytes() <= before);
    leave_all(a, asks, 2);
    admit_free(a);
}

TEST(who_waits_knows_how_many_go_before_at_the_most)
{
    struct admit *a = admit_new(&(struct admit_limits){.slots = 1, .queue = 9});
    struct admit_ask asks[7];
    static const struct {
        uint64_t key;
        unsigned class;
        uint32_t before; /* once all have come */
    } rows[] = {{1, 1, 0}, {1, 1, 2}, {1, 1, 3}, {2, 1, 4}, {1, 1, 4}, {3, 0, 0}, {3, 2, 5}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        arrive(a, &asks[i], rows[i].key, rows[i].class, 10, 0);
    for (size_t i = 1; i < ARRAY_SIZE(rows); i++)
        CHECK_EQ(admit_before(a, &asks[i]), rows[i].before);
    admit_leave(a, &asks[2], 0);
    CHECK_EQ(admit_before(a, &asks[4]), 3);
    leave_all(a, asks, ARRAY_SIZE(asks));
    admit_free(a);
}
