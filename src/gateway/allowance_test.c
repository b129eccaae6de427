#include "gateway/allowance.h"

#include "tap.h"

#define SECOND UINT64_C(1000000)
#define DAY (86400 * SECOND)
#define NOON (20000 * DAY + DAY / 2)

static struct allowance_time now;

static void
begin(struct allowance *a, const struct allowance_limits *limits)
{
    const struct allowance_saved none = {0};
    now = (struct allowance_time){1000 * SECOND, NOON};
    allowance_open(a, limits, &none, &now);
}

static void
pass(uint64_t us)
{
    now.now_us += us;
    now.wall_us += us;
}

/* As if whatever is ordered were on the disk at once. */
static void
debit(struct allowance *a)
{
    struct allowance_saved order;
    if (allowance_order(a, &now, &order))
        allowance_debited(a);
}

static enum allowance_verdict
start(struct allowance *a, struct allowance_claim *c, struct allowance_refusal *refusal)
{
    enum allowance_verdict v = allowance_begin(a, c, true, &now, refusal);
    debit(a);
    return v == ALLOWANCE_WAIT ? allowance_begin(a, c, true, &now, refusal) : v;
}

static enum allowance_verdict
claim(struct allowance *a, struct allowance_claim *c, uint64_t tokens,
      struct allowance_refusal *refusal)
{
    enum allowance_verdict v = start(a, c, refusal);
    if (v != ALLOWANCE_GRANTED)
        return v;
    v = allowance_claim(a, c, tokens, &now, refusal);
    debit(a);
    if (v == ALLOWANCE_WAIT)
        v = allowance_claim(a, c, tokens, &now, refusal);
    if (v != ALLOWANCE_GRANTED)
        allowance_cancel(a, c, &now);
    return v;
}

TEST(requests_of_a_minute_are_exact_at_its_edge)
{
    struct allowance_limits limits = {.of[ALLOWANCE_REQUESTS_MINUTE] = 3};
    struct allowance_refusal why;
    struct allowance_claim c[4];
    struct allowance a;
    begin(&a, &limits);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(claim(&a, &c[i], 1, &why), ALLOWANCE_GRANTED);
        allowance_settle(&a, &c[i], 1, &now);
        pass(10 * SECOND);
    }
    REQUIRE(claim(&a, &c[3], 1, &why) == ALLOWANCE_REFUSED);
    CHECK_EQ(why.limit, ALLOWANCE_REQUESTS_MINUTE);
    CHECK_EQ(why.wait_us, 31 * SECOND); /* 60 s behind the first, and the rest of its second */
    pass(why.wait_us - 1);
    CHECK_EQ(claim(&a, &c[3], 1, &why), ALLOWANCE_REFUSED);
    pass(1);
    CHECK_EQ(claim(&a, &c[3], 1, &why), ALLOWANCE_GRANTED);
    CHECK_EQ(claim(&a, &c[3], 1, &why), ALLOWANCE_REFUSED);
}

TEST(tokens_are_reserved_and_then_put_right)
{
    struct allowance_limits limits = {.of[ALLOWANCE_TOKENS_DAY] = 100};
    struct allowance_claim first, second;
    struct allowance_refusal why;
    struct allowance a;
    begin(&a, &limits);
    CHECK_EQ(claim(&a, &first, 60, &why), ALLOWANCE_GRANTED);
    REQUIRE(claim(&a, &second, 60, &why) == ALLOWANCE_REFUSED);
    CHECK_EQ(why.wait_us, SECOND); /* when the first is over, there may be room */
    allowance_settle(&a, &first, 40, &now);
    CHECK_EQ(claim(&a, &second, 60, &why), ALLOWANCE_GRANTED);
    allowance_settle(&a, &second, 70, &now);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_DAY, &now).left, 0);
    REQUIRE(claim(&a, &first, 1, &why) == ALLOWANCE_REFUSED);
    CHECK_EQ(why.wait_us, DAY / 2);
    pass(DAY / 2);
    CHECK_EQ(claim(&a, &first, 100, &why), ALLOWANCE_GRANTED);
    allowance_cancel(&a, &first, &now);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_DAY, &now).left, 100);
    REQUIRE(claim(&a, &first, 101, &why) == ALLOWANCE_REFUSED);
    CHECK_EQ(why.wait_us, 0);
}

