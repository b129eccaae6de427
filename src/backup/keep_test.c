#include "backup/keep.h"

#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MANY 400
#define SECOND_NS INT64_C(1000000000)
#define DAY_NS (86400 * SECOND_NS)
#define NEVER INT64_MAX

static const struct keep_wish models = {
    .daily = 7, .weekly = 4, .monthly = 12, .undelete_s = UINT64_C(3) * 86400};

static struct keep_snapshot snapshots[8000];
static struct keep_verdict verdicts[ARRAY_SIZE(snapshots)], again[ARRAY_SIZE(snapshots)];
static size_t count;

static int64_t
utc(const char *text)
{
    struct tm tm = {0};
    (void)strptime(text, "%Y-%m-%d %H:%M", &tm);
    return timegm(&tm) * SECOND_NS;
}

static struct keep_snapshot *
add(const char *when, const char *type, enum keep_state state)
{
    struct keep_snapshot *s = &snapshots[count++];
    *s = (struct keep_snapshot){.begun_ns = utc(when), .type = type, .state = state};
    memcpy(s->id, &count, sizeof(count));
    return s;
}

static void
decide(const struct keep_wish *wish, const char *now)
{
    keep_decide(snapshots, count, wish, utc(now), verdicts);
}

static size_t
staying(const struct keep_verdict *all)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += all[i].fate == KEEP_STAYS;
    return n;
}

static const char *
why(size_t i, const struct keep_wish *wish)
{
    static char text[KEEP_WORDS_MAX];
    return keep_explain(&verdicts[i], wish, text);
}

/* ---- what is wanted ---- */

/* As the mission has them: each day, on Sundays another, on the first another. */
static void
add_years(int64_t from_ns, unsigned days)
{
    for (unsigned i = 0; i < days; i++) {
        int64_t at = from_ns + i * DAY_NS;
        time_t t = at / SECOND_NS;
        struct tm tm;
        (void)gmtime_r(&t, &tm);
        for (int k = 0; k < 3; k++) {
            static const char *const types[] = {"daily", "weekly", "monthly"};
            if ((k == 1 && tm.tm_wday != 0) || (k == 2 && tm.tm_mday != 1))
                continue;
            struct keep_snapshot *s = &snapshots[count++];
            *s = (struct keep_snapshot){
                .begun_ns = at + (2 + k) * 3600 * SECOND_NS, .type = types[k], .state = KEEP_GOOD};
            memcpy(s->id, &count, sizeof(count));
        }
    }
}

TEST(keep_takes_days_weeks_and_months)
{
    size_t of_rule[KEEP_RULES] = {0};
    count = 0;
    add_years(utc("2024-01-01 00:00"), 1100);
    decide(&models, "2027-01-05 12:00");
    for (size_t i = 0; i < count; i++)
        for (int rule = 0; rule < KEEP_RULES; rule++)
            if (verdicts[i].place[rule]) {
                of_rule[rule]++;
                CHECK_EQ(verdicts[i].fate, KEEP_STAYS);
                /* Each slot has the one that was made for it, but those that are not over. */
                if (rule >= KEEP_DAILY && !verdicts[i].is_newest && verdicts[i].place[rule] > 1) {
                    static const char *const types[] = {"", "", "daily", "weekly", "monthly"};
                    CHECK_STR(snapshots[i].type, types[rule]);
                }
            }
    CHECK_EQ(of_rule[KEEP_DAILY], 7);
    CHECK_EQ(of_rule[KEEP_WEEKLY], 4);
    CHECK_EQ(of_rule[KEEP_MONTHLY], 12);
    CHECK(staying(verdicts) <= 7 + 4 + 12 + 1);
}

TEST(keep_says_why)
{
    const struct keep_wish wish = {.last = 1, .daily = 3, .weekly = 1, .days = 1};
    count = 0;
    add("2026-11-16 02:00", "daily", KEEP_GOOD);
    add("2026-11-17 02:00", "daily", KEEP_DAMAGED);
    add("2026-11-18 02:00", "daily", KEEP_GOOD);
    add("2026-11-18 09:00", "", KEEP_UNVERIFIED);
    add("2026-11-19 02:00", "daily", KEEP_UNVERIFIED);
    add("2020-01-01 00:00", "daily", KEEP_UNVERIFIED)->is_pinned = true;
    decide(&wish, "2026-11-20 00:00");
    CHECK_STR(why(0, &wish), "daily 3 of 3");
    CHECK_STR(why(1, &wish), "daily 3 of 3, damaged");
    CHECK_STR(why(2, &wish), "newest verified, daily 2 of 3, weekly 1 of 1");
    CHECK_STR(why(3, &wish), "");
    CHECK_EQ(verdicts[3].fate, KEEP_GOES);
    CHECK_STR(why(4, &wish), "newest, last 1 of 1, day 1 of 1, daily 1 of 3");
    CHECK_STR(why(5, &wish),
              "pinned, newest, last 1 of 1, day 1 of 1, daily 1 of 3, weekly 1 of 1");
}

