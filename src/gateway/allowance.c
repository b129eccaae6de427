#include "gateway/allowance.h"

#include "base/quantity.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define SECOND_US UINT64_C(1000000)
#define MINUTE_US (ALLOWANCE_SECONDS * SECOND_US)
#define DAY_S 86400
/* Of a limit in a slice: a crash forfeits at most one and a half per cent. */
#define SLICES 64

const struct allowance_limit_row allowance_limit_rows[ALLOWANCE_LIMITS] = {
#define LIMIT(name, option, member, help) {option, member, help},
#include "gateway/limit.def"
#undef LIMIT
};

static const enum allowance_limit period_limits[ALLOWANCE_PERIODS] = {
    [ALLOWANCE_DAY] = ALLOWANCE_TOKENS_DAY,
    [ALLOWANCE_MONTH] = ALLOWANCE_TOKENS_MONTH,
};

uint64_t
allowance_sum(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? ALLOWANCE_MAX : MIN(sum, (uint64_t)ALLOWANCE_MAX);
}

/* ---- days and months ---- */

static uint64_t
month_of(uint64_t wall_us)
{
    time_t s = (time_t)(wall_us / SECOND_US);
    struct tm tm;
    return gmtime_r(&s, &tm) ? (uint64_t)tm.tm_year * 12 + (uint64_t)tm.tm_mon : 0;
}

static uint64_t
month_end_us(uint64_t month)
{
    struct tm tm = {.tm_year = (int)(month / 12), .tm_mon = (int)(month % 12) + 1, .tm_mday = 1};
    return (uint64_t)timegm(&tm) * SECOND_US;
}

static uint64_t
period_ends_in(const struct allowance *a, enum allowance_period p, uint64_t wall_us)
{
    uint64_t end_us =
        p == ALLOWANCE_DAY ? (a->numbers[p] + 1) * DAY_S * SECOND_US : month_end_us(a->numbers[p]);
    uint64_t wait_us = end_us > wall_us ? end_us - wall_us : 1;
    return a->behind_us ? MIN(wait_us, ALLOWANCE_BELIEVED_US) : wait_us; /* were_errors(), then */
}

/* Whether days that have begun were none: the clock is behind them for longer
 * than it takes to be set. */
static bool
were_errors(struct allowance *a, uint64_t today, const struct allowance_time *t)
{
    if (a->numbers[ALLOWANCE_DAY] <= today + ALLOWANCE_AHEAD_DAYS)
        a->behind_us = 0;
    else if (!a->behind_us)
        a->behind_us = t->now_us;
    return a->behind_us && t->now_us - a->behind_us >= ALLOWANCE_BELIEVED_US;
}

/* Another day has no claims settled in it; what is reserved goes along. Each part of a stream asks:
 * on a day that was looked at before, and was no error, nothing turns. */
static void
turn(struct allowance *a, const struct allowance_time *t)
{
    uint64_t today = t->wall_us / SECOND_US / DAY_S;
    if (today == a->today && !a->behind_us)
        return;
    const uint64_t numbers[ALLOWANCE_PERIODS] = {
        [ALLOWANCE_DAY] = today,
        [ALLOWANCE_MONTH] = month_of(t->wall_us),
    };
    a->today = today;
    if (were_errors(a, today, t)) {
        memcpy(a->numbers, numbers, sizeof(numbers));
        a->behind_us = 0;
    }
    for (unsigned p = 0; p < ALLOWANCE_PERIODS; p++) {
        if (numbers[p] <= a->numbers[p])
            continue;
        a->numbers[p] = numbers[p];
        a->used[p] = 0;
    }
}

static uint64_t
period_limit(const struct allowance *a, unsigned p)
{
    return a->limits.of[period_limits[p]];
}

static uint64_t
period_debited(const struct allowance *a, unsigned p)
{
    bool is_now = a->durable.periods[p].number == a->numbers[p];
    return is_now ? a->durable.periods[p].tokens : 0;
}

