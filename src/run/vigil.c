#include "run/vigil.h"

#include "base/quantity.h"

#define SECOND UINT64_C(1000000)

#define REFUSED_MAX 2               /* in a row: once may be a moment of overload */
#define REFUSED_US (3 * SECOND / 2) /* and for so long, however often it was asked */
#define SLOW_US (5 * SECOND)        /* an answer to /health, or the page of metrics */
#define UNWELL_MAX_US (30 * SECOND) /* vLLM ends by itself 5 s after its engine died */
#define BROKEN_MAX 3                /* canaries answered with an error: it is no accident */
#define BROKEN_AGAIN_US (10 * SECOND)
/* An idle engine's metrics are read every second beat, a busy one's every beat. Work that hangs from
 * its first moment is seen 4 s later at most, as news; 2 s later as still; and is suspect after 2 s
 * more: within 10 s. */
#define IDLE_BEATS 2
#define STILL_US (7 * SECOND / 2)
#define CANARY_EVERY_US (60 * SECOND)
#define CANARY_SLOW_US (10 * SECOND)
/* Of an engine that never tells what runs in it, one long job cannot be told from a hang. */
#define BLIND_FACTOR 10

void
vigil_init(struct vigil *v, uint64_t stall_us, bool measures, uint64_t now_us)
{
    *v = (struct vigil){
        .stall_us = stall_us, .measures = measures, .moved_at = now_us, .worked_at = now_us};
}

void
vigil_forget_load(struct vigil *v)
{
    v->has_load = v->still = false;
    v->asked &= ~(unsigned)VIGIL_METRICS;
}

void
vigil_sleep(struct vigil *v, bool asleep, uint64_t now_us)
{
    vigil_init(v, v->stall_us, v->measures, now_us);
    v->asleep = asleep;
}

/* ---- questions ---- */

static bool
is_overdue(const struct vigil *v, unsigned question, uint64_t asked_at, uint64_t now_us,
           uint64_t limit_us)
{
    return v->asked & question && now_us - asked_at >= limit_us;
}

/* What was told of its work holds until the next page is overdue. */
static bool
knows_load(const struct vigil *v, uint64_t now_us)
{
    return v->has_load && !is_overdue(v, VIGIL_METRICS, v->metrics_at, now_us, SLOW_US);
}

static bool
is_busy(const struct vigil *v)
{
    return v->load.running + v->load.waiting > 0;
}

bool
vigil_is_idle(const struct vigil *v)
{
    return v->has_load && !is_busy(v);
}

static bool
wants_canary(const struct vigil *v, uint64_t now_us)
{
    if (knows_load(v, now_us) && is_busy(v))
        return false;
    if (v->broken)
        return now_us - v->canary_at >= BROKEN_AGAIN_US;
    return now_us - MAX(v->worked_at, v->canary_at) >= CANARY_EVERY_US;
}

static bool
wants_metrics(const struct vigil *v)
{
    bool often = !v->has_load || is_busy(v) || v->asked & VIGIL_CANARY;
    return v->measures && !v->asleep && (often || v->beats % IDLE_BEATS == 0);
}

static unsigned
ask(struct vigil *v, unsigned question, uint64_t *asked_at, uint64_t now_us)
{
    if (v->asked & question)
        return 0;
    v->asked |= question;
    *asked_at = now_us;
    return question;
}

unsigned
vigil_questions(struct vigil *v, uint64_t now_us)
{
    unsigned questions = ask(v, VIGIL_HEALTH, &v->health_at, now_us);
    v->beats++;
    if (wants_metrics(v))
        questions |= ask(v, VIGIL_METRICS, &v->metrics_at, now_us);
    if (!v->asleep && wants_canary(v, now_us))
        questions |= ask(v, VIGIL_CANARY, &v->canary_at, now_us);
    return questions;
}

/* ---- answers ---- */

void
vigil_health(struct vigil *v, uint64_t now_us, enum vigil_answer answer, const struct err *unwell)
{
    v->asked &= ~(unsigned)VIGIL_HEALTH;
    if (answer == VIGIL_REFUSED && v->refused == 0)
        v->refused_at = now_us;
    v->refused = answer == VIGIL_REFUSED ? v->refused + 1 : 0;
    if (answer != VIGIL_UNWELL) {
        v->unwell_at = 0;
        return;
    }
    v->unwell = *unwell;
    if (v->unwell_at == 0)
        v->unwell_at = now_us;
}

