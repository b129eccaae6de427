/* Sleep and waking up, and the rest of the endpoints for developers. Asleep, the engine has given
 * back the memory of its weights and of its cache, and nothing moves; each part can be woken alone. */

#include "base/quantity.h"
#include "base/text.h"
#include "sim/ask.h"
#include "sim/routes.h"
#include "sim/say.h"
#include "sim/sim.h"

#include <string.h>

enum part { WEIGHTS = 1, CACHE = 2, ALL = 3 };

/* What is done when the processes have answered. */
static void
finish(struct sim *sim)
{
    struct sim_rest *rest = &sim->rest;
    struct call *call = rest->call;
    double took_s = (double)(loop_now_us(sim->loop) - rest->begun_us) / 1e6;
    bool failed = false;
    for (unsigned rank = 0; rank < sim->ranks; rank++)
        failed = failed || sim->cores.answers[rank].r < 0;
    rest->changing = false;
    rest->call = NULL;
    if (failed) {
        cores_tell(&sim->cores, ORDER_GIVE, 0);
        rest->parts = ALL;
    } else if (rest->wanted) {
        rest->parts &= ~rest->wanted;
        say(SAY_CORE, SAY_INFO, "abstract.py:331", "It took %.6f seconds to wake up tags %s.",
            took_s,
            rest->wanted == ALL       ? "{'weights', 'kv_cache'}"
            : rest->wanted == WEIGHTS ? "['weights']"
                                      : "['kv_cache']");
    } else {
        rest->parts = ALL;
        prefix_clear(&sim->prefix);
        say(SAY_CORE, SAY_INFO, "abstract.py:309", "It took %.6f seconds to fall asleep.", took_s);
    }
    if (rest->parts == 0) {
        rest->level = 0;
        batch_release(&sim->batch);
        faults_enter(&sim->faults, sim->loop, PHASE_READY);
    } else if (!rest->wanted) {
        faults_enter(&sim->faults, sim->loop, PHASE_SLEEPING);
    }
    if (call && failed)
        call_fail(call, 500, "InternalServerError", NULL,
                  "CUDA Error: out of memory at /workspace/csrc/cumem_allocator.cpp:62");
    else if (call)
        call_answer(call, 200, NULL, "", 0);
}

void
rest_told(struct sim *sim)
{
    if (sim->rest.changing)
        finish(sim);
}

static void
on_time(struct loop_timer *timer)
{
    struct sim *sim = container_of(timer, struct sim, rest.timer);
    const struct memory *m = &sim->memory;
    uint64_t bytes = 0;
    if (sim->rest.wanted & WEIGHTS)
        bytes += m->weights_bytes;
    if (sim->rest.wanted & CACHE)
        bytes += (uint64_t)MAX(m->kv_bytes, 0) + m->graphs_bytes;
    cores_tell(&sim->cores, sim->rest.wanted ? ORDER_TAKE : ORDER_GIVE, bytes);
}

static void
on_call_end(struct call *call, bool answered unused_arg)
{
    if (call->sim->rest.call == call)
        call->sim->rest.call = NULL;
}

static void
change(struct call *call, unsigned wanted, uint64_t after_us)
{
    static const struct call_ops ops = {.finished = on_call_end};
    struct sim *sim = call->sim;
    call->ops = &ops;
    sim->rest.call = call;
    sim->rest.wanted = wanted;
    sim->rest.changing = true;
    sim->rest.begun_us = loop_now_us(sim->loop);
    sim->rest.timer.expired = on_time;
    loop_timer_start(sim->loop, &sim->rest.timer, after_us, 0);
}

/* True: it cannot be done now, and the call has its answer. */
static bool
refuse(struct call *call, enum fault fault)
{
    struct sim *sim = call->sim;
    if (sim->state == SIM_DEAD)
        call_fail_of_engine(call);
    else if (faults_hold(&sim->faults, fault))
        call_fail(call, 500, "InternalServerError", NULL, "Internal Server Error");
    else if (sim->rest.changing || sim->cores.waiting)
        call_fail(call, 500, "InternalServerError", NULL,
                  "The engine is falling asleep or waking up already.");
    else
        return false;
    return true;
}

