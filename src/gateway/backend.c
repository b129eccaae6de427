#include "gateway/backend.h"

#include "base/mem.h"
#include "base/text.h"
#include "config/config.h"
#include "sys/loop.h"

#include <stdlib.h>

#define SLOTS \
    256 /* where the configuration leaves both batch and concurrency to us: vLLM's batch */
/* A stream may be as long as it likes: it is passed on, and never held. */
#define ANSWER_BYTES_MAX (UINT64_C(1) << 40)

struct backend {
    struct loop *loop;
    unsigned holders;
    char *name;
    unsigned port;
    uint64_t queue_timeout_us;
    struct http_client *client;
    struct admit *admit;
    struct loop_timer tick;
    struct breaker breaker;
    enum backend_state state;
    bool gives_orders;
    struct backend_counts counts;
};

/* ---- the queue ---- */

static void
carry_out(struct backend *b, struct admit_ask *ask)
{
    struct visit *v = container_of(ask, struct visit, ask);
    struct err error;
    if (ask->order == ADMIT_GO) {
        v->ops->go(v);
        return;
    }
    (void)admit_refusal(ask, backend_name(b), &error);
    v->backend = NULL;
    b->counts.refused++;
    v->ops->refused(v, &error);
}

/* What an order leads to may lead to further ones: those come out of the same loop. */
static void
give_orders(struct backend *b)
{
    struct admit_ask *ask;
    if (b->gives_orders)
        return;
    b->gives_orders = true;
    while ((ask = admit_take_order(b->admit)))
        carry_out(b, ask);
    b->gives_orders = false;
    uint64_t next_us = admit_next_us(b->admit), now_us = loop_now_us(b->loop);
    if (next_us == UINT64_MAX)
        loop_timer_stop(&b->tick);
    else
        loop_timer_start(b->loop, &b->tick, next_us > now_us ? next_us - now_us : 0, 0);
}

static void
on_tick(struct loop_timer *timer)
{
    struct backend *b = container_of(timer, struct backend, tick);
    admit_tick(b->admit, loop_now_us(b->loop));
    give_orders(b);
}

/* ---- a life ---- */

static struct http_client_config
client_config(const struct config_gateway_limits *limits)
{
    struct http_client_config c = http_client_config_default;
    c.body_bytes_max = ANSWER_BYTES_MAX;
    c.connect_us = limits->connect_timeout_us;
    c.first_byte_us = limits->first_byte_timeout_us;
    c.between_us = limits->gap_timeout_us;
    c.total_us = limits->request_timeout_us;
    return c;
}

static struct admit_limits
queue_limits(const struct config_model *model)
{
    unsigned batch = model->max_num_seqs ? model->max_num_seqs : SLOTS;
    return (struct admit_limits){.slots = model->max_concurrent ? model->max_concurrent : batch,
                                 .queue = model->queue_length};
}

int
backend_new(struct loop *loop, const struct config_model *model,
            const struct config_gateway_limits *limits, struct backend **ret_backend,
            struct err *reterr)
{
    const struct http_client_config config = client_config(limits);
    _cleanup_free_ char *address = mem_printf("127.0.0.1:%u", (unsigned)model->port);
    struct http_client *client;
    int r = http_client_new(loop, address, NULL, &config, &client, reterr);
    if (r < 0)
        return r;
    const struct admit_limits queue = queue_limits(model);
    struct backend *b = mem_new(struct backend);
    b->loop = loop;
    b->holders = 1;
    b->name = mem_strdup(model->name);
    b->port = model->port;
    b->queue_timeout_us = model->queue_timeout_us;
    b->client = client;
    b->tick.expired = on_tick;
    b->admit = admit_new(&queue);
    *ret_backend = b;
    return 0;
}

void
backend_configure(struct backend *b, const struct config_model *model,
                  const struct config_gateway_limits *limits)
{
    const struct http_client_config config = client_config(limits);
    const struct admit_limits queue = queue_limits(model);
    b->queue_timeout_us = model->queue_timeout_us;
    http_client_configure(b->client, &config);
    admit_set_limits(b->admit, &queue, loop_now_us(b->loop));
    give_orders(b);
}

struct backend *
backend_hold(struct backend *b)
{
    b->holders++;
    return b;
}

void
backend_drop(struct backend *b)
{
    if (!b || --b->holders > 0)
        return;
    loop_timer_stop(&b->tick);
    http_client_free(b->client);
    admit_free(b->admit);
    free(b->name);
    free(b);
}

bool
backend_is_of(const struct backend *b, const struct config_model *model)
{
    return b->port == model->port && text_eq(b->name, model->name);
}

const char *
backend_name(const struct backend *b)
{
    return b->name;
}