void
vigil_load(struct vigil *v, uint64_t now_us, const struct engine_load *load)
{
    enum engine_pulse pulse = v->has_load ? engine_load_pulse(&v->load, load) : ENGINE_WORKING;
    v->asked &= ~(unsigned)VIGIL_METRICS;
    v->still = pulse == ENGINE_STILL;
    if (!v->still)
        v->moved_at = now_us;
    if (pulse == ENGINE_WORKING && v->has_load)
        v->worked_at = now_us;
    v->load = *load;
    v->has_load = true;
    v->untold = false;
}

void
vigil_no_load(struct vigil *v)
{
    vigil_forget_load(v);
    v->untold = true;
}

void
vigil_canary(struct vigil *v, uint64_t now_us, const struct err *broken)
{
    v->asked &= ~(unsigned)VIGIL_CANARY;
    if (broken) {
        v->unwell = *broken;
        v->broken++;
        return;
    }
    v->broken = 0;
    v->worked_at = now_us;
}

/* ---- judgement ---- */

static enum vigil_verdict
suspect(enum vigil_verdict verdict, enum err_id id, uint64_t for_us, const char *what,
        struct err *reterr)
{
    quantity_text text;
    (void)err_set(reterr, id, "%s for %s", what, quantity_print_us(for_us / SECOND * SECOND, text));
    err_fix(reterr, "a busy engine may be slow: it is not ended for that");
    return verdict;
}

static enum vigil_verdict
stalled(const struct vigil *v, uint64_t for_us, uint64_t suspect_us, const char *what,
        struct err *reterr)
{
    quantity_text text;
    if (for_us < suspect_us)
        return VIGIL_ALIVE;
    unsigned factor = v->untold || !v->measures ? BLIND_FACTOR : 1;
    bool hung = for_us / factor >= v->stall_us;
    (void)suspect(VIGIL_ALIVE, ERR_ENGINE_HUNG, for_us, what, reterr);
    err_fix(reterr, "%s%sstall_limit, %s",
            hung ? "if it was only busy, raise " : "it is ended after ",
            factor > 1 && !hung ? "ten times " : "", quantity_print_us(v->stall_us, text));
    return hung ? VIGIL_HUNG : VIGIL_DEGRADED;
}

/* A hang is when work waits and nothing moves: its own work, by its metrics; else a canary that goes
 * unanswered while no other work moves either. */
static enum vigil_verdict
judge_work(const struct vigil *v, uint64_t now_us, struct err *reterr)
{
    if (v->still)
        return stalled(v, now_us - v->moved_at, STILL_US, "requests wait, and nothing has moved",
                       reterr);
    if (v->asked & VIGIL_CANARY)
        return stalled(v, now_us - MAX(v->canary_at, v->worked_at), CANARY_SLOW_US,
                       "a request of one token has gone unanswered", reterr);
    return VIGIL_ALIVE;
}

static enum vigil_verdict
judge_words(const struct vigil *v, uint64_t now_us, struct err *reterr)
{
    if (v->unwell_at == 0 && v->broken == 0)
        return VIGIL_ALIVE;
    *reterr = v->unwell;
    bool for_good = v->unwell_at && now_us - v->unwell_at >= UNWELL_MAX_US;
    return for_good || v->broken >= BROKEN_MAX ? VIGIL_DEAD : VIGIL_DEGRADED;
}

static enum vigil_verdict
judge_haste(const struct vigil *v, uint64_t now_us, struct err *reterr)
{
    if (is_overdue(v, VIGIL_HEALTH, v->health_at, now_us, SLOW_US))
        return suspect(VIGIL_DEGRADED, ERR_ENGINE_SLOW, now_us - v->health_at,
                       "/health has not been answered", reterr);
    if (is_overdue(v, VIGIL_METRICS, v->metrics_at, now_us, SLOW_US))
        return suspect(VIGIL_DEGRADED, ERR_ENGINE_SLOW, now_us - v->metrics_at,
                       "/metrics has not been answered", reterr);
    return VIGIL_ALIVE;
}

enum vigil_verdict
vigil_judge(const struct vigil *v, uint64_t now_us, struct err *reterr)
{
    struct err unheard = {0};
    enum vigil_verdict verdict = VIGIL_ALIVE;
    reterr = reterr ? reterr : &unheard;
    if (v->refused >= REFUSED_MAX && now_us - v->refused_at >= REFUSED_US) {
        (void)err_set(reterr, ERR_ENGINE_CRASHED,
                      "its process is there, but nobody listens on its port any more");
        return VIGIL_DEAD;
    }
    if (!v->asleep)
        verdict = judge_work(v, now_us, reterr);
    if (verdict == VIGIL_ALIVE && !v->asleep)
        verdict = judge_words(v, now_us, reterr);
    if (verdict == VIGIL_ALIVE && !v->asleep)
        verdict = judge_haste(v, now_us, reterr);
    return verdict;
}
