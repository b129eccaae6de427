#pragma once

/* Retention: which snapshots of one subject stay, and why.
 *
 * Each rule looks at slots (days, weeks from Monday, months; or single snapshots), from the newest on, and
 * keeps one of each until it has as many as are wanted; of those in a slot the best: verified before
 * unverified, then the one of the slot's own type, then the newest. What is damaged stays where a slot has
 * nothing better, and does not count.
 *
 * The clock of whoever made a snapshot may have been wrong, and so may ours be. Hence only slots
 * that hold something count: neither a leap of years nor a month in which nothing was backed up
 * takes what is there. What claims to be from the future, or from before there was a Citadel, is
 * thinned apart, and takes nobody's place.
 *
 * Days are those of UTC: hosts in different zones that share a repository must come to the same, and with
 * local days a change of zone would move all slots, and so thin again what was thinned. */

#include "base/hash.h"

#define KEEP_SNAPSHOTS_MAX ((size_t)1 << 20) /* whoever lists them sees to that */

enum keep_state { KEEP_UNVERIFIED, KEEP_GOOD, KEEP_DAMAGED };

struct keep_snapshot {
    uint8_t id[HASH_SHA256_BYTES]; /* decides between two of the same time */
    int64_t begun_ns;              /* since 1970, as all times here */
    const char *type;              /* "daily", "weekly", "monthly", or another */
    enum keep_state state;
    bool is_pinned;
    bool is_deleted; /* marked as such, at deleted_ns */
    int64_t deleted_ns;
};

/* How many are wanted; the rules add up. */
struct keep_wish {
    unsigned last, daily, weekly, monthly;
    unsigned days;       /* all that is of so many; today is one of them, and not over */
    uint64_t undelete_s; /* how long what is deleted can come back */
};

enum keep_rule { KEEP_LAST, KEEP_DAYS, KEEP_DAILY, KEEP_WEEKLY, KEEP_MONTHLY, KEEP_RULES };

enum keep_fate {
    KEEP_STAYS,
    KEEP_GOES,    /* is to be marked as deleted */
    KEEP_DELETED, /* is, and can come back until until_ns */
    KEEP_ENDS,    /* is no more to be brought back: may be removed */
};

struct keep_verdict {
    enum keep_fate fate;
    int64_t until_ns;
    /* Why it stays; more than one may hold. */
    bool is_newest, is_newest_good, is_pinned;
    bool is_damaged;            /* so it stays where a rule keeps it, without counting */
    unsigned place[KEEP_RULES]; /* the how manieth of those that the rule wants; 0: not by it */
};

/* A verdict for each snapshot, whatever their order. At least one stays where any was not deleted; the
 * newest one that is good never goes; and who wants more never has fewer. */
void keep_decide(const struct keep_snapshot *snapshots, size_t count, const struct keep_wish *wish,
                 int64_t now_ns, struct keep_verdict *ret_verdicts);

/* "newest, daily 1 of 7, weekly 1 of 4" */
#define KEEP_WORDS_MAX 192
const char *keep_explain(const struct keep_verdict *verdict, const struct keep_wish *wish,
                         char ret_text[KEEP_WORDS_MAX]);
