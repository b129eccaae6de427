#pragma once

/* Brings the machine to a generation: a new one, or one of before.
 *
 *     generation_add()             not seen by anybody yet
 *     STATE/deploy/pending.json    what is about to happen
 *     stop                         what goes, models that are to start anew, and those whose memory
 *                                  others are to have that start
 *     STORE/current                the one rename
 *     daemon-reload                systemd reads the units of the new one
 *     reload, restart, start       only what differs; each has to become ready
 *     STORE/stable                 all did; and pending.json goes
 *
 * If a unit that has changed does not become ready, the last stable generation comes back in the same
 * way; if one does not even stop, that which is current goes on. Who takes all away gets nothing back. A
 * crash leaves the old or the new one; whoever comes next finds pending.json, says so, and does
 * what was left to do, since units may still run as the older one says. */

#include "deploy/compare.h"
#include "deploy/digest.h"
#include "deploy/loss.h"

enum deploy_act { DEPLOY_STOP, DEPLOY_START, DEPLOY_RESTART, DEPLOY_RELOAD };
const char *deploy_act_word(enum deploy_act act);

struct deploy_order {
    enum deploy_act act;
    const char *unit;
    bool stops_first; /* of a restart: all that do have stopped before any starts */
    bool changed;     /* by this deployment, or since all was well; else it only does not run, and
                         should */
    const char *makes_room_for; /* a model that starts; NULL: it stops for none */
    bool failed;                /* filled by whoever carries it out */
    char reason[512];           /* then, why */
};

/* Why an order failed, as an error. */
int deploy_explain(const struct deploy_order *failed, struct err *reterr);

enum deploy_life {
    DEPLOY_RUNS,      /* as a generation said that may have been current when it started */
    DEPLOY_RUNS_SO,   /* as it is meant to, whatever was deployed then */
    DEPLOY_RUNS_LIVE, /* likewise, but for what it can take up while it runs */
    DEPLOY_RUNS_ELSE, /* as something else */
    DEPLOY_RESTS,     /* neither that, nor stopped by a person */
    DEPLOY_SHUNNED,   /* a person has stopped it, or holds it */
    DEPLOY_HELD,      /* the breaker has: it is started if it has changed, which ends that */
    DEPLOY_NOBODYS,   /* nobody here runs such units */
};

bool deploy_runs(enum deploy_life life); /* in whatever way */

/* What acts on the machine; a test has another. */
struct deploy_host {
    /* Whether it has not read, or does not find, what the current generation has for it. */
    int (*check)(void *arg, bool *ret_behind, struct err *reterr);
    /* text: what the unit is meant to be; NULL: nothing any more. */
    int (*look)(void *arg, const char *unit, const char *text, enum deploy_life *ret_life,
                struct err *reterr);
    /* A person wants it to run; or to be down, so that neither a deployment nor a boot starts it. */
    int (*wish)(void *arg, const char *unit, bool runs, struct err *reterr);
    /* Units that run and that perhaps no generation has; NULL: there are none. In the arena. */
    int (*list)(void *arg, struct arena *arena, const char ***ret_units, size_t *ret_count,
                struct err *reterr);
    /* Accounts and directories, for which the generation has files; or has none any more. */
    int (*prepare)(void *arg, bool deployed, struct err *reterr);
    int (*reload)(void *arg, struct err *reterr);
    /* All at once; each has ended, or become ready, or failed, when it returns. */
    int (*carry_out)(void *arg, struct deploy_order *orders, size_t count, struct err *reterr);
    void (*tell)(void *arg, const char *line);
    void *arg;
};

struct deploy_orders {
    struct deploy_order *items;
    size_t count;
};

struct deploy_wish {
    const char *store, *state_dir;
    const char *by, *why;
    const struct generation_file
        *files; /* by name; NULL: `number` is meant, and 0 is nothing at all */
    size_t count;
    unsigned number;
    const char *expect;              /* the digest that was shown; NULL: none was */
    const struct deploy_lack *lacks; /* of these, what is deployed is not given up */
    size_t lack_count;
    bool lose;     /* but for this: it is */
    unsigned keep; /* generations */
    /* Which units may be started that do not run; NULL: all. */
    bool (*starts)(const char *unit);
    const struct deploy_orders *undone; /* of a deployment that is taken back: what ran before it
                                           runs again; NULL: none is */
    bool stay;                          /* also when a changed unit does not become ready */
    bool insist;                        /* what a person has stopped is started, too */
};

struct deploy_outlook {
    char digest[HASH_SHA256_HEX]; /* of what it rests on */
    unsigned current, stable;     /* 0: none */
    bool same;                    /* the files are those of the current generation */
    bool behind;                  /* the machine does not see all of the current generation */
    bool interrupted;             /* a deployment did not end */
    bool failed;                  /* one did, and what it left is not as it should be */
    unsigned pending_to; /* of either: the generation that it was on the way to; 0: to nothing */
    struct deploy_change *changes;
    size_t change_count;
    struct deploy_orders orders;
    const struct deploy_lack *losses; /* of the wish's lacks, those that are deployed */
    size_t loss_count;
    const char **left; /* units that are wanted, and that a person has stopped: they stay so */
    size_t left_count;
};

/* What it would do; everything lives in the arena, DEPLOY_BYTES are enough. */
#define DEPLOY_BYTES (128 * MIB)
int deploy_look(const struct deploy_wish *wish, const struct deploy_host *host, struct arena *arena,
                struct deploy_outlook *ret, struct err *reterr) must_check;
bool deploy_is_nothing(const struct deploy_outlook *outlook);

struct deploy_end {
    unsigned from, to; /* to: what is current now */
    bool reverted;
    size_t acts;
    const struct deploy_order *failed; /* the first that did; NULL: none */
};

/* With the lock held. 0 although something failed that has not changed, or nothing was to be done.
 * ERR_DEPLOY_STALE, ERR_DEPLOY_LOSS: it is not what was expected, or something would be lost, and
 * nothing was done. ERR_DEPLOY_REVERTED: the
 * stable generation is back. ERR_DEPLOY_FAILED: there was none to go back to, or it failed, too. */
int deploy_apply(const struct deploy_wish *wish, const struct deploy_host *host,
                 struct arena *arena, struct deploy_end *ret_end, struct err *reterr) must_check;