static uint64_t
period_slice(const struct allowance *a, unsigned p)
{
    return period_limit(a, p) / SLICES + 1;
}

/* ---- minutes ---- */

static struct allowance_second *
second_at(struct allowance *a, uint64_t second)
{
    struct allowance_second *s = &a->seconds[second % ARRAY_SIZE(a->seconds)];
    if (s->second != second)
        *s = (struct allowance_second){.second = second};
    return s;
}

static bool
counts(const struct allowance_second *s, uint64_t now_us)
{
    return s->second + ALLOWANCE_SECONDS >= now_us / SECOND_US;
}

static uint64_t
amount(const struct allowance_second *s, enum allowance_limit limit)
{
    return limit == ALLOWANCE_REQUESTS_MINUTE ? s->requests : s->tokens;
}

static uint64_t
minute_used(const struct allowance *a, enum allowance_limit limit, uint64_t now_us)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < ARRAY_SIZE(a->seconds); i++)
        if (counts(&a->seconds[i], now_us))
            sum = allowance_sum(sum, amount(&a->seconds[i], limit));
    return sum;
}

/* When no more than `most` of what counts now will count, which is more: when the last second is
 * over from which on it is more. */
static uint64_t
minute_frees_in(const struct allowance *a, enum allowance_limit limit, uint64_t most,
                uint64_t now_us)
{
    uint64_t now_s = now_us / SECOND_US, sum = 0, age = 0;
    for (; age < ALLOWANCE_SECONDS && age < now_s; age++) {
        const struct allowance_second *s = &a->seconds[(now_s - age) % ARRAY_SIZE(a->seconds)];
        if (s->second == now_s - age)
            sum = allowance_sum(sum, amount(s, limit));
        if (sum > most)
            break;
    }
    return (now_s - age + ALLOWANCE_SECONDS + 1) * SECOND_US - now_us;
}

static bool
has_minutes(const struct allowance *a)
{
    return a->limits.of[ALLOWANCE_REQUESTS_MINUTE] || a->limits.of[ALLOWANCE_TOKENS_MINUTE];
}

/* ---- a life ---- */

void
allowance_open(struct allowance *a, const struct allowance_limits *limits,
               const struct allowance_saved *saved, const struct allowance_time *t)
{
    *a = (struct allowance){.limits = *limits, .durable = *saved};
    for (unsigned p = 0; p < ALLOWANCE_PERIODS; p++) {
        a->numbers[p] = saved->periods[p].number;
        a->used[p] = saved->periods[p].tokens;
    }
    turn(a, t);
    if (saved->minute_us) {
        uint64_t last_us = MIN(saved->minute_us, t->now_us);
        struct allowance_second *s = second_at(a, last_us / SECOND_US);
        s->requests = saved->minute_requests;
        s->tokens = saved->minute_tokens;
    }
}

struct allowance_saved
allowance_close(struct allowance *a, const struct allowance_time *t)
{
    struct allowance_saved saved = {
        .minute_us = t->now_us,
        .minute_requests = minute_used(a, ALLOWANCE_REQUESTS_MINUTE, t->now_us),
        .minute_tokens = minute_used(a, ALLOWANCE_TOKENS_MINUTE, t->now_us),
    };
    turn(a, t);
    for (unsigned p = 0; p < ALLOWANCE_PERIODS; p++) {
        saved.periods[p].number = a->numbers[p];
        saved.periods[p].tokens = allowance_sum(a->used[p], a->reserved);
    }
    return saved;
}

/* ---- claims ---- */

static bool
are_tokens_debited(const struct allowance *a, uint64_t tokens)
{
    for (unsigned p = 0; p < ALLOWANCE_PERIODS; p++)
        if (period_limit(a, p) &&
            allowance_sum(allowance_sum(a->used[p], a->reserved), tokens) > period_debited(a, p))
            return false;
    return true;
}

static bool
is_debited(const struct allowance *a, uint64_t tokens, const struct allowance_time *t)
{
    bool is_leased = !has_minutes(a) || t->now_us < a->lease_us;
    return is_leased && are_tokens_debited(a, tokens);
}

