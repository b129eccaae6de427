#pragma once

/* What one key may still use: a state machine that knows no clock, no disk and no request.
 *
 * Claim      A request counts, and is one of those that run, from its head on. Before it goes
 *            anywhere, it claims the tokens that it may take; from then on those are reserved. It
 *            is settled by what it took, or cancelled when nothing was asked for it. What it took
 *            beyond its claim counts, too: so a limit is exceeded by no more than that of the
 *            requests that ran when it was reached.
 * Minutes    are any 60 seconds, looked at in steps of one: never is more granted in them than the
 *            limit. A claim counts from when it was made, what exceeds it from when it is settled.
 * Days and months  are those of UTC. What runs over midnight belongs to the day in which it ends. A
 *            clock that is set back makes no new day: the later one stays until it comes. Where it
 *            is days ahead, the clock was wrong then, or is now: after an hour the one of now is
 *            believed, and what was used counts as used today.
 * Crashes    Nothing is spent that was not debited durably before: tokens of a day or a month by
 *            the slice, a minute as a whole. The machine orders what is to be written, and is told
 *            when it was. So a crash forfeits a slice, or the rest of a minute, and nothing is
 *            spent twice. After a proper end (allowance_close()) nothing is forfeited. A request
 *            that takes more than its claim makes that grow meanwhile, and is over when all it took
 *            is debited: so what a crash forgets is of requests that run, and no more than they
 *            took within a debit. Of a minute, what is beyond claims is forgotten with it.
 * Estimates  What somebody has to come again for, to hear what it took, is settled by an estimate,
 *            and put right when that is known: in the day and the month in which it was settled,
 *            or, if it is more, now.
 * Background Of those at a time is also what is worked on when its request is over. Who asks after
 *            such a one is not kept from it by it. */

#include "base/err.h"

enum allowance_limit {
#define LIMIT(name, option, member, help) ALLOWANCE_##name,
#include "gateway/limit.def"
#undef LIMIT
    ALLOWANCE_LIMITS
};

struct allowance_limits {
    uint64_t of[ALLOWANCE_LIMITS]; /* 0: none */
};

struct allowance_limit_row {
    const char *option, *member, *help;
};
extern const struct allowance_limit_row allowance_limit_rows[ALLOWANCE_LIMITS];

#define ALLOWANCE_AHEAD_DAYS 2 /* a day that is more than that ahead of the clock is an error */
#define ALLOWANCE_BELIEVED_US UINT64_C(3600000000) /* after that, one of the past */

#define ALLOWANCE_MAX INT64_MAX /* of a limit, and of what counts as used */
/* No answer takes more tokens, whatever a server tells, and no claim is larger: as many as there may be
 * are reserved, or summed up, without a sum that is cut. */
#define ALLOWANCE_CLAIM_MAX (UINT64_C(1) << 40)
uint64_t allowance_sum(uint64_t a, uint64_t b); /* ALLOWANCE_MAX at the most */

struct allowance_time {
    uint64_t now_us;  /* never set back */
    uint64_t wall_us; /* since 1970, as the host believes */
};

enum allowance_period { ALLOWANCE_DAY, ALLOWANCE_MONTH, ALLOWANCE_PERIODS };

/* What is durable. Zeroed: nothing was used so far. */
struct allowance_saved {
    struct {
        uint64_t number; /* of the day since 1970, or of the month */
        uint64_t tokens; /* debited in it */
    } periods[ALLOWANCE_PERIODS];
    uint64_t minute_us; /* by the clock of now_us: until then there may be requests */
    uint64_t minute_requests, minute_tokens; /* that count as used then, or when that is known */
};

#define ALLOWANCE_SECONDS 60

struct allowance {
    struct allowance_limits limits;

    /* the rest is the machine's own */
    struct allowance_saved durable, ordered;
    bool is_ordered;
    /* Until then a minute is debited: written, and on its way. */
    uint64_t lease_us, ordered_lease_us;
    uint64_t today; /* by the clock, when it was last looked at */
    uint64_t numbers[ALLOWANCE_PERIODS];
    uint64_t used[ALLOWANCE_PERIODS]; /* settled */
    uint64_t behind_us;               /* since when the clock is days behind; 0: it is not */
    uint64_t reserved;                /* tokens */
    uint32_t running, background;
    uint64_t lacking;   /* tokens that a claim wants which was told to wait */
    uint64_t active_us; /* the last claim */
    struct allowance_second {
        uint64_t second, requests, tokens;
    } seconds[ALLOWANCE_SECONDS + 1]; /* the place of each is its remainder */
};