TEST(so_many_run_at_a_time)
{
    struct allowance_limits limits = {.of[ALLOWANCE_CONCURRENT] = 2};
    struct allowance_claim c[3];
    struct allowance_refusal why;
    struct allowance a;
    begin(&a, &limits);
    CHECK_EQ(claim(&a, &c[0], 9, &why), ALLOWANCE_GRANTED);
    CHECK_EQ(claim(&a, &c[1], 9, &why), ALLOWANCE_GRANTED);
    CHECK_EQ(claim(&a, &c[2], 9, &why), ALLOWANCE_REFUSED);
    CHECK_EQ(why.limit, ALLOWANCE_CONCURRENT);
    allowance_cancel(&a, &c[0], &now);
    CHECK_EQ(claim(&a, &c[2], 9, &why), ALLOWANCE_GRANTED);
}

/* Its body may take long to come. */
TEST(a_request_counts_from_its_head_on_and_its_tokens_from_their_claim)
{
    struct allowance_limits limits = {.of = {[ALLOWANCE_REQUESTS_MINUTE] = 1,
                                             [ALLOWANCE_TOKENS_MINUTE] = 100,
                                             [ALLOWANCE_CONCURRENT] = 5}};
    struct allowance_claim first, second;
    struct allowance_refusal why;
    struct allowance a;
    begin(&a, &limits);
    REQUIRE(start(&a, &first, &why) == ALLOWANCE_GRANTED);
    CHECK_EQ(start(&a, &second, &why), ALLOWANCE_REFUSED);
    CHECK_EQ(why.limit, ALLOWANCE_REQUESTS_MINUTE);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_CONCURRENT, &now).left, 4);
    pass(61 * SECOND);
    CHECK_EQ(allowance_claim(&a, &first, 100, &now, &why), ALLOWANCE_WAIT);
    debit(&a);
    CHECK_EQ(allowance_claim(&a, &first, 100, &now, &why), ALLOWANCE_GRANTED);
    REQUIRE(start(&a, &second, &why) == ALLOWANCE_REFUSED); /* none is left for it */
    CHECK_EQ(why.limit, ALLOWANCE_TOKENS_MINUTE);
    CHECK_EQ(allowance_begin(&a, &second, false, &now, &why), ALLOWANCE_GRANTED);
    allowance_cancel(&a, &first, &now);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_MINUTE, &now).left, 100);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_REQUESTS_MINUTE, &now).left, 0); /* the second's */
    allowance_cancel(&a, &second, &now);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_REQUESTS_MINUTE, &now).left, 1);
}

TEST(a_claim_that_is_made_anew_is_one)
{
    struct allowance_limits limits = {
        .of = {[ALLOWANCE_TOKENS_MINUTE] = 1000, [ALLOWANCE_TOKENS_DAY] = 2000}};
    struct allowance_refusal why;
    struct allowance_claim c, other;
    struct allowance a;
    begin(&a, &limits);
    REQUIRE(claim(&a, &c, 400, &why) == ALLOWANCE_GRANTED);
    REQUIRE(claim(&a, &other, 100, &why) == ALLOWANCE_GRANTED);
    pass(10 * SECOND);
    CHECK_EQ(allowance_claim(&a, &c, 901, &now, &why), ALLOWANCE_REFUSED);
    CHECK_EQ(why.limit, ALLOWANCE_TOKENS_MINUTE);
    CHECK_EQ(c.tokens, 400);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_MINUTE, &now).left, 500);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_DAY, &now).left, 1500);
    CHECK_EQ(allowance_claim(&a, &c, 900, &now, &why), ALLOWANCE_WAIT);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_DAY, &now).left, 1500);
    debit(&a);
    CHECK_EQ(a.durable.periods[ALLOWANCE_DAY].tokens,
             900 + 100 + 2000 / 64 + 1); /* what a crash costs */
    CHECK_EQ(allowance_claim(&a, &c, 900, &now, &why), ALLOWANCE_GRANTED);
    CHECK_EQ(c.tokens, 900);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_MINUTE, &now).left, 0);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_DAY, &now).left, 1000);
    allowance_settle(&a, &other, 100, &now);
    pass(51 * SECOND); /* it counts from when it was made anew */
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_MINUTE, &now).left, 100);
    allowance_settle(&a, &c, 300, &now);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_MINUTE, &now).left, 700);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_DAY, &now).left, 1600);
}

