#include "backup/keep.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_A_SECOND INT64_C(1000000000)
#define SECONDS_A_DAY 86400
#define FIRST_NS (INT64_C(1704067200) * NS_A_SECOND) /* 2024-01-01: no snapshot is older */

/* ---- slots ---- */

static int64_t
divide_down(int64_t n, int64_t by)
{
    return n / by - (n % by < 0);
}

static int64_t
day_of(int64_t ns)
{
    return divide_down(ns, NS_A_SECOND * SECONDS_A_DAY);
}

static int64_t
week_of(int64_t ns)
{
    return divide_down(day_of(ns) + 3, 7); /* 1970 began on a Thursday */
}

/* Years of this count begin with March, so that a leap day is the last of its year: month m of them begins
 * (153 m + 2) / 5 days after its year; 400 years have 146,097 days. */
static int64_t
month_of(int64_t ns)
{
    int64_t days = day_of(ns) + 719468; /* since 0000-03-01 */
    int64_t era = divide_down(days, 146097);
    int64_t in_era = days - era * 146097;
    int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    return (era * 400 + year) * 12 + (5 * in_year + 2) / 153;
}

static const struct rule {
    const char *word;
    int64_t (*slot)(int64_t ns); /* NULL: each snapshot is one */
    bool keeps_all;              /* of a slot */
} rules[KEEP_RULES] = {
    [KEEP_LAST] = {"last", NULL, false},           [KEEP_DAYS] = {"day", day_of, true},
    [KEEP_DAILY] = {"daily", day_of, false},       [KEEP_WEEKLY] = {"weekly", week_of, false},
    [KEEP_MONTHLY] = {"monthly", month_of, false},
};

static unsigned
wanted(const struct keep_wish *wish, enum keep_rule rule)
{
    const unsigned all[KEEP_RULES] = {[KEEP_LAST] = wish->last,
                                      [KEEP_DAYS] = wish->days,
                                      [KEEP_DAILY] = wish->daily,
                                      [KEEP_WEEKLY] = wish->weekly,
                                      [KEEP_MONTHLY] = wish->monthly};
    return all[rule];
}

/* ---- one run of snapshots, whose times can be compared ---- */

struct judged {
    const struct keep_snapshot *snapshot;
    struct keep_verdict *verdict;
    int era; /* 0: of the future; 1: believable; 2: from before there was a Citadel */
};

static int
from_newest(const void *a, const void *b)
{
    const struct judged *x = a, *y = b;
    if (x->era != y->era)
        return x->era - y->era;
    if (x->snapshot->begun_ns != y->snapshot->begun_ns)
        return x->snapshot->begun_ns > y->snapshot->begun_ns ? -1 : 1;
    return memcmp(y->snapshot->id, x->snapshot->id, HASH_SHA256_BYTES);
}

static int
worth(const struct keep_snapshot *s, const struct rule *rule)
{
    static const int of_state[] = {[KEEP_DAMAGED] = 0, [KEEP_UNVERIFIED] = 2, [KEEP_GOOD] = 4};
    return of_state[s->state] + (strcmp(s->type, rule->word) == 0);
}

/* How many of the first are in one slot with the first; and which of these is best. */
static size_t
take_slot(const struct rule *rule, const struct judged *all, size_t count, size_t *ret_best)
{
    size_t n = 1, best = 0;
    for (; rule->slot && n < count &&
           rule->slot(all[n].snapshot->begun_ns) == rule->slot(all[0].snapshot->begun_ns);
         n++)
        if (worth(all[n].snapshot, rule) > worth(all[best].snapshot, rule))
            best = n;
    *ret_best = best;
    return n;
}

static void
follow_rule(enum keep_rule rule, unsigned want, const struct judged *all, size_t count)
{
    unsigned have = 0;
    for (size_t i = 0, n, best; i < count && have < want; i += n) {
        n = take_slot(&rules[rule], all + i, count - i, &best);
        bool counts = all[i + best].snapshot->state != KEEP_DAMAGED;
        for (size_t k = 0; k < n; k++)
            if (k == best || rules[rule].keeps_all)
                all[i + k].verdict->place[rule] = have + 1;
        have += counts;
    }
}

static void
judge_era(const struct judged *all, size_t count, const struct keep_wish *wish)
{
    bool has_good = false;
    for (enum keep_rule rule = 0; rule < KEEP_RULES; rule++)
        follow_rule(rule, wanted(wish, rule), all, count);
    all[0].verdict->is_newest = true;
    for (size_t i = 0; i < count && !has_good; i++)
        has_good = all[i].verdict->is_newest_good = all[i].snapshot->state == KEEP_GOOD;
}

/* ---- all of them ---- */

static int
era_of(const struct keep_snapshot *s, int64_t now_ns)
{
    return s->begun_ns < FIRST_NS ? 2 : s->begun_ns <= now_ns;
}

