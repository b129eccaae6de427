/* What the engine is asked, and what its answers mean. */

#include "run/shim_int.h"

#include "base/quantity.h"
#include "engine/canary.h"
#include "engine/metrics.h"
#include "run/wish.h"
#include "sys/listener.h"
#include "sys/log.h"

#include <stdio.h>
#include <string.h>

#define CONNECT_US UINT64_C(2000000)
#define PAGE_BYTES_MAX (8 * MIB)
/* A trial of an engine that starts or wakes: asked again, and for how often it may fail. */
#define TRIALS_BROKEN_MAX 3
#define SIM_BATCH 256
#define LATE_US UINT64_C(5000000)

/* ---- on the way to the first answer ---- */

static bool
is_loaded(const struct shim *s)
{
    return s->progress.phase >= ENGINE_READY;
}

/* Told with how long it has lasted, since that is what ends it. */
static void
hinder(struct shim *s, const char *what)
{
    uint64_t limit = s->model->start_stall_limit_us, since = shim_now(s) - s->news_at;
    quantity_text limit_text, since_text;
    if (what != s->hindrance)
        (void)snprintf(s->hindrance, sizeof(s->hindrance), "%s", what);
    shim_status(s, "not ready for %s, ended after start_stall_limit, %s: %s",
                quantity_print_us(since / 1000000 * 1000000, since_text),
                quantity_print_us(limit, limit_text), s->hindrance);
}

/* A question is asked again when its call ends without an answer; who asks counts from the first. */
static struct http_call *
ask(struct shim *s, const struct engine_request *request, const struct http_call_ops *ops)
{
    struct http_call *call = http_call_new(s->client, request->method, request->path, ops, s);
    if (request->content_type)
        http_call_field(call, "Content-Type", request->content_type);
    http_call_whole(call, request->body, request->body_len);
    return call;
}

/* ---- /health ---- */

/* A server may lack the route: that it answers is what counts then. */
static enum vigil_answer
read_health(struct http_call *call, const struct err *error, struct err *unwell)
{
    if (error && error->id == ERR_HTTP_CONNECT)
        return VIGIL_REFUSED;
    if (error)
        (void)err_set(unwell, ERR_ENGINE_CRASHED, "/health failed: %s", error->what);
    else if (call->head.status >= 500)
        (void)err_set(unwell, ERR_ENGINE_CRASHED, "/health answers %u", call->head.status);
    return unwell->id == ERR_NONE ? VIGIL_ANSWERED : VIGIL_UNWELL;
}

/* Between our look at the port and the engine's, somebody else may have taken it, or may share it. Of a
 * server whose log nobody knows it is believed that it answers: it may run in a container, or
 * elsewhere. */
static void
look_for_strangers(struct shim *s)
{
    bool known = s->kind->dialect != ENGINE_SAYS_NOTHING;
    s->stranger = known && listener_find(s->session, s->model->port) == LISTENER_OTHER;
    s->strangers_at = shim_now(s);
}

static bool
is_the_engine(struct shim *s)
{
    struct err why;
    look_for_strangers(s);
    if (!s->stranger)
        return true;
    start_tell_port(s, &why);
    hinder(s, why.what);
    return false;
}

/* An engine that loads may well say so in its answers. */
static void
take_unwell(struct shim *s, const struct err *unwell)
{
    if (unwell->id && (s->kind->dialect == ENGINE_SAYS_NOTHING || is_loaded(s)))
        hinder(s, unwell->what);
}

static void
take_first_health(struct shim *s, enum vigil_answer answer, const struct err *unwell)
{
    s->asked_at = 0;
    s->hindrance[0] = '\0';
    if (answer == VIGIL_REFUSED || !is_the_engine(s))
        return;
    take_unwell(s, unwell);
    if (answer == VIGIL_ANSWERED)
        start_listens(s);
}

static void
on_health(struct http_call *call, const struct err *error)
{
    struct shim *s = call->user;
    struct err unwell = {0};
    s->health = NULL;
    if (error && (error->id == ERR_HTTP_TIMEOUT || error->id == ERR_SYSTEM))
        return; /* it is late, or we could not ask: it is asked again */
    enum vigil_answer answer = read_health(call, error, &unwell);
    if (s->state.phase == RUN_STARTING)
        take_first_health(s, answer, &unwell);
    else
        vigil_health(&s->vigil, shim_now(s), answer, &unwell);
}

void
watch_poll(struct shim *s)
{
    static const struct http_call_ops ops = {.finished = on_health};
    if (s->state.phase == RUN_STARTING && s->asked_at == 0)
        s->asked_at = shim_now(s);
    if (!s->health)
        s->health = ask(s, &(struct engine_request){"GET", "/health", NULL, NULL, 0}, &ops);
}