TEST(nothing_is_granted_before_it_was_debited)
{
    struct allowance_limits limits = {.of[ALLOWANCE_TOKENS_MONTH] = 6400};
    struct allowance_saved order, none;
    struct allowance_refusal why;
    struct allowance_claim c;
    struct allowance a;
    begin(&a, &limits);
    CHECK_EQ(allowance_begin(&a, &c, true, &now, &why), ALLOWANCE_GRANTED);
    CHECK_EQ(allowance_claim(&a, &c, 50, &now, &why), ALLOWANCE_WAIT);
    REQUIRE(allowance_order(&a, &now, &order));
    CHECK_EQ(order.periods[ALLOWANCE_MONTH].tokens, 50 + 101);
    CHECK(!allowance_order(&a, &now, &none));
    CHECK_EQ(allowance_claim(&a, &c, 50, &now, &why), ALLOWANCE_WAIT);
    allowance_not_debited(&a);
    CHECK_EQ(allowance_claim(&a, &c, 50, &now, &why), ALLOWANCE_WAIT);
    REQUIRE(allowance_order(&a, &now, &order));
    allowance_debited(&a);
    CHECK_EQ(allowance_claim(&a, &c, 50, &now, &why), ALLOWANCE_GRANTED);
}

/* A proper end forfeits nothing, a crash a slice and the minute. */
TEST(an_end_keeps_what_is_left_and_a_crash_does_not)
{
    struct allowance_limits limits = {
        .of = {[ALLOWANCE_REQUESTS_MINUTE] = 10, [ALLOWANCE_TOKENS_DAY] = 6400}};
    struct allowance_saved saved;
    struct allowance_refusal why;
    struct allowance_claim c;
    struct allowance a;
    begin(&a, &limits);
    CHECK_EQ(claim(&a, &c, 50, &why), ALLOWANCE_GRANTED);
    allowance_settle(&a, &c, 50, &now);
    saved = allowance_close(&a, &now);
    allowance_open(&a, &limits, &saved, &now);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_DAY, &now).left, 6350);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_REQUESTS_MINUTE, &now).left, 9);
    CHECK_EQ(claim(&a, &c, 50, &why), ALLOWANCE_GRANTED);
    saved = a.durable;
    pass(SECOND);
    allowance_open(&a, &limits, &saved, &now);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_DAY, &now).left, 6400 - 50 - 101);
    CHECK_EQ(claim(&a, &c, 50, &why), ALLOWANCE_REFUSED);
    CHECK_EQ(why.limit, ALLOWANCE_REQUESTS_MINUTE);
    pass(why.wait_us);
    CHECK_EQ(claim(&a, &c, 50, &why), ALLOWANCE_GRANTED);
}

TEST(the_longest_wait_is_told)
{
    struct allowance_limits limits = {.of = {[ALLOWANCE_CONCURRENT] = 1,
                                             [ALLOWANCE_REQUESTS_MINUTE] = 2,
                                             [ALLOWANCE_TOKENS_MINUTE] = 1000,
                                             [ALLOWANCE_TOKENS_DAY] = 200,
                                             [ALLOWANCE_TOKENS_MONTH] = 250}};
    struct allowance_claim first, second;
    struct allowance_refusal why;
    struct allowance a;
    begin(&a, &limits);
    CHECK_EQ(claim(&a, &first, 10, &why), ALLOWANCE_GRANTED);
    CHECK_EQ(claim(&a, &second, 10, &why), ALLOWANCE_REFUSED);
    CHECK_EQ(why.limit, ALLOWANCE_CONCURRENT);
    allowance_settle(&a, &first, 199, &now); /* the day is spent, the month is not */
    CHECK_EQ(claim(&a, &second, 100, &why), ALLOWANCE_REFUSED);
    CHECK_EQ(why.limit, ALLOWANCE_TOKENS_MONTH); /* has room for 51 */
    CHECK_EQ(claim(&a, &second, 50, &why), ALLOWANCE_REFUSED);
    CHECK_EQ(why.limit, ALLOWANCE_TOKENS_DAY);
    CHECK_EQ(why.wait_us, DAY / 2);
    CHECK_EQ(claim(&a, &second, 1001, &why), ALLOWANCE_REFUSED);
    CHECK_EQ(why.wait_us, 0); /* no wait is long enough */
}

