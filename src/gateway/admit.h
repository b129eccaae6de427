#pragma once

/* Who may ask a model now, who waits, and who is sent away: a state machine that knows no clock, no
 * socket and no model. Events go in, orders come out; the caller carries them out.
 *
 * Slots      A model has so many; some are reserved for a class and those above it.
 * Classes    0 is the first. A request of a lower class starts only when no higher one waits that
 *            could, and never in a slot that is reserved for a higher one.
 * Keys       Within a class the key that was given the least starts next, counted in tokens:
 *            estimated when a request starts, put right when it is done. A key that comes back
 *            after a pause begins where the others are, less what runs for them: what it did not
 *            use is not saved up, what it took beyond them is remembered. Within a key: first come,
 *            first served.
 * Queue      So long, and no wait is longer than its request allows. When it is full, the last of
 *            whoever has the most waiting in the lowest class makes room, so that no key fills it.
 *
 * (Deficit round robin by tokens, which this is instead of, goes round many times for one long
 * request, and cannot put an estimate right.)
 *
 * Every request that arrives gets exactly one end: done, left or refused. An event costs
 * O(log n) of what waits for each order that follows from it, and allocates only when more
 * keys are there than ever before. */

#include "base/err.h"
#include "base/heap.h"

#define ADMIT_CLASSES 4
#define ADMIT_IDLE_KEYS_MAX 1024 /* without requests, of which is remembered what they took */

struct admit;
struct admit_lane;

enum admit_state {
    ADMIT_OUTSIDE, /* not there yet, or no more */
    ADMIT_WAITING,
    ADMIT_RUNNING,
};

enum admit_order {
    ADMIT_GO,
    ADMIT_FULL,    /* the queue is full */
    ADMIT_WAITED,  /* 503: no slot came free in time */
    ADMIT_NOT_NOW, /* 503: the model was not there in time, or will not come */
};

/* Within the caller's request, zeroed but for the first members, which the caller sets. */
struct admit_ask {
    uint64_t key;     /* whose it is */
    unsigned class;   /* below ADMIT_CLASSES */
    uint64_t tokens;  /* that it may take: an estimate */
    uint64_t wait_us; /* longest; 0: now or never */
    void *arg;

    enum admit_state state;
    enum admit_order order; /* the last that was given */
    uint64_t retry_after_s; /* of a refusal: when to come again; 0: nobody can say */
    uint64_t arrived_us, started_us;

    /* the rest is the machine's own */
    struct admit_ask *next, *previous; /* of its key */
    struct admit_ask *next_order, *previous_order;
    uint64_t turn; /* of those that came to its lane */
    struct admit_lane *lane;
    bool is_ordered; /* an order waits to be taken */
    struct heap_item deadline;
};

struct admit_limits {
    uint32_t slots;
    uint32_t
        reserved[ADMIT_CLASSES]; /* for the class and those above; what exceeds the slots does not
                                         count, from the lowest class up */
    uint32_t queue;              /* that may wait */
};

/* arrived = running + waiting + done + left + refused */
struct admit_counts {
    uint32_t running, waiting;
    uint64_t arrived, done, left, refused;
};

/* A model is taken to be there until said otherwise. */
struct admit *admit_new(const struct admit_limits *limits) must_check;
void admit_free(struct admit *a); /* nobody waits or runs any more */

enum admit_presence {
    ADMIT_THERE,
    ADMIT_COMING, /* requests wait for it */
    ADMIT_GONE,   /* they are refused; those that run are not touched */
};
/* ready_in_us: after which it should be there; 0: nobody can say. */
void admit_set_presence(struct admit *a, enum admit_presence presence, uint64_t ready_in_us,
                        uint64_t now_us);
/* Fewer slots end nothing that runs, a shorter queue nobody's wait. */
void admit_set_limits(struct admit *a, const struct admit_limits *limits, uint64_t now_us);

void admit_arrive(struct admit *a, struct admit_ask *ask, uint64_t now_us);
/* It ran and is over; tokens: that it took, as far as anybody knows. */
void admit_done(struct admit *a, struct admit_ask *ask, uint64_t tokens, uint64_t now_us);
/* It goes without having used a slot; nothing happens to who is outside. An order that was
 * not taken is none any more. */
void admit_leave(struct admit *a, struct admit_ask *ask, uint64_t now_us);
void admit_tick(struct admit *a, uint64_t now_us);
/* When admit_tick() has something to do; UINT64_MAX: not as it is. */
uint64_t admit_next_us(const struct admit *a);

/* After each event: the orders it gave, in their order; NULL: there is none any more. */
struct admit_ask *admit_take_order(struct admit *a);

const struct admit_counts *admit_counts(const struct admit *a);
/* So many of those that wait with it may start before it, at the most; of those that come yet, who
 * was given less, or is of a higher class, may, too. */
uint32_t admit_before(const struct admit *a, const struct admit_ask *ask);

/* What an order that is a refusal says, and its Retry-After as a fix. */
int admit_refusal(const struct admit_ask *ask, const char *model, struct err *reterr);