/* ---- /metrics ---- */

/* Of each of its engines: as the configuration says, or llama-server; of vLLM it follows from what it runs
 * on, and a simulator is as vLLM on a small GPU. */
static unsigned
batch_of(const struct shim *s)
{
    const struct config_model *m = s->model;
    double told = s->progress.figures.seqs;
    unsigned batch = 0;
    if (m->max_num_seqs)
        return m->max_num_seqs;
    if (s->kind->dialect == ENGINE_SAYS_LLAMA)
        return told >= 1 && told <= UINT16_MAX ? (unsigned)told : 0;
    if (m->engine == CONFIG_ENGINE_VLLM && s->has_version)
        batch = engine_vllm_batch(&s->version, s->room.gpu_name, s->room.gpu_bytes);
    else if (m->engine == CONFIG_ENGINE_SIM)
        batch = SIM_BATCH;
    uint64_t tokens = m->max_num_batched_tokens; /* each takes one of these, at least */
    return tokens && tokens < batch ? (unsigned)tokens : batch;
}

static void
on_metrics(struct http_call *call, const struct err *error)
{
    struct shim *s = call->user;
    struct engine_load load = {0};
    s->metrics = NULL;
    if (error && error->id == ERR_HTTP_TIMEOUT)
        return;
    if (error || call->head.status != 200 ||
        engine_load_read(s->kind->dialect, call->content.data, call->content.len, &load, NULL) <
            0 ||
        !load.told) {
        vigil_no_load(&s->vigil);
        return;
    }
    vigil_load(&s->vigil, shim_now(s), &load);
    s->state.running = load.running;
    s->state.waiting = load.waiting;
    s->state.kv_usage = load.kv_usage;
    s->state.slots = batch_of(s) * MAX(load.engines, 1U);
    leave_tick(s, shim_now(s));
    sleep_tick(s, shim_now(s));
}

void
watch_ask_metrics(struct shim *s)
{
    static const struct http_call_ops ops = {.finished = on_metrics};
    if (!s->metrics)
        s->metrics = ask(s, &(struct engine_request){"GET", "/metrics", NULL, NULL, 0}, &ops);
}

/* ---- canaries ---- */

static enum engine_kind
next_kind(const struct shim *s)
{
    return s->answers ? s->answers : engine_canary_attempt(run_engine_kind(s->model), s->attempt);
}

static void ask_canary(struct shim *s);

/* The answer of one that serves. Whatever it says, it lives, unless it fails. */
static void
take_sign(struct shim *s, enum engine_answer answer, const struct err *why)
{
    vigil_canary(&s->vigil, shim_now(s), answer == ENGINE_BROKEN ? why : NULL);
}

static void
fail_trial(struct shim *s, const struct err *why)
{
    if (++s->broken >= TRIALS_BROKEN_MAX)
        leave(s, why);
    else
        hinder(s, why->what); /* the next beat tries again */
}

/* The answer of one that starts or wakes. */
static void
take_trial(struct shim *s, enum engine_answer answer, const struct err *why)
{
    s->asked_at = 0;
    switch (answer) {
    case ENGINE_ALIVE:
        s->hindrance[0] = '\0';
        s->answers = next_kind(s);
        s->news_at = shim_now(s);
        take_ptr(s->on_trial)(s);
        break;
    case ENGINE_OTHER_KIND:
        s->attempt++;
        if (s->answers || next_kind(s) == ENGINE_KIND_COUNT)
            leave(s, why);
        else
            ask_canary(s);
        break;
    case ENGINE_NO_MODEL:
    case ENGINE_KEY_REFUSED:
        leave(s, why);
        break;
    case ENGINE_BUSY:
        hinder(s, why->what);
        break;
    case ENGINE_BROKEN:
        fail_trial(s, why);
        break;
    }
}

static void
on_canary(struct http_call *call, const struct err *error)
{
    struct shim *s = call->user;
    struct err why = {0};
    enum engine_answer answer = ENGINE_BROKEN;
    s->canary = NULL;
    if (error && error->id == ERR_HTTP_TIMEOUT)
        return;
    if (error)
        (void)err_set(&why, ERR_ENGINE_CRASHED, "a request of one token failed: %s", error->what);
    else
        answer =
            engine_canary_judge(next_kind(s), run_served_name(s->model), (int)call->head.status,
                                call->content.data, call->content.len, &why);
    if (s->on_trial)
        take_trial(s, answer, &why);
    else
        take_sign(s, answer, &why);
}

