#pragma once

/* Is an engine alive? Three kinds of evidence, each with its own way to mislead, and one judgement:
 *
 *   /health   refused: nobody listens any more, dead. Late: slow, which a busy engine may well be;
 *             on time: proves a server, not an engine
 *   /metrics  steps that grow: it works. Requests and no step: still. Nothing to do: idle
 *   a canary  asked when it is idle: answered, or not
 *
 * Pure: the clock is an argument. Death shows within seconds; a suspicion too, as `degraded`; but
 * an engine is given up for hung only when nothing has moved for the whole stall limit, since
 * shorter ones are known to kill engines that were busy and well. */

#include "base/err.h"
#include "engine/metrics.h"

#define VIGIL_SUSPECT_US (8 * 1000000ULL)       /* still for so long: degraded */
#define VIGIL_CANARY_EVERY_US (60 * 1000000ULL) /* when nothing else shows that it lives */
#define VIGIL_REFUSED_MAX 2                     /* in a row: once may be a moment of overload */

enum vigil_answer { VIGIL_ANSWERED, VIGIL_SLOW, VIGIL_REFUSED };

enum vigil_verdict {
    VIGIL_ALIVE,
    VIGIL_DEGRADED, /* it may recover by itself: nothing is done */
    VIGIL_HUNG,     /* nothing has moved for the stall limit */
    VIGIL_DEAD,     /* nobody listens */
};

struct vigil {
    uint64_t stall_us;
    uint64_t moved_at;  /* the last time that it showed life */
    uint64_t canary_at; /* asked, and not answered yet; 0: none */
    unsigned refused;   /* in a row */
    bool slow;          /* the last /health */
    bool busy;          /* it has requests, as far as is known */
    bool has_load;
    struct engine_load load;
};

void vigil_init(struct vigil *v, uint64_t stall_us, uint64_t now_us);

void vigil_health(struct vigil *v, enum vigil_answer answer);
void vigil_load(struct vigil *v, uint64_t now_us, const struct engine_load *load);
bool vigil_wants_canary(const struct vigil *v, uint64_t now_us);
void vigil_canary_asked(struct vigil *v, uint64_t now_us);
void vigil_canary_answered(struct vigil *v, uint64_t now_us, bool alive);

/* Whatever is not VIGIL_ALIVE is told in *reterr. */
enum vigil_verdict vigil_judge(const struct vigil *v, uint64_t now_us, struct err *reterr);
