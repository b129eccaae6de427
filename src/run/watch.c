/* What the engine is asked, and what its answers mean. */

#include "run/shim_int.h"

#include "engine/canary.h"
#include "engine/metrics.h"
#include "run/wish.h"

#include <stdio.h>
#include <string.h>

#define HEALTH_US (5 * 1000000ULL)
#define PAGE_BYTES_MAX (8 * MIB)

static void become_ready(struct shim *s);

/* ---- /health ---- */

static void
on_health(struct http_call *call, const struct err *error)
{
    struct shim *s = call->user;
    bool well = !error && call->head.status == 200;
    s->health = NULL;
    if (s->state.phase == RUN_STARTING) {
        if (well)
            watch_ask_canary(s);
        return;
    }
    if (error && error->id == ERR_HTTP_TIMEOUT)
        vigil_health(&s->vigil, VIGIL_SLOW);
    else if (error && call->phase == HTTP_PHASE_CONNECT)
        vigil_health(&s->vigil, VIGIL_REFUSED);
    else
        vigil_health(&s->vigil, VIGIL_ANSWERED);
}

void
watch_poll(struct shim *s)
{
    static const struct http_call_ops ops = {.finished = on_health};
    if (s->health || s->leaving)
        return;
    s->health = http_call_new(s->quick, "GET", "/health", &ops, s);
    http_call_whole(s->health, NULL, 0);
}

/* ---- /metrics ---- */

static void
on_metrics(struct http_call *call, const struct err *error)
{
    struct shim *s = call->user;
    struct engine_load load;
    s->metrics = NULL;
    if (error || call->head.status != 200 ||
        engine_load_read(s->kind->dialect, call->content.data, call->content.len, &load, NULL) < 0)
        return;
    vigil_load(&s->vigil, shim_now(s), &load);
    s->state.running = load.running;
    s->state.waiting = load.waiting;
    s->state.kv_usage = load.kv_usage;
    if (s->state.phase == RUN_DRAINING)
        leave_tick(s, shim_now(s));
}

static void
ask_metrics(struct shim *s)
{
    static const struct http_call_ops ops = {.finished = on_metrics};
    if (s->metrics || s->kind->dialect == ENGINE_SAYS_NOTHING)
        return;
    s->metrics = http_call_new(s->patient, "GET", "/metrics", &ops, s);
    http_call_whole(s->metrics, NULL, 0);
}

/* ---- canaries ---- */

static enum engine_kind
configured_kind(const struct shim *s)
{
    static const enum engine_kind kinds[] = {
        [CONFIG_KIND_AUTO] = ENGINE_KIND_AUTO,
        [CONFIG_KIND_CHAT] = ENGINE_KIND_CHAT,
        [CONFIG_KIND_COMPLETION] = ENGINE_KIND_COMPLETION,
        [CONFIG_KIND_EMBEDDING] = ENGINE_KIND_EMBEDDING,
        [CONFIG_KIND_RERANK] = ENGINE_KIND_RERANK,
        [CONFIG_KIND_CLASSIFY] = ENGINE_KIND_CLASSIFY,
        [CONFIG_KIND_AUDIO] = ENGINE_KIND_TRANSCRIPTION,
    };
    return kinds[s->model->kind];
}

static void
canary_failed(struct shim *s, const struct err *err)
{
    if (s->state.phase == RUN_STARTING) {
        shim_status(s, "not ready: %s", err->what);
        s->attempt = 0; /* the next poll tries again */
        return;
    }
    vigil_canary_answered(&s->vigil, shim_now(s), false);
    shim_trouble(s, err);
}

/* That a question is wrong will not change by asking it again. */
static void
canary_impossible(struct shim *s, const struct err *err)
{
    if (s->state.phase == RUN_STARTING)
        leave(s, err);
    else
        canary_failed(s, err);
}

static void
on_canary(struct http_call *call, const struct err *error)
{
    struct shim *s = call->user;
    enum engine_kind kind = engine_canary_attempt(configured_kind(s), s->attempt);
    struct err err = {0};
    s->canary = NULL;
    if (error) {
        canary_failed(s, error);
        return;
    }
    switch (engine_canary_judge(s->answers ? s->answers : kind, run_served_name(s->model),
                                (int)call->head.status, call->content.data, call->content.len,
                                &err)) {
    case ENGINE_ALIVE:
        s->answers = s->answers ? s->answers : kind;
        vigil_canary_answered(&s->vigil, shim_now(s), true);
        if (s->state.phase == RUN_STARTING)
            become_ready(s);
        break;
    case ENGINE_OTHER_KIND:
        if (s->answers ||
            engine_canary_attempt(configured_kind(s), ++s->attempt) == ENGINE_KIND_COUNT)
            canary_impossible(s, &err);
        else
            watch_ask_canary(s);
        break;
    case ENGINE_NO_MODEL:
    case ENGINE_KEY_REFUSED:
        canary_impossible(s, &err);
        break;
    case ENGINE_BUSY: /* it lives: others are served */
        if (s->state.phase != RUN_STARTING)
            vigil_canary_answered(&s->vigil, shim_now(s), true);
        break;
    case ENGINE_BROKEN:
        canary_failed(s, &err);
        break;
    }
}