static void
ask_canary(struct shim *s)
{
    static const struct http_call_ops ops = {.finished = on_canary};
    struct engine_request request;
    if (s->on_trial && s->asked_at == 0)
        s->asked_at = shim_now(s);
    if (s->canary)
        return;
    int r = engine_canary_make(next_kind(s), run_served_name(s->model), &s->canary_body, &request);
    assert(r == 0); /* a name and a question always fit */
    s->canary = ask(s, &request, &ops);
}

void
watch_try(struct shim *s, void (*then)(struct shim *s))
{
    if (s->on_trial)
        return;
    s->on_trial = then;
    s->broken = 0;
    s->asked_at = 0;
    ask_canary(s);
}

/* ---- the beat ---- */

static void
watch_start(struct shim *s, uint64_t now)
{
    bool late = s->asked_at && now - s->asked_at >= LATE_US;
    if (late && !s->on_trial && is_the_engine(s))
        hinder(s, "/health is not answered");
    else if (late && s->on_trial)
        hinder(s, "a request of one token is not answered");
    else if (s->hindrance[0])
        hinder(s, s->hindrance);
}

/* A model that stays well has nothing to answer for any more. */
#define FORGIVE_US UINT64_C(600000000)

static void
forgive(struct shim *s, uint64_t now)
{
    struct err err;
    if (s->record.failures == 0 || now - s->healthy_since < FORGIVE_US)
        return;
    s->record.failures = s->state.failures = 0; /* even where it cannot be written */
    if (run_record_change(s->config->paths.state, s->model->name, run_record_forgive, NULL,
                          &s->record, &err) < 0)
        log_err(&err);
}

static void
act_on(struct shim *s, enum vigil_verdict verdict, const struct err *why, uint64_t now)
{
    if (verdict == VIGIL_DEAD || verdict == VIGIL_HUNG) {
        leave(s, verdict == VIGIL_DEAD && start_has_verdict(s) ? &s->progress.why : why);
        return;
    }
    shim_trouble(s, verdict == VIGIL_DEGRADED ? why : NULL);
    if (verdict == VIGIL_DEGRADED)
        s->healthy_since = now;
    forgive(s, now);
}

/* Who shares the port later takes requests too: it is told, but nobody is ended for that. It is seen by
 * a walk through all processes, so not at every beat. */
static enum vigil_verdict
judge(struct shim *s, uint64_t now, struct err *ret_why)
{
    enum vigil_verdict verdict = vigil_judge(&s->vigil, now, ret_why);
    if (now - s->strangers_at >= s->model->stall_limit_us / 2)
        look_for_strangers(s);
    if (verdict != VIGIL_ALIVE || !s->stranger)
        return verdict;
    start_tell_port(s, ret_why);
    return VIGIL_DEGRADED;
}

/* Calls end when nobody answers for long; then what they asked is asked again here. */
static void
ask_questions(struct shim *s, uint64_t now)
{
    unsigned questions = vigil_questions(&s->vigil, now);
    if (questions & VIGIL_HEALTH || s->vigil.asked & VIGIL_HEALTH)
        watch_poll(s);
    if (questions & VIGIL_METRICS || s->vigil.asked & VIGIL_METRICS)
        watch_ask_metrics(s);
    if (questions & VIGIL_CANARY || s->vigil.asked & VIGIL_CANARY)
        ask_canary(s);
}

void
watch_tick(struct shim *s, uint64_t now)
{
    struct err why = {0};
    bool dies_anyway = s->state.phase == RUN_DRAINING;
    if (s->on_trial)
        ask_canary(s);
    if (s->on_trial || s->state.phase == RUN_STARTING)
        watch_start(s, now);
    if (s->state.phase < RUN_READY || s->state.phase >= RUN_STOPPING)
        return;
    ask_questions(s, now);
    enum vigil_verdict verdict = judge(s, now, &why);
    if (!dies_anyway || verdict == VIGIL_DEAD)
        act_on(s, verdict, &why, now);
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
    s->on_trial = NULL;
}

int
watch_open(struct shim *s, struct err *reterr)
{
    struct http_client_config config = http_client_config_default;
    config.body_bytes_max = PAGE_BYTES_MAX;
    config.connections_max = 8;
    config.idle_max = 0; /* that it takes new connections is part of the answer */
    config.connect_us = CONNECT_US;
    /* Lateness is judged elsewhere, and sooner; waking may read all weights. */
    config.total_us = MAX(2 * s->model->stall_limit_us, s->model->start_stall_limit_us);
    config.first_byte_us = config.between_us = 0;
    return http_client_new(s->loop, s->address, NULL, &config, &s->client, reterr);
}

void
watch_close(struct shim *s)
{
    watch_stop(s);
    http_client_free(s->client);
    buf_finish(&s->canary_body);
}