static uint64_t
used_now(const struct allowance *a, enum allowance_limit limit, const struct allowance_time *t)
{
    switch (limit) {
    case ALLOWANCE_CONCURRENT:
        return (uint64_t)a->running + a->background;
    case ALLOWANCE_TOKENS_DAY:
        return allowance_sum(a->used[ALLOWANCE_DAY], a->reserved);
    case ALLOWANCE_TOKENS_MONTH:
        return allowance_sum(a->used[ALLOWANCE_MONTH], a->reserved);
    case ALLOWANCE_REQUESTS_MINUTE:
    case ALLOWANCE_TOKENS_MINUTE:
    case ALLOWANCE_LIMITS:
        break;
    }
    return minute_used(a, limit, t->now_us);
}

/* What only claims are in the way of may be granted as soon as one is settled. */
static uint64_t
period_frees_in(const struct allowance *a, enum allowance_period p, uint64_t most,
                const struct allowance_time *t)
{
    return a->used[p] <= most ? SECOND_US : period_ends_in(a, p, t->wall_us);
}

/* Until no more than `most` of a limit is used. */
static uint64_t
frees_in(const struct allowance *a, enum allowance_limit limit, uint64_t most,
         const struct allowance_time *t)
{
    switch (limit) {
    case ALLOWANCE_CONCURRENT:
        return SECOND_US;
    case ALLOWANCE_TOKENS_DAY:
        return period_frees_in(a, ALLOWANCE_DAY, most, t);
    case ALLOWANCE_TOKENS_MONTH:
        return period_frees_in(a, ALLOWANCE_MONTH, most, t);
    case ALLOWANCE_REQUESTS_MINUTE:
    case ALLOWANCE_TOKENS_MINUTE:
    case ALLOWANCE_LIMITS:
        break;
    }
    return minute_frees_in(a, limit, most, t->now_us);
}

static bool
is_of_requests(enum allowance_limit limit)
{
    return limit == ALLOWANCE_REQUESTS_MINUTE || limit == ALLOWANCE_CONCURRENT;
}

/* requests, tokens: that are wanted. */
struct wanted {
    uint64_t requests, tokens;
    bool is_about; /* what is there */
};

static uint64_t
used_before(const struct allowance *a, enum allowance_limit limit, struct wanted wanted,
            const struct allowance_time *t)
{
    uint64_t used = used_now(a, limit, t);
    bool is_in_the_way = limit != ALLOWANCE_CONCURRENT || !wanted.is_about;
    return is_in_the_way ? used : used - a->background;
}

static bool
exceeds(const struct allowance *a, enum allowance_limit limit, struct wanted wanted,
        const struct allowance_time *t, struct allowance_refusal *refusal)
{
    uint64_t most = a->limits.of[limit];
    uint64_t more = is_of_requests(limit) ? wanted.requests : wanted.tokens;
    uint64_t used = most && more ? used_before(a, limit, wanted, t) : 0;
    if (!most || !more || allowance_sum(used, more) <= most)
        return false;
    *refusal = (struct allowance_refusal){.limit = limit, .used = used};
    if (more <= most)
        refusal->wait_us = frees_in(a, limit, most - more, t);
    return true;
}

/* 0 is never. */
static bool
is_longer(uint64_t wait_us, uint64_t than_us)
{
    return than_us && (wait_us == 0 || wait_us > than_us);
}

/* Of all limits that are in the way the one that is so for longest is told. */
static bool
exceeds_any(const struct allowance *a, struct wanted wanted, const struct allowance_time *t,
            struct allowance_refusal *refusal)
{
    struct allowance_refusal other;
    bool any = false;
    for (unsigned i = 0; i < ALLOWANCE_LIMITS; i++) {
        if (!exceeds(a, (enum allowance_limit)i, wanted, t, &other))
            continue;
        if (!any || is_longer(other.wait_us, refusal->wait_us))
            *refusal = other;
        any = true;
    }
    return any;
}