static bool
stays(const struct keep_verdict *v)
{
    bool is_kept = v->is_newest || v->is_newest_good || v->is_pinned;
    for (enum keep_rule rule = 0; rule < KEEP_RULES; rule++)
        is_kept |= v->place[rule] > 0;
    return is_kept;
}

/* A mark from the future counts from now: nothing ends before its time because a clock was set back. */
static void
judge_deleted(const struct keep_snapshot *s, const struct keep_wish *wish, int64_t now_ns,
              struct keep_verdict *v)
{
    int64_t grace_ns;
    if (__builtin_mul_overflow(wish->undelete_s, NS_A_SECOND, &grace_ns) ||
        __builtin_add_overflow(MIN(s->deleted_ns, now_ns), grace_ns, &v->until_ns))
        v->until_ns = INT64_MAX;
    v->fate = v->until_ns > now_ns ? KEEP_DELETED : KEEP_ENDS;
}

/* Where nothing else is good, the newest good ones of what is deleted are held, whichever clock was right. */
static void
hold_good(const struct judged *live, size_t live_count, const struct judged *gone, size_t count)
{
    int held = -1;
    for (size_t i = 0; i < live_count; i++)
        if (live[i].snapshot->state == KEEP_GOOD)
            return;
    for (size_t i = 0; i < count; i++) {
        struct keep_verdict *v = gone[i].verdict;
        if (gone[i].snapshot->state != KEEP_GOOD || gone[i].era == held)
            continue;
        held = gone[i].era;
        v->is_newest_good = true;
        v->fate = KEEP_DELETED;
        v->until_ns = INT64_MAX;
    }
}

/* Those that are not deleted, or are pinned, which says more. */
static size_t
gather(const struct keep_snapshot *snapshots, size_t count, int64_t now_ns, bool is_deleted,
       struct keep_verdict *verdicts, struct judged *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if ((snapshots[i].is_deleted && !snapshots[i].is_pinned) == is_deleted)
            ret[n++] = (struct judged){&snapshots[i], &verdicts[i], era_of(&snapshots[i], now_ns)};
    if (n > 1)
        qsort(ret, n, sizeof(*ret), from_newest);
    return n;
}

static void
judge_live(const struct judged *all, size_t count, const struct keep_wish *wish)
{
    for (size_t i = 0, n; i < count; i += n) {
        for (n = 1; i + n < count && all[i + n].era == all[i].era; n++)
            ;
        judge_era(all + i, n, wish);
    }
    for (size_t i = 0; i < count; i++)
        all[i].verdict->fate = stays(all[i].verdict) ? KEEP_STAYS : KEEP_GOES;
}

void
keep_decide(const struct keep_snapshot *snapshots, size_t count, const struct keep_wish *wish,
            int64_t now_ns, struct keep_verdict *ret_verdicts)
{
    assert(count <= KEEP_SNAPSHOTS_MAX);
    _cleanup_free_ struct judged *all = mem_alloc((count + 1) * sizeof(*all));
    for (size_t i = 0; i < count; i++)
        ret_verdicts[i] = (struct keep_verdict){.is_pinned = snapshots[i].is_pinned,
                                                .is_damaged = snapshots[i].state == KEEP_DAMAGED};
    size_t live = gather(snapshots, count, now_ns, false, ret_verdicts, all);
    judge_live(all, live, wish);
    size_t gone = gather(snapshots, count, now_ns, true, ret_verdicts, all + live);
    for (size_t i = 0; i < gone; i++)
        judge_deleted(all[live + i].snapshot, wish, now_ns, all[live + i].verdict);
    hold_good(all, live, all + live, gone);
}

/* ---- words ---- */

static void
say(char text[KEEP_WORDS_MAX], const char *word)
{
    size_t len = strlen(text);
    (void)snprintf(text + len, KEEP_WORDS_MAX - len, "%s%s", len ? ", " : "", word);
}

const char *
keep_explain(const struct keep_verdict *verdict, const struct keep_wish *wish,
             char ret_text[KEEP_WORDS_MAX])
{
    ret_text[0] = '\0';
    if (verdict->is_pinned)
        say(ret_text, "pinned");
    if (verdict->is_newest)
        say(ret_text, "newest");
    if (verdict->is_newest_good)
        say(ret_text, "newest verified");
    for (enum keep_rule rule = 0; rule < KEEP_RULES; rule++) {
        char word[48];
        if (!verdict->place[rule])
            continue;
        (void)snprintf(word, sizeof(word), "%s %u of %u", rules[rule].word, verdict->place[rule],
                       wanted(wish, rule));
        say(ret_text, word);
    }
    if (verdict->is_damaged)
        say(ret_text, "damaged");
    return ret_text;
}