/* A claim in the way of the month may be gone in a second; the day is over at midnight. */
TEST(a_wait_for_others_hides_no_longer_one)
{
    struct allowance_limits limits = {
        .of = {[ALLOWANCE_TOKENS_DAY] = 100, [ALLOWANCE_TOKENS_MONTH] = 140}};
    struct allowance_claim first, second;
    struct allowance_refusal why;
    struct allowance a;
    begin(&a, &limits);
    CHECK_EQ(claim(&a, &first, 10, &why), ALLOWANCE_GRANTED);
    allowance_settle(&a, &first, 60, &now);
    CHECK_EQ(claim(&a, &first, 30, &why), ALLOWANCE_GRANTED);
    CHECK_EQ(claim(&a, &second, 60, &why), ALLOWANCE_REFUSED);
    CHECK_EQ(why.limit, ALLOWANCE_TOKENS_DAY);
    CHECK_EQ(why.wait_us, DAY / 2);
}

TEST(a_clock_that_was_far_ahead_locks_nothing_for_good)
{
    struct allowance_limits limits = {.of[ALLOWANCE_TOKENS_DAY] = 100};
    struct allowance_refusal why;
    struct allowance_claim c;
    struct allowance a;
    begin(&a, &limits);
    now.wall_us += 2000 * DAY;
    CHECK_EQ(claim(&a, &c, 100, &why), ALLOWANCE_GRANTED);
    allowance_settle(&a, &c, 100, &now);
    now.wall_us -= 2000 * DAY;
    CHECK_EQ(claim(&a, &c, 1, &why), ALLOWANCE_REFUSED);
    CHECK_EQ(why.wait_us, ALLOWANCE_BELIEVED_US);
    pass(ALLOWANCE_BELIEVED_US);
    CHECK_EQ(claim(&a, &c, 1, &why), ALLOWANCE_REFUSED); /* today it was used, as far as is known */
    CHECK(why.wait_us < DAY);
    pass(why.wait_us);
    CHECK_EQ(claim(&a, &c, 100, &why), ALLOWANCE_GRANTED);
}

/* A host without a battery begins in 1970, until somebody tells it the time. */
TEST(a_clock_that_is_far_behind_for_a_while_makes_no_new_day)
{
    struct allowance_limits limits = {.of[ALLOWANCE_TOKENS_DAY] = 100};
    struct allowance_refusal why;
    struct allowance_claim c;
    struct allowance a;
    begin(&a, &limits);
    CHECK_EQ(claim(&a, &c, 100, &why), ALLOWANCE_GRANTED);
    allowance_settle(&a, &c, 100, &now);
    const struct allowance_saved saved = allowance_close(&a, &now);
    now.wall_us -= NOON;
    allowance_open(&a, &limits, &saved, &now);
    pass(ALLOWANCE_BELIEVED_US - SECOND);
    CHECK_EQ(claim(&a, &c, 1, &why), ALLOWANCE_REFUSED);
    now.wall_us += NOON;
    CHECK_EQ(claim(&a, &c, 1, &why), ALLOWANCE_REFUSED);
    CHECK(why.wait_us > SECOND && why.wait_us < DAY / 2);
}