static enum allowance_verdict
judge(struct allowance *a, struct wanted wanted, uint64_t reserves, const struct allowance_time *t,
      struct allowance_refusal *ret_refusal)
{
    turn(a, t);
    if (exceeds_any(a, wanted, t, ret_refusal))
        return ALLOWANCE_REFUSED;
    a->active_us = t->now_us;
    return is_debited(a, reserves, t) ? ALLOWANCE_GRANTED : ALLOWANCE_WAIT;
}

void
allowance_count(struct allowance *a, const struct allowance_time *t)
{
    struct allowance_second *s = second_at(a, t->now_us / SECOND_US);
    s->requests = allowance_sum(s->requests, 1);
}

enum allowance_verdict
allowance_begin(struct allowance *a, struct allowance_claim *claim, bool takes,
                const struct allowance_time *t, struct allowance_refusal *ret_refusal)
{
    const struct wanted wanted = {.requests = 1, .tokens = takes, .is_about = !takes};
    enum allowance_verdict verdict = judge(a, wanted, 0, t, ret_refusal);
    if (verdict != ALLOWANCE_GRANTED)
        return verdict;
    uint64_t second = t->now_us / SECOND_US;
    *claim = (struct allowance_claim){
        .begun = second, .second = second, .day = a->numbers[ALLOWANCE_DAY]};
    allowance_count(a, t);
    a->running++;
    return ALLOWANCE_GRANTED;
}

/* The second, if it counts any more. */
static struct allowance_second *
second_of(struct allowance *a, uint64_t second)
{
    struct allowance_second *s = &a->seconds[second % ARRAY_SIZE(a->seconds)];
    return s->second == second ? s : NULL;
}

/* That it has, and has reserved. */
static uint64_t
claimed(const struct allowance_claim *claim)
{
    return allowance_sum(claim->tokens, claim->grown);
}

static void
take(struct allowance *a, const struct allowance_claim *claim)
{
    struct allowance_second *s = second_of(a, claim->second);
    a->reserved = allowance_sum(a->reserved, claim->tokens);
    if (s)
        s->tokens = allowance_sum(s->tokens, claim->tokens);
}

/* tokens: that the second in which it has claimed them has less then. */
static void
give_back(struct allowance *a, const struct allowance_claim *claim, uint64_t tokens)
{
    struct allowance_second *s = second_of(a, claim->second);
    assert(a->reserved >= claimed(claim));
    a->reserved -= claimed(claim);
    if (s)
        s->tokens -= MIN(s->tokens, tokens);
}

enum allowance_verdict
allowance_claim(struct allowance *a, struct allowance_claim *claim, uint64_t tokens,
                const struct allowance_time *t, struct allowance_refusal *ret_refusal)
{
    const struct wanted wanted = {.tokens = tokens};
    assert(claim->grown == 0 && tokens <= ALLOWANCE_CLAIM_MAX);
    give_back(a, claim, claim->tokens);
    enum allowance_verdict verdict = judge(a, wanted, tokens, t, ret_refusal);
    if (verdict == ALLOWANCE_GRANTED) {
        claim->tokens = tokens;
        claim->second = second_at(a, t->now_us / SECOND_US)->second;
        claim->day = a->numbers[ALLOWANCE_DAY];
    }
    take(a, claim); /* or it has again what it had */
    if (verdict == ALLOWANCE_WAIT && tokens > claim->tokens)
        a->lacking = MAX(a->lacking, tokens - claim->tokens);
    return verdict;
}

bool
allowance_could_claim(struct allowance *a, const struct allowance_claim *claim, uint64_t tokens,
                      const struct allowance_time *t)
{
    struct allowance_refusal why;
    assert(claim->grown == 0);
    turn(a, t);
    give_back(a, claim, claim->tokens);
    bool is_refused = exceeds_any(a, (struct wanted){.tokens = tokens}, t, &why);
    take(a, claim);
    return !is_refused;
}