void
watch_ask_canary(struct shim *s)
{
    static const struct http_call_ops ops = {.finished = on_canary};
    struct engine_request request;
    enum engine_kind kind =
        s->answers ? s->answers : engine_canary_attempt(configured_kind(s), s->attempt);
    if (s->canary || s->leaving)
        return;
    buf_clear(&s->canary_body);
    if (engine_canary_make(kind, run_served_name(s->model), &s->canary_body, &request) < 0)
        return;
    if (s->state.phase != RUN_STARTING)
        vigil_canary_asked(&s->vigil, shim_now(s));
    s->canary = http_call_new(s->patient, request.method, request.path, &ops, s);
    if (request.content_type)
        http_call_field(s->canary, "Content-Type", request.content_type);
    http_call_whole(s->canary, request.body, request.body_len);
}

/* ---- readiness and verdicts ---- */

static void
become_ready(struct shim *s)
{
    uint64_t now = shim_now(s);
    start_finish(s);
    vigil_init(&s->vigil, s->model->stall_limit_us, now);
    s->healthy_since = now;
    shim_phase(s, RUN_READY, "ready: answers %s", engine_kind_what(s->answers));
    (void)notify_send(&s->notify, "READY=1\nSTATUS=%s", s->state.status);
}

/* A model that stays well has nothing to answer for any more. */
#define FORGIVE_US (600 * 1000000ULL)

static void
act_on(struct shim *s, enum vigil_verdict verdict, const struct err *why, uint64_t now)
{
    if (verdict == VIGIL_DEAD || verdict == VIGIL_HUNG) {
        leave(s, why);
        return;
    }
    if (verdict == VIGIL_DEGRADED) {
        s->healthy_since = now;
        shim_trouble(s, why);
        return;
    }
    shim_trouble(s, NULL);
    if (s->record.failures && now - s->healthy_since >= FORGIVE_US) {
        s->record.failures = s->state.failures = 0; /* even where it cannot be written */
        (void)!run_record_change(s->config->paths.state, s->model->name, run_record_forgive, NULL,
                                 &s->record, NULL);
    }
}

void
watch_tick(struct shim *s, uint64_t now)
{
    struct err why = {0};
    if (s->state.phase == RUN_DRAINING)
        ask_metrics(s);
    if (s->state.phase != RUN_READY && s->state.phase != RUN_DEGRADED)
        return;
    watch_poll(s);
    ask_metrics(s);
    if (vigil_wants_canary(&s->vigil, now))
        watch_ask_canary(s);
    enum vigil_verdict verdict = vigil_judge(&s->vigil, now, &why);
    act_on(s, verdict, &why, now);
    if (!s->leaving)
        (void)notify_send(&s->notify, "WATCHDOG=1");
}

void
watch_stop(struct shim *s)
{
    struct http_call **calls[] = {&s->health, &s->metrics, &s->canary};
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        if (*calls[i])
            http_call_cancel(*calls[i]);
        *calls[i] = NULL;
    }
}

int
watch_open(struct shim *s, struct err *reterr)
{
    struct http_client_config config = http_client_config_default;
    config.body_bytes_max = PAGE_BYTES_MAX;
    config.connections_max = 8;
    config.idle_max = 2;
    config.total_us = HEALTH_US;
    int r = http_client_new(s->loop, s->address, NULL, &config, &s->quick, reterr);
    if (r < 0)
        return r;
    /* Whoever waits longer than the stall limit has been judged by then; waking may read weights. */
    config.total_us = MAX(2 * s->model->stall_limit_us, s->model->start_stall_limit_us);
    config.first_byte_us = config.between_us = 0;
    return http_client_new(s->loop, s->address, NULL, &config, &s->patient, reterr);
}

void
watch_close(struct shim *s)
{
    watch_stop(s);
    if (s->quick)
        http_client_free(s->quick);
    if (s->patient)
        http_client_free(s->patient);
    buf_finish(&s->canary_body);
}