/* ---- slots ---- */

/* The newest stays anyway; the other where it has a slot of its own. */
static bool
are_apart(int64_t a_ns, int64_t b_ns, const struct keep_wish *wish)
{
    const struct keep_snapshot two[] = {
        {.begun_ns = a_ns, .type = "", .state = KEEP_GOOD},
        {.id = {1}, .begun_ns = b_ns, .type = "", .state = KEEP_GOOD}};
    struct keep_verdict v[2];
    keep_decide(two, 2, wish, NEVER, v);
    return v[0].fate == KEEP_STAYS && v[1].fate == KEEP_STAYS;
}

TEST(keep_knows_the_calendar)
{
    static const struct keep_wish daily = {.daily = 2}, weekly = {.weekly = 2},
                                  monthly = {.monthly = 2};
    static const struct {
        const char *a, *b;
        const struct keep_wish *wish;
        bool apart;
    } rows[] = {
        {"2026-11-21 00:00", "2026-11-21 23:59", &daily, false},
        {"2026-11-21 23:59", "2026-11-22 00:00", &daily, true},
        {"2028-02-28 12:00", "2028-02-29 12:00", &daily, true},
        {"2026-11-16 00:00", "2026-11-22 23:59", &weekly, false}, /* Monday, Sunday */
        {"2026-11-22 23:59", "2026-11-23 00:00", &weekly, true},
        {"2026-12-28 00:00", "2027-01-03 00:00", &weekly, false}, /* week 53 */
        {"2028-02-29 23:59", "2028-03-01 00:00", &monthly, true},
        {"2028-02-01 00:00", "2028-02-29 23:59", &monthly, false},
        {"2026-12-31 23:59", "2027-01-01 00:00", &monthly, true},
        {"2026-01-01 00:00", "2027-01-01 00:00", &monthly, true},
        {"2100-02-28 23:59", "2100-03-01 00:00", &monthly, true}, /* no leap year */
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("%s and %s", rows[i].a, rows[i].b);
        CHECK_EQ(are_apart(utc(rows[i].a), utc(rows[i].b), rows[i].wish), rows[i].apart);
    }
}