static void
count_now(struct allowance *a, uint64_t tokens, const struct allowance_time *t)
{
    struct allowance_second *s = second_at(a, t->now_us / SECOND_US);
    s->tokens = allowance_sum(s->tokens, tokens);
}

bool
allowance_is_paid(const struct allowance *a)
{
    return are_tokens_debited(a, 0);
}

bool
allowance_grow(struct allowance *a, struct allowance_claim *claim, uint64_t tokens,
               const struct allowance_time *t)
{
    uint64_t had = claimed(claim);
    turn(a, t);
    tokens = MIN(tokens, ALLOWANCE_CLAIM_MAX);
    if (tokens <= had && claim->day == a->numbers[ALLOWANCE_DAY])
        return true;
    claim->day = a->numbers[ALLOWANCE_DAY];
    if (tokens > had) {
        claim->grown = tokens - claim->tokens;
        a->reserved = allowance_sum(a->reserved, claimed(claim) - had);
        count_now(a, claimed(claim) - had, t);
    }
    return allowance_is_paid(a);
}

/* It is over, and has not taken so many of its tokens. */
static void
release(struct allowance *a, const struct allowance_claim *claim, uint64_t tokens)
{
    assert(a->running > 0);
    a->running--;
    give_back(a, claim, tokens);
}

void
allowance_settle(struct allowance *a, const struct allowance_claim *claim, uint64_t tokens,
                 const struct allowance_time *t)
{
    turn(a, t);
    release(a, claim, claim->tokens - MIN(tokens, claim->tokens));
    for (unsigned p = 0; p < ALLOWANCE_PERIODS; p++)
        a->used[p] = allowance_sum(a->used[p], tokens);
    if (tokens > claimed(claim))
        count_now(a, tokens - claimed(claim), t);
}

void
allowance_cancel(struct allowance *a, const struct allowance_claim *claim,
                 const struct allowance_time *t)
{
    struct allowance_second *s = second_of(a, claim->begun);
    turn(a, t);
    release(a, claim, claim->tokens);
    if (s)
        s->requests -= MIN(s->requests, 1);
}

/* ---- estimates ---- */

struct allowance_estimate
allowance_estimated(const struct allowance *a, uint64_t tokens)
{
    struct allowance_estimate estimate = {.tokens = tokens};
    memcpy(estimate.numbers, a->numbers, sizeof(estimate.numbers));
    return estimate;
}

void
allowance_correct(struct allowance *a, const struct allowance_estimate *estimate, uint64_t tokens,
                  const struct allowance_time *t)
{
    uint64_t more = tokens - MIN(tokens, estimate->tokens);
    uint64_t less = estimate->tokens - MIN(tokens, estimate->tokens);
    turn(a, t);
    for (unsigned p = 0; p < ALLOWANCE_PERIODS; p++) {
        bool is_same = estimate->numbers[p] == a->numbers[p];
        a->used[p] = allowance_sum(a->used[p] - (is_same ? MIN(a->used[p], less) : 0), more);
    }
    count_now(a, more, t);
}

/* ---- in the background ---- */

bool
allowance_background_begin(struct allowance *a)
{
    bool counts = a->background < ALLOWANCE_BACKGROUND_MAX;
    a->background += counts;
    return counts;
}

void
allowance_background_end(struct allowance *a)
{
    assert(a->background > 0);
    a->background--;
}

/* ---- what is to be written ---- */

/* So much as is used and wanted, and a slice ahead, but not beyond the limit;
 * once half of that is gone. */
static bool
order_period(struct allowance *a, unsigned p, struct allowance_saved *order)
{
    uint64_t taken = allowance_sum(a->used[p], a->reserved), limit = period_limit(a, p);
    uint64_t wanted = allowance_sum(taken, a->lacking), slice = period_slice(a, p);
    uint64_t ahead = MAX(MIN(allowance_sum(wanted, slice), limit), taken);
    uint64_t debited = period_debited(a, p);
    bool is_new = a->durable.periods[p].number != a->numbers[p];
    if (!limit || (debited >= wanted && debited - wanted >= slice / 2) ||
        (ahead <= debited && !is_new))
        return false;
    order->periods[p].number = a->numbers[p];
    order->periods[p].tokens = MAX(ahead, debited);
    return true;
}