/* A limit that is new on a day that was saved with another one. */
TEST(a_month_begins_on_a_day_that_has)
{
    const struct allowance_limits limits = {.of[ALLOWANCE_TOKENS_MONTH] = 1000};
    const struct allowance_saved saved = {.periods[ALLOWANCE_DAY] = {NOON / DAY, 10}};
    struct allowance_saved order;
    struct allowance_refusal why;
    struct allowance_claim c;
    struct allowance a;
    now = (struct allowance_time){1000 * SECOND, NOON};
    allowance_open(&a, &limits, &saved, &now);
    CHECK_EQ(allowance_begin(&a, &c, true, &now, &why), ALLOWANCE_GRANTED);
    CHECK_EQ(allowance_claim(&a, &c, 600, &now, &why), ALLOWANCE_WAIT);
    REQUIRE(allowance_order(&a, &now, &order));
    allowance_debited(&a);
    CHECK(order.periods[ALLOWANCE_MONTH].number > 0);
    REQUIRE(allowance_claim(&a, &c, 600, &now, &why) == ALLOWANCE_GRANTED);
    allowance_settle(&a, &c, 600, &now);
    pass(DAY); /* the 4th of October 2024, and the 5th */
    CHECK_EQ(claim(&a, &c, 600, &why), ALLOWANCE_REFUSED);
    pass(31 * DAY);
    CHECK_EQ(claim(&a, &c, 600, &why), ALLOWANCE_GRANTED);
}

TEST(what_is_taken_beyond_a_claim_is_reserved_meanwhile)
{
    struct allowance_limits limits = {.of = {[ALLOWANCE_TOKENS_DAY] = 1000}};
    struct allowance_saved order;
    struct allowance_claim first, second;
    struct allowance_refusal why;
    struct allowance a;
    begin(&a, &limits);
    CHECK_EQ(claim(&a, &first, 50, &why), ALLOWANCE_GRANTED);
    CHECK(allowance_grow(&a, &first, 50, &now));
    CHECK(!allowance_grow(&a, &first, 700, &now)); /* a slice is not as much */
    REQUIRE(allowance_order(&a, &now, &order));
    CHECK(order.periods[ALLOWANCE_DAY].tokens >= 700);
    CHECK(!allowance_is_paid(&a));
    allowance_debited(&a);
    CHECK(allowance_is_paid(&a));
    CHECK_EQ(claim(&a, &second, 400, &why), ALLOWANCE_REFUSED);
    allowance_settle(&a, &first, 600, &now);
    CHECK_EQ(claim(&a, &second, 400, &why), ALLOWANCE_GRANTED);
    allowance_settle(&a, &second, 0, &now);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_DAY, &now).left, 400);
}

/* A server that tells more than there can be is one that errs. */
TEST(what_cannot_be_is_as_much_as_may_be)
{
    struct allowance_limits limits = {.of = {[ALLOWANCE_TOKENS_DAY] = 1000}};
    struct allowance_claim first, second;
    struct allowance_refusal why;
    struct allowance a;
    begin(&a, &limits);
    CHECK_EQ(claim(&a, &first, 50, &why), ALLOWANCE_GRANTED);
    CHECK_EQ(claim(&a, &second, 50, &why), ALLOWANCE_GRANTED);
    CHECK(!allowance_grow(&a, &first, UINT64_MAX, &now));
    CHECK(!allowance_grow(&a, &second, ALLOWANCE_MAX, &now));
    allowance_settle(&a, &second, ALLOWANCE_MAX, &now);
    allowance_settle(&a, &first, UINT64_MAX, &now);
    CHECK_EQ(a.reserved, 0);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_DAY, &now).left, 0);
}

/* It is over before midnight, and told of afterwards. */
TEST(an_estimate_is_put_right_where_it_was_made)
{
    struct allowance_limits limits = {
        .of = {[ALLOWANCE_TOKENS_DAY] = 1000, [ALLOWANCE_TOKENS_MONTH] = 5000}};
    struct allowance_estimate first, second, third;
    struct allowance a;
    begin(&a, &limits);
    a.used[ALLOWANCE_DAY] = a.used[ALLOWANCE_MONTH] = 900; /* of three */
    first = second = third = allowance_estimated(&a, 300);
    allowance_correct(&a, &first, 100, &now);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_DAY, &now).left, 300);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_MONTH, &now).left, 4300);
    pass(DAY);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_DAY, &now).left, 1000);
    allowance_correct(&a, &second, 100, &now);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_DAY, &now).left, 1000);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_MONTH, &now).left, 4500);
    allowance_correct(&a, &third, 350, &now);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_DAY, &now).left, 950);
    CHECK_EQ(allowance_level(&a, ALLOWANCE_TOKENS_MONTH, &now).left, 4450);
}

