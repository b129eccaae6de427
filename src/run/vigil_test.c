#include "run/vigil.h"

#include "tap.h"

#include <string.h>

#define S UINT64_C(1000000)
#define STALL (120 * S)

/* What happens, in the order of its time, and what is thought of it then. */
struct moment {
    unsigned at_s;
    enum { HEALTH, SLOW, REFUSED, WORKS, STILL, IDLE, ASKED, ANSWERED, LOOK } what;
    enum vigil_verdict verdict;
};

struct story {
    const char *name;
    struct moment moments[24]; /* ends with at_s 0 */
};

static const struct story stories[] = {
    {"idle, with canaries",
     {{2, IDLE, VIGIL_ALIVE},
      {60, ASKED, VIGIL_ALIVE},
      {61, ANSWERED, VIGIL_ALIVE},
      {119, IDLE, VIGIL_ALIVE}}},
    {"busy", {{2, WORKS, VIGIL_ALIVE}, {100, WORKS, VIGIL_ALIVE}, {1000, WORKS, VIGIL_ALIVE}}},
    {"hangs with requests, /health says 200",
     {{2, WORKS, VIGIL_ALIVE},
      {4, STILL, VIGIL_ALIVE},
      {4, HEALTH, VIGIL_ALIVE},
      {9, STILL, VIGIL_ALIVE},
      {10, STILL, VIGIL_DEGRADED},
      {11, HEALTH, VIGIL_DEGRADED},
      {121, STILL, VIGIL_DEGRADED},
      {122, STILL, VIGIL_HUNG}}},
    {"a long step",
     {{2, WORKS, VIGIL_ALIVE},
      {50, STILL, VIGIL_DEGRADED},
      {100, STILL, VIGIL_DEGRADED},
      {101, WORKS, VIGIL_ALIVE},
      {108, STILL, VIGIL_ALIVE}}},
    {"hangs while idle, the canary is not answered",
     {{2, IDLE, VIGIL_ALIVE},
      {60, ASKED, VIGIL_ALIVE},
      {67, LOOK, VIGIL_ALIVE},
      {68, IDLE, VIGIL_DEGRADED},
      {179, IDLE, VIGIL_DEGRADED},
      {180, IDLE, VIGIL_HUNG}}},
    {"the canary waits behind others",
     {{2, IDLE, VIGIL_ALIVE},
      {60, ASKED, VIGIL_ALIVE},
      {70, WORKS, VIGIL_ALIVE},
      {80, WORKS, VIGIL_ALIVE}}},
    {"/health is late, and the engine works: never given up",
     {{2, WORKS, VIGIL_ALIVE},
      {5, SLOW, VIGIL_DEGRADED},
      {500, WORKS, VIGIL_DEGRADED},
      {501, SLOW, VIGIL_DEGRADED},
      {502, HEALTH, VIGIL_ALIVE}}},
    {"one refusal",
     {{2, REFUSED, VIGIL_ALIVE}, {4, HEALTH, VIGIL_ALIVE}, {6, REFUSED, VIGIL_ALIVE}}},
    {"nobody listens",
     {{2, REFUSED, VIGIL_ALIVE}, {4, REFUSED, VIGIL_DEAD}, {5, LOOK, VIGIL_DEAD}}},
    {"work ends",
     {{2, WORKS, VIGIL_ALIVE},
      {8, STILL, VIGIL_ALIVE},
      {9, IDLE, VIGIL_ALIVE},
      {30, IDLE, VIGIL_ALIVE}}},
};

struct teller {
    struct vigil v;
    struct engine_load load;
};

static void
tell(struct teller *t, const struct moment *m)
{
    uint64_t now = m->at_s * S;
    switch (m->what) {
    case HEALTH:
    case SLOW:
    case REFUSED:
        vigil_health(&t->v, m->what == HEALTH ? VIGIL_ANSWERED
                            : m->what == SLOW ? VIGIL_SLOW
                                              : VIGIL_REFUSED);
        break;
    case WORKS:
        t->load.steps++;
        t->load.running = 1;
        vigil_load(&t->v, now, &t->load);
        break;
    case STILL:
        t->load.running = 1;
        vigil_load(&t->v, now, &t->load);
        break;
    case IDLE:
        t->load.running = 0;
        vigil_load(&t->v, now, &t->load);
        break;
    case ASKED:
        vigil_canary_asked(&t->v, now);
        break;
    case ANSWERED:
        vigil_canary_answered(&t->v, now, true);
        break;
    case LOOK:
        break;
    }
}

TEST(verdicts_follow_the_evidence)
{
    for (size_t i = 0; i < ARRAY_SIZE(stories); i++) {
        struct teller t = {0};
        vigil_init(&t.v, STALL, 1);
        for (const struct moment *m = stories[i].moments; m->at_s; m++) {
            struct err err = {0};
            tell(&t, m);
            tap_note("%s, at %u s", stories[i].name, m->at_s);
            CHECK_EQ(vigil_judge(&t.v, m->at_s * S, &err), m->verdict);
            CHECK_EQ(err.id == ERR_NONE, m->verdict == VIGIL_ALIVE);
        }
    }
}

TEST(a_canary_is_sent_only_when_nothing_else_shows_life)
{
    struct vigil v;
    struct engine_load load = {.told = true};
    vigil_init(&v, STALL, 1);
    CHECK(!vigil_wants_canary(&v, 59 * S));
    CHECK(vigil_wants_canary(&v, 61 * S));
    load.running = 1;
    vigil_load(&v, 61 * S, &load);
    CHECK(!vigil_wants_canary(&v, 200 * S));
    load.running = 0;
    vigil_load(&v, 201 * S, &load);
    CHECK(!vigil_wants_canary(&v, 202 * S));
    CHECK(vigil_wants_canary(&v, 261 * S));
    vigil_canary_asked(&v, 261 * S);
    CHECK(!vigil_wants_canary(&v, 400 * S));
    vigil_canary_answered(&v, 400 * S, false);
    CHECK(!vigil_wants_canary(&v, 401 * S));
    vigil_canary_answered(&v, 402 * S, true);
    CHECK(!vigil_wants_canary(&v, 403 * S));
    CHECK(vigil_wants_canary(&v, 462 * S));
}