static bool
lacks_minute(const struct allowance *a, const struct allowance_time *t)
{
    bool is_active = a->active_us + MINUTE_US / 2 > t->now_us;
    return has_minutes(a) && is_active && a->lease_us <= t->now_us + MINUTE_US / 2;
}

static void
order_minute(struct allowance *a, const struct allowance_time *t, struct allowance_saved *order)
{
    a->ordered_lease_us = order->minute_us = t->now_us + MINUTE_US;
    order->minute_requests = order->minute_tokens = ALLOWANCE_MAX;
}

bool
allowance_order(struct allowance *a, const struct allowance_time *t,
                struct allowance_saved *ret_order)
{
    struct allowance_saved order = a->durable;
    bool is_wanted = lacks_minute(a, t);
    if (a->is_ordered)
        return false;
    turn(a, t);
    for (unsigned p = 0; p < ALLOWANCE_PERIODS; p++)
        is_wanted |= order_period(a, p, &order);
    a->lacking = 0;
    if (!is_wanted)
        return false;
    a->ordered_lease_us = a->lease_us;
    if (has_minutes(a))
        order_minute(a, t, &order);
    a->is_ordered = true;
    a->ordered = *ret_order = order;
    return true;
}

void
allowance_debited(struct allowance *a)
{
    assert(a->is_ordered);
    a->is_ordered = false;
    a->durable = a->ordered;
    a->lease_us = a->ordered_lease_us;
}

void
allowance_not_debited(struct allowance *a)
{
    assert(a->is_ordered);
    a->is_ordered = false;
}

/* ---- what is told ---- */

static struct allowance_level
minute_level(const struct allowance *a, enum allowance_limit limit, uint64_t now_us)
{
    uint64_t used = minute_used(a, limit, now_us), most = a->limits.of[limit];
    return (struct allowance_level){most, most - MIN(used, most),
                                    used ? minute_frees_in(a, limit, 0, now_us) : 0};
}

struct allowance_level
allowance_level(struct allowance *a, enum allowance_limit limit, const struct allowance_time *t)
{
    uint64_t most = a->limits.of[limit];
    turn(a, t);
    if (limit == ALLOWANCE_CONCURRENT)
        return (struct allowance_level){most, most - MIN(used_now(a, limit, t), most), 0};
    if (limit == ALLOWANCE_REQUESTS_MINUTE || limit == ALLOWANCE_TOKENS_MINUTE)
        return minute_level(a, limit, t->now_us);
    enum allowance_period p = limit == ALLOWANCE_TOKENS_DAY ? ALLOWANCE_DAY : ALLOWANCE_MONTH;
    uint64_t used = used_now(a, limit, t);
    return (struct allowance_level){most, most - MIN(used, most), period_ends_in(a, p, t->wall_us)};
}

int
allowance_refuse(const struct allowance *a, const struct allowance_refusal *refusal,
                 uint64_t tokens, struct err *reterr)
{
    const char *help = allowance_limit_rows[refusal->limit].help;
    uint64_t most = a->limits.of[refusal->limit];
    bool is_tokens = !is_of_requests(refusal->limit);
    int r = is_tokens
                ? err_set(reterr, ERR_KEY_LIMIT,
                          "the key may use %" PRIu64 " %s; %" PRIu64
                          " are used, and the request may take %" PRIu64,
                          most, help, refusal->used, tokens)
                : err_set(reterr, ERR_KEY_LIMIT, "the key may make %" PRIu64 " %s", most, help);
    if (is_tokens && refusal->used < most)
        err_fix(reterr, "a smaller max_tokens claims less");
    else if (refusal->limit == ALLOWANCE_CONCURRENT && a->background)
        err_fix(reterr,
                "%" PRIu32 " of them are responses in the background: each is one until a "
                "GET, or a cancel, of it says that it is over",
                a->background);
    return r;
}