/* ---- whatever happens in whatever order ---- */

#define RUNNING 12
#define CLAIM_MOST 40
#define DAYS 128
#define GRANTS 8192

/* The truth, which survives crashes: what was granted, and what was taken, all of it. */
static struct truth {
    struct granted {
        uint64_t at_us, tokens;
        bool is_request; /* else tokens: of a claim, or beyond it, when that was known */
    } grants[GRANTS];
    size_t count, requests;
    struct {
        uint64_t number, used;
    } periods[ALLOWANCE_PERIODS][DAYS];
} truth;

static struct run {
    bool is_on, has_claimed, owes;
    bool is_ending; /* it has its whole answer, which is not debited yet */
    struct allowance_claim claim;
    uint64_t took, paid; /* so far; of which so much is debited */
    uint64_t numbers[ALLOWANCE_PERIODS];
    size_t request, grant; /* of its tokens */
} runs[RUNNING];

static uint64_t lot;
static bool has_cancelled;

static uint64_t
draw(uint64_t below)
{
    lot ^= lot << 13;
    lot ^= lot >> 7;
    lot ^= lot << 17;
    return lot % below;
}

static uint64_t *
used_in(enum allowance_period p, uint64_t number)
{
    for (size_t i = 0; i < DAYS; i++) {
        if (truth.periods[p][i].number == number || !truth.periods[p][i].number) {
            truth.periods[p][i].number = number;
            return &truth.periods[p][i].used;
        }
    }
    assert(false); /* more days than are looked at */
    return NULL;
}

static void
use(const struct allowance *a, uint64_t tokens)
{
    *used_in(ALLOWANCE_DAY, a->numbers[ALLOWANCE_DAY]) += tokens;
    *used_in(ALLOWANCE_MONTH, a->numbers[ALLOWANCE_MONTH]) += tokens;
}

static void
check_minute(const struct allowance_limits *limits)
{
    uint64_t requests = 0, tokens = 0;
    for (size_t i = truth.count; i-- > 0 && truth.grants[i].at_us + 60 * SECOND > now.now_us;) {
        requests += truth.grants[i].is_request;
        tokens += truth.grants[i].tokens;
    }
    CHECK(requests <= limits->of[ALLOWANCE_REQUESTS_MINUTE]);
    CHECK(tokens <= limits->of[ALLOWANCE_TOKENS_MINUTE]);
}

static uint64_t
running(uint64_t *ret_tokens)
{
    uint64_t count = 0;
    *ret_tokens = 0;
    for (size_t i = 0; i < RUNNING; i++) {
        count += runs[i].is_on;
        *ret_tokens += runs[i].is_on ? runs[i].claim.tokens + runs[i].claim.grown : 0;
    }
    return count;
}

static void
check_period(const struct allowance *a, enum allowance_period p, enum allowance_limit limit,
             uint64_t reserved)
{
    uint64_t most = a->limits.of[limit];
    CHECK(!most || *used_in(p, a->numbers[p]) + reserved <= most);
}

static size_t
grant(uint64_t tokens, bool is_request)
{
    truth.grants[truth.count] = (struct granted){now.now_us, tokens, is_request};
    return truth.count++;
}