static uint64_t
chance(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

TEST(keep_has_the_months_of_the_library)
{
    static const struct keep_wish monthly = {.monthly = 2};
    uint64_t seed = 5;
    for (int i = 0; i < 3000; i++) {
        time_t a =
            (time_t)(INT64_C(1704067200) + (int64_t)(chance(&seed) * 3 % UINT64_C(6000000000)));
        time_t b = a + (time_t)(chance(&seed) % (40 * 86400));
        struct tm x, y;
        (void)gmtime_r(&a, &x);
        (void)gmtime_r(&b, &y);
        tap_note("%lld and %lld", (long long)a, (long long)b);
        CHECK_EQ(are_apart(a * SECOND_NS, b * SECOND_NS, &monthly),
                 x.tm_mon != y.tm_mon || x.tm_year != y.tm_year);
    }
}

/* ---- clocks that are wrong ---- */

static void
add_three_days(void)
{
    count = 0;
    add("2026-11-18 02:00", "daily", KEEP_GOOD);
    add("2026-11-19 02:00", "daily", KEEP_GOOD);
    add("2026-11-20 02:00", "daily", KEEP_GOOD);
}

TEST(keep_loses_nothing_to_the_future)
{
    const struct keep_wish wish = {.daily = 3, .days = 3};
    add_three_days();
    for (int i = 0; i < 20; i++) {
        char when[32];
        (void)snprintf(when, sizeof(when), "20%d-01-01 00:00", 40 + i);
        add(when, "daily", KEEP_GOOD);
        (void)snprintf(when, sizeof(when), "19%d-01-01 00:00", 70 + i);
        add(when, "daily", KEEP_GOOD);
    }
    decide(&wish, "2026-11-20 12:00");
    for (int i = 0; i < 3; i++)
        CHECK_EQ(verdicts[i].fate, KEEP_STAYS);
    CHECK_EQ(staying(verdicts), 9); /* three of each time */
}

TEST(keep_loses_no_more_than_a_slot_to_a_leap_of_the_clock)
{
    const struct keep_wish wish = {.daily = 3, .days = 3};
    add_three_days();
    decide(&wish, "2040-01-01 00:00");
    CHECK_EQ(staying(verdicts), 3);
    add("2040-01-01 00:00", "daily", KEEP_UNVERIFIED);
    decide(&wish, "2040-01-01 00:01");
    CHECK_EQ(staying(verdicts), 3);
    CHECK_EQ(verdicts[0].fate, KEEP_GOES);
    decide(&wish, "1970-01-01 00:01"); /* and back: ours is not to be believed */
    CHECK_EQ(staying(verdicts), 3);
}

/* ---- what was deleted ---- */

TEST(keep_gives_back_what_was_deleted)
{
    const struct keep_wish wish = {.daily = 1, .undelete_s = 86400};
    static const struct {
        const char *deleted;
        enum keep_fate fate;
        const char *until;
    } rows[] = {
        {"2026-11-20 12:00", KEEP_DELETED, "2026-11-21 12:00"},
        {"2026-11-19 12:01", KEEP_DELETED, "2026-11-20 12:01"},
        {"2026-11-19 12:00", KEEP_ENDS, "2026-11-20 12:00"},
        {"2031-01-01 00:00", KEEP_DELETED, "2026-11-21 12:00"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        count = 0;
        add("2026-11-19 02:00", "daily", KEEP_GOOD);
        struct keep_snapshot *s = add("2026-11-20 02:00", "daily", KEEP_GOOD);
        s->is_deleted = true;
        s->deleted_ns = utc(rows[i].deleted);
        tap_note("%s", rows[i].deleted);
        decide(&wish, "2026-11-20 12:00");
        CHECK_EQ(verdicts[0].fate, KEEP_STAYS); /* what is deleted takes no slot */
        CHECK_EQ(verdicts[1].fate, rows[i].fate);
        CHECK_EQ(verdicts[1].until_ns, utc(rows[i].until));
        s->is_pinned = true;
        decide(&wish, "2026-11-20 12:00");
        CHECK_EQ(verdicts[1].fate, KEEP_STAYS);
    }
}

TEST(keep_holds_the_last_good_one_though_deleted)
{
    const struct keep_wish wish = {.daily = 1};
    count = 0;
    for (int i = 0; i < 3; i++)
        add(i == 2 ? "2050-01-01 00:00" : "2026-11-18 02:00", "daily", KEEP_GOOD)->is_deleted =
            true;
    add("2026-11-19 02:00", "daily", KEEP_UNVERIFIED);
    decide(&wish, "2026-11-20 12:00");
    CHECK_EQ(verdicts[0].fate, KEEP_ENDS);
    CHECK_EQ(verdicts[1].fate, KEEP_DELETED);
    CHECK(verdicts[1].is_newest_good && verdicts[1].until_ns == NEVER);
    CHECK_EQ(verdicts[2].fate, KEEP_DELETED);
    snapshots[3].state = KEEP_GOOD;
    decide(&wish, "2026-11-20 12:00");
    for (int i = 0; i < 3; i++)
        CHECK_EQ(verdicts[i].fate, KEEP_ENDS);
}

TEST(keep_bears_times_at_the_ends_of_time)
{
    const struct keep_wish wish = {
        .last = UINT32_MAX, .daily = UINT32_MAX, .monthly = 1, .undelete_s = UINT64_MAX};
    const struct keep_snapshot all[] = {
        {.begun_ns = INT64_MIN, .type = "", .state = KEEP_GOOD},
        {.begun_ns = INT64_MAX, .type = "", .state = KEEP_GOOD},
        {.begun_ns = INT64_MIN, .type = "", .is_deleted = true, .deleted_ns = INT64_MIN},
        {.begun_ns = INT64_MAX, .type = "", .is_deleted = true, .deleted_ns = INT64_MAX}};
    static const int64_t nows[] = {INT64_MIN, -1, 0, 1, INT64_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(nows); i++) {
        struct keep_verdict v[ARRAY_SIZE(all)];
        keep_decide(all, ARRAY_SIZE(all), &wish, nows[i], v);
        CHECK(v[0].fate == KEEP_STAYS && v[1].fate == KEEP_STAYS);
    }
    keep_decide(NULL, 0, &wish, 0, NULL);
}

/* ---- what always holds ---- */

static struct keep_wish
any_wish(uint64_t *seed)
{
    return (struct keep_wish){.last = chance(seed) % 4 == 0 ? (unsigned)(chance(seed) % 6) : 0,
                              .daily = (unsigned)(chance(seed) % 9),
                              .weekly = (unsigned)(chance(seed) % 5),
                              .monthly = (unsigned)(chance(seed) % 5),
                              .days = chance(seed) % 4 == 0 ? (unsigned)(chance(seed) % 9) : 0,
                              .undelete_s = chance(seed) % (5 * 86400)};
}

static void
any_snapshots(uint64_t *seed, int64_t now_ns)
{
    static const char *const types[] = {"daily", "weekly", "monthly", "archive", ""};
    count = chance(seed) % MANY;
    for (size_t i = 0; i < count; i++) {
        struct keep_snapshot *s = &snapshots[i];
        int64_t ago = (int64_t)(chance(seed) % (200 * 86400)) * SECOND_NS;
        if (chance(seed) % 20 == 0)
            ago = -ago;
        *s = (struct keep_snapshot){.begun_ns = now_ns - ago,
                                    .type = types[chance(seed) % ARRAY_SIZE(types)],
                                    .state = (enum keep_state)(chance(seed) % 3),
                                    .is_pinned = chance(seed) % 50 == 0,
                                    .is_deleted = chance(seed) % 10 == 0,
                                    .deleted_ns = now_ns - ago / 40};
        if (chance(seed) % 30 == 0)
            s->begun_ns = (int64_t)(chance(seed) % UINT64_C(86400000)) * SECOND_NS; /* 1970 */
        if (i && chance(seed) % 20 == 0)
            s->begun_ns = snapshots[i - 1].begun_ns;
        memcpy(s->id, &i, sizeof(i));
    }
}

static bool
is_same(const struct keep_verdict *a, const struct keep_verdict *b)
{
    return a->fate == b->fate && a->until_ns == b->until_ns && a->is_newest == b->is_newest &&
           a->is_newest_good == b->is_newest_good &&
           memcmp(a->place, b->place, sizeof(a->place)) == 0;
}

static void
check_order_does_not_matter(uint64_t *seed, const struct keep_wish *wish, int64_t now_ns)
{
    static struct keep_snapshot turned[MANY];
    size_t by = count ? chance(seed) % count : 0;
    for (size_t i = 0; i < count; i++)
        turned[i] = snapshots[(i + by) % count];
    keep_decide(turned, count, wish, now_ns, again);
    for (size_t i = 0; i < count; i++)
        CHECK(is_same(&again[i], &verdicts[(i + by) % count]));
}

static void
check_more_keeps_more(uint64_t *seed, struct keep_wish wish, int64_t now_ns)
{
    unsigned *const all[] = {&wish.last, &wish.daily, &wish.weekly, &wish.monthly, &wish.days};
    *all[chance(seed) % ARRAY_SIZE(all)] += 1 + (unsigned)(chance(seed) % 3);
    keep_decide(snapshots, count, &wish, now_ns, again);
    for (size_t i = 0; i < count; i++)
        if (verdicts[i].fate == KEEP_STAYS)
            CHECK_EQ(again[i].fate, KEEP_STAYS);
}

static void
check_good_stays(size_t live, int64_t newest_good)
{
    bool has_good = false;
    for (size_t i = 0; i < count; i++)
        if (verdicts[i].fate == KEEP_STAYS || verdicts[i].until_ns == NEVER)
            has_good |= snapshots[i].state == KEEP_GOOD && snapshots[i].begun_ns == newest_good;
    CHECK(newest_good == INT64_MIN || has_good);
    CHECK(live == 0 || staying(verdicts) > 0);
}

TEST(keep_always_holds_what_it_promises)
{
    const int64_t now = utc("2026-11-20 12:00");
    uint64_t seed = 1;
    for (int round = 0; round < 400; round++) {
        tap_note("round %d", round);
        struct keep_wish wish = any_wish(&seed);
        any_snapshots(&seed, now);
        keep_decide(snapshots, count, &wish, now, verdicts);
        check_order_does_not_matter(&seed, &wish, now);
        check_more_keeps_more(&seed, wish, now);
        size_t live = 0;
        int64_t newest = INT64_MIN, newest_live = INT64_MIN;
        for (size_t i = 0; i < count; i++) {
            const struct keep_snapshot *s = &snapshots[i];
            bool is_live = !s->is_deleted || s->is_pinned;
            live += is_live;
            if (s->state == KEEP_GOOD && s->begun_ns <= now) {
                newest = MAX(newest, s->begun_ns);
                if (is_live)
                    newest_live = MAX(newest_live, s->begun_ns);
            }
        }
        bool any_live = false;
        for (size_t i = 0; i < count; i++)
            any_live |= snapshots[i].state == KEEP_GOOD &&
                        (!snapshots[i].is_deleted || snapshots[i].is_pinned);
        check_good_stays(live, any_live ? newest_live : newest);

        size_t kept = 0;
        for (size_t i = 0; i < count; i++)
            if (verdicts[i].fate == KEEP_STAYS)
                snapshots[kept++] = snapshots[i];
        count = kept;
        keep_decide(snapshots, count, &wish, now, verdicts);
        CHECK_EQ(staying(verdicts), count); /* deciding again takes nothing more */
    }
}

TEST(keep_decides_about_thousands)
{
    count = 0;
    add_years(utc("2025-01-01 00:00"), ARRAY_SIZE(snapshots) / 2 - 1000);
    decide(&models, "2040-01-01 00:00");
    CHECK(staying(verdicts) <= 24 && staying(verdicts) >= 20);
}
