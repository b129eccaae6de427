#include "http/wait.h"

#include "tap.h"

enum { SHORT, LONG, FOR_EVER, LISTS };

struct thing {
    struct wait wait;
    char name;
};

struct rig {
    struct loop *loop;
    struct waits waits;
    struct wait_list lists[LISTS];
    struct thing things[4];
    char expired[16]; /* names, in order */
    size_t count;
    struct wait *again; /* waits once more when the first expires */
};

static void
on_expired(struct waits *waits, struct wait *wait)
{
    struct rig *r = container_of(waits, struct rig, waits);
    r->expired[r->count++] = container_of(wait, struct thing, wait)->name;
    wait_end(waits, wait);
    if (r->again) {
        wait_begin(waits, &r->lists[SHORT], r->again);
        r->again = NULL;
    }
}

static bool
rig_start(struct rig *r)
{
    *r = (struct rig){.lists = {[SHORT] = {.limit_us = 10000}, [LONG] = {.limit_us = 30000}}};
    for (size_t i = 0; i < ARRAY_SIZE(r->things); i++)
        r->things[i].name = (char)('a' + i);
    if (loop_new(&r->loop, NULL) < 0)
        return false;
    waits_init(&r->waits, r->loop, r->lists, LISTS, on_expired);
    return true;
}

static void
rig_finish(struct rig *r)
{
    waits_finish(&r->waits);
    loop_free(r->loop);
}

TEST(wait_expires_in_order_and_lets_the_loop_end)
{
    struct rig r;
    REQUIRE(rig_start(&r));
    uint64_t start_us = loop_now_us(r.loop);
    wait_begin(&r.waits, &r.lists[LONG], &r.things[0].wait);
    wait_begin(&r.waits, &r.lists[SHORT], &r.things[1].wait);
    wait_begin(&r.waits, &r.lists[SHORT], &r.things[2].wait);
    wait_begin(&r.waits, &r.lists[FOR_EVER], &r.things[3].wait);
    loop_run(r.loop); /* returns: what waits for ever does not hold it */
    CHECK_STR(r.expired, "bca");
    CHECK(loop_now_us(r.loop) - start_us >= 30000);
    rig_finish(&r);
}

TEST(wait_begins_anew)
{
    struct rig r;
    REQUIRE(rig_start(&r));
    for (size_t i = 0; i < 3; i++)
        wait_begin(&r.waits, &r.lists[SHORT], &r.things[i].wait);
    wait_begin(&r.waits, &r.lists[SHORT], &r.things[0].wait); /* to the end */
    wait_begin(&r.waits, &r.lists[LONG], &r.things[1].wait);  /* to another list */
    loop_run(r.loop);
    CHECK_STR(r.expired, "cab");
    rig_finish(&r);
}

TEST(wait_ends)
{
    struct rig r;
    REQUIRE(rig_start(&r));
    for (size_t i = 0; i < 3; i++)
        wait_begin(&r.waits, &r.lists[SHORT], &r.things[i].wait);
    wait_end(&r.waits, &r.things[1].wait);
    wait_end(&r.waits, &r.things[1].wait); /* changes nothing */
    loop_run(r.loop);
    CHECK_STR(r.expired, "ac");
    wait_begin(&r.waits, &r.lists[SHORT], &r.things[0].wait);
    wait_end(&r.waits, &r.things[0].wait);
    loop_run(r.loop); /* nothing is left to wait for */
    CHECK_STR(r.expired, "ac");
    rig_finish(&r);
}

TEST(wait_may_begin_while_others_expire)
{
    struct rig r;
    REQUIRE(rig_start(&r));
    r.again = &r.things[3].wait;
    wait_begin(&r.waits, &r.lists[SHORT], &r.things[0].wait);
    wait_begin(&r.waits, &r.lists[SHORT], &r.things[1].wait);
    loop_run(r.loop);
    CHECK_STR(r.expired, "abd");
    rig_finish(&r);
}

TEST(wait_goes_by_a_limit_that_has_changed)
{
    struct rig r;
    REQUIRE(rig_start(&r));
    wait_begin(&r.waits, &r.lists[FOR_EVER], &r.things[0].wait);
    wait_begin(&r.waits, &r.lists[LONG], &r.things[1].wait);
    r.lists[FOR_EVER].limit_us = 1;
    r.lists[LONG].limit_us = 0;
    waits_limits_changed(&r.waits);
    loop_run(r.loop);
    CHECK_STR(r.expired, "a");
    rig_finish(&r);
}
