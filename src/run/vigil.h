#pragma once

/* Is an engine alive? What it is asked, when, and what its answers mean. Pure: the clock is an
 * argument.
 *
 *   /health   refused twice in a row: nobody listens any more, dead. Late: slow, as a busy engine may
 *             well be, and never ended for. It says that it is broken: believed after a while.
 *             On time: proves a server, not an engine
 *   /metrics  steps that grow: it works. Requests and no step: still. Nothing to do: idle
 *   a canary  a request of one token, where nothing else shows that it works: it is idle, or does
 *             not tell. Never while it is busy, asleep, or on the way
 *
 * Death shows within seconds; a suspicion within ten, as `degraded`; but an engine is given up for
 * hung only when nothing has moved for the whole stall limit, since shorter ones are known to kill
 * engines that were busy and well; for ten times that, when it never tells what runs in it. */

#include "base/err.h"
#include "engine/metrics.h"

enum { VIGIL_HEALTH = 1, VIGIL_METRICS = 2, VIGIL_CANARY = 4 };

enum vigil_answer { VIGIL_ANSWERED, VIGIL_REFUSED, VIGIL_UNWELL };

enum vigil_verdict {
    VIGIL_ALIVE,
    VIGIL_DEGRADED, /* it may recover by itself: nothing is done */
    VIGIL_HUNG,     /* nothing has moved for the stall limit */
    VIGIL_DEAD,     /* nobody listens, or it only fails */
};

struct vigil {
    uint64_t stall_us;
    bool measures; /* it has a page of metrics */
    bool asleep;   /* or on the way: only its death counts */
    unsigned beats;
    unsigned asked; /* what was asked and is not answered, and when it was last asked: */
    uint64_t health_at, metrics_at, canary_at;
    unsigned refused; /* in a row, the first at: */
    uint64_t refused_at;
    uint64_t unwell_at;    /* since when /health says so; 0: it does not */
    unsigned broken;       /* canaries in a row that were answered with an error */
    struct err unwell;     /* what it said last */
    bool has_load, untold; /* its page tells of its load; or is there, and does not */
    bool still;            /* the last two pages: work, and nothing moved */
    uint64_t moved_at;     /* when it was last seen to work, or to have nothing to do */
    uint64_t worked_at;    /* when it was last seen to work */
    struct engine_load load;
};

void vigil_init(struct vigil *v, uint64_t stall_us, bool measures, uint64_t now_us);
/* What was known of its load does not count any more, and is asked anew. */
void vigil_forget_load(struct vigil *v);
/* Falls asleep or wakes. What was asked is not waited for. */
void vigil_sleep(struct vigil *v, bool asleep, uint64_t now_us);

/* What is to be asked now, and counts as asked. To be called every VIGIL_BEAT_US; each question is
 * answered below, however late. */
#define VIGIL_BEAT_US (2 * UINT64_C(1000000))
unsigned vigil_questions(struct vigil *v, uint64_t now_us);
void vigil_health(struct vigil *v, uint64_t now_us, enum vigil_answer answer,
                  const struct err *unwell);
void vigil_load(struct vigil *v, uint64_t now_us, const struct engine_load *load);
void vigil_no_load(struct vigil *v); /* the page tells nothing of the engine */
void vigil_canary(struct vigil *v, uint64_t now_us, const struct err *broken); /* NULL: it lives */

bool vigil_is_idle(const struct vigil *v); /* known to have no requests */

/* Whatever is not VIGIL_ALIVE is told in *reterr. */
enum vigil_verdict vigil_judge(const struct vigil *v, uint64_t now_us, struct err *reterr);