void
rest_begin(struct call *call, const struct value *body unused_arg)
{
    struct sim *sim = call->sim;
    char text[16], mode[16];
    uint64_t level = 1;
    const char *said = call_query(call, "level", text, sizeof(text));
    if (said && (quantity_parse_u64(said, &level, NULL) < 0 || level < 1 || level > 2)) {
        call_fail(call, 400, "BadRequestError", "level", "level must be 1 or 2, got '%s'.", said);
        return;
    }
    if (refuse(call, FAULT_SLEEP_FAILS))
        return;
    if (sim->rest.level) {
        call_answer(call, 200, NULL, "", 0);
        return;
    }
    sim->rest.level = (unsigned)level;
    sim->rest.weights_lost = level == 2;
    if (call_query(call, "mode", mode, sizeof(mode)) && text_eq(mode, "abort"))
        batch_clear(&sim->batch, FINISH_ABORT);
    batch_hold(&sim->batch);
    change(call, 0, sim->settings.sleep_us);
}

/* tags=weights and tags=kv_cache, several of them too; none: all. */
static bool
read_tags(const struct call *call, unsigned *ret_parts)
{
    unsigned parts = 0;
    for (const char *p = call->query; *p;) {
        size_t len = strcspn(p, "&");
        if (len == strlen("tags=weights") && text_starts(p, "tags=weights"))
            parts |= WEIGHTS;
        else if (len == strlen("tags=kv_cache") && text_starts(p, "tags=kv_cache"))
            parts |= CACHE;
        else if (text_starts(p, "tags="))
            return false;
        p += len;
        p += *p == '&';
    }
    *ret_parts = parts ? parts : ALL;
    return true;
}

void
rest_wake(struct call *call, const struct value *body unused_arg)
{
    struct sim *sim = call->sim;
    unsigned parts;
    if (!read_tags(call, &parts)) {
        call_fail(call, 400, "BadRequestError", "tags", "tags may be weights and kv_cache.");
        return;
    }
    if (refuse(call, FAULT_WAKE_FAILS))
        return;
    parts &= sim->rest.parts;
    if (parts)
        change(call, parts, sim->settings.wake_us);
    else
        call_answer(call, 200, NULL, "", 0);
}

void
rest_tell(struct call *call, const struct value *body unused_arg)
{
    const char *text = call->sim->rest.level ? "{\"is_sleeping\":true}" : "{\"is_sleeping\":false}";
    call_answer(call, 200, "application/json", text, strlen(text));
}

/* Of all that can be called remotely, the one that is needed to wake up. */
void
rest_call(struct call *call, const struct value *body)
{
    struct ask ask = {.call = call, .body = body};
    const char *method = ask_needed_text(&ask, "method");
    if (!method)
        return;
    if (!text_eq(method, "reload_weights")) {
        call_fail(call, 500, "InternalServerError", NULL, "'Worker' object has no attribute '%s'",
                  method);
        return;
    }
    if (call->sim->rest.parts & WEIGHTS) {
        call_fail(call, 500, "InternalServerError", NULL,
                  "CUDA error: an illegal memory access was encountered");
        return;
    }
    call->sim->rest.weights_lost = false;
    struct json_writer w = call_open_map(call);
    json_open_list(&w, "results");
    for (unsigned rank = 0; rank < call->sim->ranks; rank++)
        json_null(&w, NULL);
    json_close_list(&w);
    json_close_map(&w);
    call_answer_out(call);
}

void
rest_reset_prefix(struct call *call, const struct value *body unused_arg)
{
    prefix_clear(&call->sim->prefix);
    call_answer(call, 200, NULL, "", 0);
}

void
rest_reset_media(struct call *call, const struct value *body unused_arg)
{
    call_answer(call, 200, NULL, "", 0);
}