/* saved: as it was written last; by a process that ended without allowance_close() or not. Where
 * the clock of now_us has begun anew since then, a minute_us that is not 0 is to be now_us. */
void allowance_open(struct allowance *a, const struct allowance_limits *limits,
                    const struct allowance_saved *saved, const struct allowance_time *t);
/* What is to be written at the end. */
struct allowance_saved allowance_close(struct allowance *a, const struct allowance_time *t);

/* Within the caller's request. */
struct allowance_claim {
    uint64_t tokens;
    uint64_t grown;  /* beyond these */
    uint64_t begun;  /* the second in which the request began, */
    uint64_t second; /* and in which it claimed its tokens */
    uint64_t day;    /* in which all that is debited */
};

enum allowance_verdict {
    ALLOWANCE_GRANTED,
    ALLOWANCE_WAIT,    /* to be claimed again when what is ordered has been written */
    ALLOWANCE_REFUSED, /* a limit is reached */
};

struct allowance_refusal {
    enum allowance_limit limit;
    uint64_t used; /* of it, reserved included */
    /* After which it may be granted; 0: never, it is more than the limit itself. */
    uint64_t wait_us;
};

/* A request begins. takes: it will claim tokens, and is refused where there are none left; the
 * others are about what is there. */
enum allowance_verdict allowance_begin(struct allowance *a, struct allowance_claim *claim,
                                       bool takes, const struct allowance_time *t,
                                       struct allowance_refusal *ret_refusal) must_check;
/* One that was over before it could be judged counts as a request. */
void allowance_count(struct allowance *a, const struct allowance_time *t);
/* Of one that has begun; and anew, all of it, before it goes where it may take more: none of what
 * it had was taken. What is not granted leaves it what it had. tokens: ALLOWANCE_CLAIM_MAX at
 * the most. */
enum allowance_verdict allowance_claim(struct allowance *a, struct allowance_claim *claim,
                                       uint64_t tokens, const struct allowance_time *t,
                                       struct allowance_refusal *ret_refusal) must_check;
/* Whether it would not be refused, as far as is known now. */
bool allowance_could_claim(struct allowance *a, const struct allowance_claim *claim,
                           uint64_t tokens, const struct allowance_time *t) must_check;
/* It has taken so much so far; what of that is beyond its claim is reserved, whatever the limits.
 * False: it is not debited, and the next order is of it. */
bool allowance_grow(struct allowance *a, struct allowance_claim *claim, uint64_t tokens,
                    const struct allowance_time *t);
bool allowance_is_paid(const struct allowance *a); /* whatever was taken of it is debited */
void allowance_settle(struct allowance *a, const struct allowance_claim *claim, uint64_t tokens,
                      const struct allowance_time *t);
void allowance_cancel(struct allowance *a, const struct allowance_claim *claim,
                      const struct allowance_time *t);

/* So much of what was settled just now is an estimate. */
struct allowance_estimate {
    uint64_t tokens;
    uint64_t numbers[ALLOWANCE_PERIODS];
};
struct allowance_estimate allowance_estimated(const struct allowance *a, uint64_t tokens);
void allowance_correct(struct allowance *a, const struct allowance_estimate *estimate,
                       uint64_t tokens, const struct allowance_time *t);

/* After each of these: whether something is to be written. Until one of the next two is told,
 * nothing else is ordered. */
bool allowance_order(struct allowance *a, const struct allowance_time *t,
                     struct allowance_saved *ret_order);
void allowance_debited(struct allowance *a);
void allowance_not_debited(struct allowance *a);

/* Something of it is worked on in the background. False: so many are that no more are counted. */
#define ALLOWANCE_BACKGROUND_MAX 4096
bool allowance_background_begin(struct allowance *a) must_check;
void allowance_background_end(struct allowance *a);

/* How a limit stands now. */
struct allowance_level {
    uint64_t limit, left;
    uint64_t reset_us; /* until all of it is there again */
};
struct allowance_level allowance_level(struct allowance *a, enum allowance_limit limit,
                                       const struct allowance_time *t);

/* What a refusal says. */
int allowance_refuse(const struct allowance *a, const struct allowance_refusal *refusal,
                     uint64_t tokens, struct err *reterr);
