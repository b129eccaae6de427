#include "run/vigil.h"

#include "base/quantity.h"

void
vigil_init(struct vigil *v, uint64_t stall_us, uint64_t now_us)
{
    *v = (struct vigil){.stall_us = stall_us, .moved_at = now_us};
}

void
vigil_health(struct vigil *v, enum vigil_answer answer)
{
    v->refused = answer == VIGIL_REFUSED ? v->refused + 1 : 0;
    v->slow = answer == VIGIL_SLOW;
}

/* An engine that says it is idle shows life only as long as that has not been doubted: a hung one
 * may say so for ever, which the canary finds out. */
void
vigil_load(struct vigil *v, uint64_t now_us, const struct engine_load *load)
{
    enum engine_pulse pulse = v->has_load ? engine_load_pulse(&v->load, load) : ENGINE_WORKING;
    bool was_busy = v->busy;
    v->busy = load->running + load->waiting > 0;
    if (pulse == ENGINE_WORKING || (was_busy && !v->busy))
        v->moved_at = now_us;
    if (pulse == ENGINE_WORKING)
        v->canary_at = 0; /* it may wait behind others */
    v->load = *load;
    v->has_load = true;
}

bool
vigil_wants_canary(const struct vigil *v, uint64_t now_us)
{
    return v->canary_at == 0 && !v->busy && now_us - v->moved_at >= VIGIL_CANARY_EVERY_US;
}

void
vigil_canary_asked(struct vigil *v, uint64_t now_us)
{
    v->canary_at = now_us;
}

void
vigil_canary_answered(struct vigil *v, uint64_t now_us, bool alive)
{
    if (alive)
        v->moved_at = now_us;
    if (alive)
        v->canary_at = 0;
}

static enum vigil_verdict
stalled(uint64_t for_us, uint64_t stall_us, const char *what, struct err *reterr)
{
    quantity_text text;
    if (for_us < VIGIL_SUSPECT_US)
        return VIGIL_ALIVE;
    (void)err_set(reterr, ERR_ENGINE_HUNG, "%s for %s", what,
                  quantity_print_us(for_us / 1000000 * 1000000, text));
    err_fix(reterr, "it is ended after stall_limit, %s", quantity_print_us(stall_us, text));
    return for_us >= stall_us ? VIGIL_HUNG : VIGIL_DEGRADED;
}

enum vigil_verdict
vigil_judge(const struct vigil *v, uint64_t now_us, struct err *reterr)
{
    enum vigil_verdict verdict = VIGIL_ALIVE;
    if (v->refused >= VIGIL_REFUSED_MAX) {
        (void)err_set(reterr, ERR_ENGINE_CRASHED,
                      "its process is there, but nobody listens on its port any more");
        return VIGIL_DEAD;
    }
    if (v->busy)
        verdict = stalled(now_us - v->moved_at, v->stall_us,
                          "requests wait, and the engine has not moved", reterr);
    else if (v->canary_at)
        verdict = stalled(now_us - v->canary_at, v->stall_us,
                          "a request of one token has not been answered", reterr);
    if (verdict == VIGIL_ALIVE && v->slow) {
        (void)err_set(reterr, ERR_ENGINE_SLOW, "/health takes longer than 5 s; its requests go on");
        verdict = VIGIL_DEGRADED;
    }
    return verdict;
}