bool
backend_is_usable(const struct backend *b)
{
    return breaker_admits(&b->breaker, loop_now_us(b->loop));
}

enum backend_state
backend_state(const struct backend *b)
{
    return b->state;
}

uint32_t
backend_load(const struct backend *b)
{
    const struct admit_counts *c = admit_counts(b->admit);
    return c->running + c->waiting;
}

const struct admit_counts *
backend_queue(const struct backend *b)
{
    return admit_counts(b->admit);
}

const struct backend_counts *
backend_counts(const struct backend *b)
{
    return &b->counts;
}

/* ---- visits ---- */

void
visit_begin(struct visit *v, struct backend *b, const struct visit_wish *wish)
{
    assert(!v->backend && !v->call);
    v->backend = b;
    v->has_called = v->is_trial = false;
    v->ask = (struct admit_ask){.key = wish->key,
                                .class = wish->class,
                                .tokens = wish->tokens,
                                .wait_us = b->queue_timeout_us};
    admit_arrive(b->admit, &v->ask, loop_now_us(b->loop));
    give_orders(b);
}

struct http_call *
visit_call(struct visit *v, const char *target, const struct http_call_ops *ops)
{
    struct backend *b = v->backend;
    assert(b && v->ask.state == ADMIT_RUNNING && !v->call);
    v->has_called = true;
    v->is_trial = breaker_begin(&b->breaker);
    v->call = http_call_new(b->client, "POST", target, ops, v);
    /* Engines close what is idle. What such a one may have begun on has told nobody anything. */
    http_call_repeatable(v->call);
    return v->call;
}

void
visit_heard(struct visit *v)
{
    v->backend->state = BACKEND_ANSWERS;
    breaker_succeed(&v->backend->breaker);
    v->is_trial = false;
}

/* Whose fault it is. An answer that takes longer than a request may is nobody's. A connection that is
 * refused costs nothing, and the next one tells at once that the server is there: no breaker is needed. */
static bool
is_servers_fault(const struct http_call *call, enum err_id id)
{
    if (id == ERR_HTTP_TIMEOUT)
        return call->phase != HTTP_PHASE_ANSWER;
    return id == ERR_HTTP_CUT || id == ERR_HTTP_ANSWER;
}

static void
explain(const char *name, const struct err *error, struct err *ret_error)
{
    if (error->id == ERR_HTTP_CONNECT) {
        (void)err_set(ret_error, ERR_MODEL_AWAY, "%s does not run, or does not listen yet", name);
        err_fix(ret_error, "`citadel why %s` tells more", name);
    } else if (error->id == ERR_HTTP_TIMEOUT) {
        (void)err_set(ret_error, ERR_ENGINE_LATE, "%s took longer than its answer may", name);
    } else if (error->id == ERR_HTTP_CUT) {
        (void)err_set(ret_error, ERR_ENGINE_LOST, "%s ended before its answer was complete", name);
    } else if (error->id == ERR_HTTP_ANSWER) {
        (void)err_set(ret_error, ERR_ENGINE_LOST, "%s answered with what is no answer", name);
    } else {
        (void)err_set(ret_error, ERR_SYSTEM, "the gateway could not ask %s", name);
    }
}

void
visit_told(struct visit *v, const struct err *error, struct err *ret_error)
{
    struct backend *b = v->backend;
    struct http_call *call = take_ptr(v->call);
    if (!error) {
        b->counts.answered++;
        return;
    }
    explain(backend_name(b), error, ret_error);
    if (is_servers_fault(call, error->id))
        breaker_fail(&b->breaker, v->is_trial, loop_now_us(b->loop));
    else
        breaker_pass(&b->breaker, v->is_trial);
    b->state = BACKEND_FAILS;
    b->counts.failed++;
}

static void
cancel_call(struct visit *v)
{
    http_call_cancel(take_ptr(v->call));
    breaker_pass(&v->backend->breaker, v->is_trial);
}

/* A slot that was not used, and one that was. */
static void
leave(struct visit *v, struct backend *b, const struct usage *usage)
{
    uint64_t now_us = loop_now_us(b->loop);
    uint64_t tokens = usage && usage->told ? usage->in + usage->out : v->ask.tokens;
    if (v->has_called)
        admit_done(b->admit, &v->ask, tokens, now_us);
    else
        admit_leave(b->admit, &v->ask, now_us);
}

void
visit_end(struct visit *v, const struct usage *usage)
{
    struct backend *b = v->backend;
    if (!b)
        return;
    if (v->call || !v->has_called)
        b->counts.left++;
    if (v->call)
        cancel_call(v);
    if (usage && usage->told) {
        b->counts.tokens_in += usage->in;
        b->counts.tokens_out += usage->out;
    }
    v->backend = NULL;
    leave(v, b, usage);
    give_orders(b);
}