static void
claim_tokens(struct allowance *a, struct run *r)
{
    struct allowance_refusal why;
    uint64_t reserved;
    if (truth.count + 2 * RUNNING >= GRANTS ||
        allowance_claim(a, &r->claim, 1 + draw(CLAIM_MOST), &now, &why) != ALLOWANCE_GRANTED)
        return;
    if (r->has_claimed) {
        truth.grants[r->grant].at_us = 0;
        has_cancelled = true;
    }
    r->has_claimed = true;
    r->grant = grant(r->claim.tokens, false);
    r->paid = r->claim.tokens;
    memcpy(r->numbers, a->numbers, sizeof(a->numbers));
    truth.requests++;
    check_minute(&a->limits);
    (void)running(&reserved);
    check_period(a, ALLOWANCE_DAY, ALLOWANCE_TOKENS_DAY, reserved);
    check_period(a, ALLOWANCE_MONTH, ALLOWANCE_TOKENS_MONTH, reserved);
}

static void
arrive(struct allowance *a, struct run *r)
{
    struct allowance_refusal why;
    uint64_t reserved;
    if (truth.count + 2 * RUNNING >= GRANTS ||
        allowance_begin(a, &r->claim, true, &now, &why) != ALLOWANCE_GRANTED)
        return;
    *r = (struct run){.is_on = true, .claim = r->claim, .request = grant(0, true)};
    check_minute(&a->limits);
    CHECK(running(&reserved) <= a->limits.of[ALLOWANCE_CONCURRENT]);
    if (draw(4)) /* else its body takes time to come */
        claim_tokens(a, r);
}

/* More than it claimed was taken by it, when that is known. */
static void
exceed(struct run *r, uint64_t took)
{
    uint64_t had = r->claim.tokens + r->claim.grown;
    if (took > had)
        (void)grant(took - had, false);
}

/* Whether all that it took is debited; else it waits, and runs meanwhile. */
static bool
pays(struct allowance *a, struct run *r, uint64_t took)
{
    exceed(r, took);
    r->took = took;
    bool is_debited = allowance_grow(a, &r->claim, took, &now);
    r->owes = (r->owes || !is_debited) && !allowance_is_paid(a);
    if (r->owes)
        return false;
    r->paid = r->claim.tokens + r->claim.grown;
    memcpy(r->numbers, a->numbers, sizeof(a->numbers));
    return true;
}

static void
cancel(struct allowance *a, struct run *r)
{
    allowance_cancel(a, &r->claim, &now);
    truth.grants[r->request].at_us = 0;
    if (r->has_claimed)
        truth.grants[r->grant].at_us = 0;
    has_cancelled = true;
    r->is_on = false;
}

static void
settle(struct allowance *a, struct run *r)
{
    allowance_settle(a, &r->claim, r->took, &now);
    truth.grants[r->grant].tokens = MIN(r->took, r->claim.tokens);
    use(a, r->took);
    r->is_on = false;
}

/* What it takes beyond its claim may be beyond the limit; then nothing else is granted. */
static void
leave(struct allowance *a, struct run *r)
{
    uint64_t more = draw(60); /* MAX() would draw twice */
    uint64_t took = r->is_ending ? r->took : MAX(r->took, more);
    if (!r->is_ending && r->took == 0 && draw(4) == 0) {
        cancel(a, r);
        return;
    }
    if (!r->has_claimed) {
        claim_tokens(a, r);
        return;
    }
    r->is_ending = true;
    if (truth.count + RUNNING < GRANTS && pays(a, r, took))
        settle(a, r);
}

/* It tells more and more, and waits where that is not debited. */
static void
go_on(struct allowance *a, struct run *r)
{
    uint64_t more = draw(120);
    bool may_claim_anew = r->took == 0 && !r->owes && !r->is_ending;
    if (!r->has_claimed || (may_claim_anew && draw(4) == 0))
        claim_tokens(a, r);
    else if (!r->is_ending && truth.count + RUNNING < GRANTS)
        (void)pays(a, r, MAX(r->took, more));
}

/* A crash forgets nothing but of requests that run, what was not debited yet. */
static void
check_known(const struct allowance *a, const struct allowance_saved *saved, enum allowance_period p)
{
    bool is_now = saved->periods[p].number == a->numbers[p];
    CHECK(*used_in(p, a->numbers[p]) <= (is_now ? saved->periods[p].tokens : 0));
}

static void
crash(struct allowance *a)
{
    const struct allowance_limits limits = a->limits;
    bool is_late = a->is_ordered && draw(2); /* written, but nobody heard of it */
    const struct allowance_saved saved = is_late ? a->ordered : a->durable;
    for (size_t i = 0; i < RUNNING; i++) {
        for (unsigned p = 0; p < ALLOWANCE_PERIODS; p++)
            if (runs[i].is_on && runs[i].numbers[p] == a->numbers[p])
                *used_in((enum allowance_period)p, a->numbers[p]) += runs[i].paid;
        runs[i].is_on = false;
    }
    for (unsigned p = 0; p < ALLOWANCE_PERIODS; p++)
        if (limits.of[p == ALLOWANCE_DAY ? ALLOWANCE_TOKENS_DAY : ALLOWANCE_TOKENS_MONTH])
            check_known(a, &saved, (enum allowance_period)p);
    pass(draw(3) * SECOND);
    allowance_open(a, &limits, &saved, &now);
}

static void
end(struct allowance *a)
{
    const struct allowance_limits limits = a->limits;
    for (size_t i = 0; i < RUNNING; i++)
        if (runs[i].is_on && runs[i].is_ending)
            settle(a, &runs[i]);
        else if (runs[i].is_on)
            cancel(a, &runs[i]);
    if (a->is_ordered)
        allowance_debited(a);
    const struct allowance_saved saved = allowance_close(a, &now);
    pass(draw(3) * SECOND);
    allowance_open(a, &limits, &saved, &now);
}

static void
step(struct allowance *a)
{
    struct allowance_saved order;
    size_t i = draw(RUNNING);
    uint64_t what = draw(1000);
    if (what < 400)
        runs[i].is_on ? leave(a, &runs[i]) : arrive(a, &runs[i]);
    else if (what < 600 && runs[i].is_on)
        go_on(a, &runs[i]);
    else if (what < 800)
        (void)allowance_order(a, &now, &order);
    else if (what < 900 && a->is_ordered)
        draw(5) ? allowance_debited(a) : allowance_not_debited(a);
    else if (what < 980)
        pass(draw(2 * SECOND));
    else if (what < 985)
        pass(draw(70 * SECOND));
    else if (what < 995)
        now.wall_us += draw(4) * DAY - DAY;
    else if (what < 998)
        crash(a);
    else
        end(a);
}

/* check_minute() goes back to the first grant that is too old: a cancelled
 * one has to be passed over. */
static void
drop_cancelled(void)
{
    size_t kept = 0;
    for (size_t i = 0; i < truth.count; i++) {
        bool is_cancelled = truth.grants[i].at_us == 0;
        for (size_t k = 0; k < RUNNING; k++) {
            if (runs[k].is_on && runs[k].request == i)
                runs[k].request = kept;
            else if (runs[k].is_on && runs[k].has_claimed && runs[k].grant == i)
                runs[k].grant = kept;
        }
        if (!is_cancelled)
            truth.grants[kept++] = truth.grants[i];
    }
    truth.count = kept;
    has_cancelled = false;
}

TEST(no_order_of_events_spends_more_than_a_limit)
{
    struct allowance_limits limits = {.of = {[ALLOWANCE_REQUESTS_MINUTE] = 20,
                                             [ALLOWANCE_TOKENS_MINUTE] = 500,
                                             [ALLOWANCE_CONCURRENT] = 5}};
    size_t granted = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct allowance a;
        tap_note("seed %llu", (unsigned long long)seed);
        limits.of[ALLOWANCE_TOKENS_DAY] = seed % 2 ? 1500 : 0; /* debits renew the minute, too */
        limits.of[ALLOWANCE_TOKENS_MONTH] = seed % 3 ? 0 : 15000;
        lot = seed * UINT64_C(0x9E3779B97F4A7C15);
        memset(&truth, 0, sizeof(truth));
        memset(runs, 0, sizeof(runs));
        begin(&a, &limits);
        for (unsigned i = 0; i < 10000; i++) {
            step(&a);
            if (has_cancelled)
                drop_cancelled();
        }
        granted += truth.requests;
    }
    CHECK(granted > 40 * 300); /* it is a bound that was reached, not one that nothing came near */
}
