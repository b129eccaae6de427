#include "gateway/backend.h"

#include "base/mem.h"
#include "base/quantity.h"
#include "base/text.h"
#include "config/config.h"
#include "gateway/papers.h"
#include "gateway/peer.h"
#include "gateway/share.h"
#include "http/tls.h"
#include "sys/log.h"
#include "sys/loop.h"
#include "sys/resolve.h"
#include "sys/sock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where neither the configuration nor the engine says: the largest batch that vLLM makes by itself.
 * An engine that makes a smaller one queues the rest. */
#define SLOTS 1024
/* On another gateway, which has a queue of its own: connections are the limit. */
#define PEER_SLOTS 4096
/* A stream may be as long as it likes: it is passed on, and never held. */
#define ANSWER_BYTES_MAX (UINT64_C(1) << 40)
/* A name is not asked for more often than that. */
#define RESOLVE_PAUSE_US UINT64_C(10000000)

/* For a model that is cold. */
enum asked { ASKED_NOT, ASKED, ASKED_GRANTED };
/* So long who has refused to bring it is not asked again. */
#define REFUSED_US UINT64_C(2000000)

struct backend {
    struct loop *loop;
    unsigned holders;
    char *name;
    unsigned port; /* of a model */
    uint64_t queue_timeout_us;
    struct http_client_config config;
    struct http_client *client; /* NULL: its address is not known yet */
    struct admit *admit;
    unsigned wanted_slots, kept_slots, queue_length; /* of a model; wanted: 0: as its engine says */
    unsigned told_slots;                             /* that it has; 0: it has not said */
    struct loop_timer tick;
    struct breaker breaker;
    struct visit *trial;                  /* of the breaker; NULL: there is none, or it is over */
    struct loop_timer lasts;              /* until it has lasted */
    struct visit *first_held, *last_held; /* they have a slot, and wait for what it finds out */
    unsigned asides;                      /* visits that take no slot */
    struct shares *callers;               /* of these */
    enum backend_state state;
    bool refuses_us; /* it was said that its server does, */
    bool is_absurd;  /* and that it tells of what cannot be */
    bool gives_orders;
    struct backend_counts counts;
    struct backend_times times;

    struct presence presence;
    const struct presence_asker *asker;
    enum asked asked;
    struct err refusal;  /* of who was asked */
    uint64_t refused_us; /* until then he is not asked again */
    uint64_t coming_us;  /* since then it is */
    uint64_t start_us;   /* so long its last start took; 0: nobody knows */

    char *url; /* of a peer; NULL: it is none */
    struct peer_url peer;
    char *authorities; /* file of whom it is trusted by; NULL: those of the system */
    char authorities_hash[HASH_SHA256_HEX]; /* of what that file had in it */
    struct tls_context *tls;                /* NULL: it is asked without */
    char *authorization;
    struct resolve *resolve;
    uint64_t resolved_us;
    struct loop_timer again; /* it was not resolved */
};

/* ---- the queue ---- */

static void
explain_refusal(const struct backend *b, const struct admit_ask *ask, struct err *ret_error)
{
    (void)admit_refusal(ask, b->name, ret_error);
    if (ask->order != ADMIT_NOT_NOW)
        return;
    if (loop_now_us(b->loop) < b->refused_us)
        (void)err_set(ret_error, ERR_MODEL_AWAY, "%s", b->refusal.what);
    else if (b->presence.why[0])
        (void)err_set(ret_error, ERR_MODEL_AWAY, "%s is %s: %s", b->name,
                      presence_word(b->presence.state), b->presence.why);
    err_fix(ret_error, "`citadel why %s` tells more", b->name);
}

static void
drop_aside(struct visit *v)
{
    struct backend *b = v->backend;
    b->asides--;
    share_drop(b->callers, take_ptr(v->aside));
}

static void
refuse(struct visit *v, const struct err *error)
{
    v->backend->counts.refused++;
    if (v->aside)
        drop_aside(v);
    v->backend = NULL;
    v->ops->refused(v, error);
}

/* It has failed while this one waited. */
static void
turn_back(struct visit *v)
{
    struct backend *b = v->backend;
    struct err error;
    admit_leave(b->admit, &v->ask, loop_now_us(b->loop));
    v->ask.retry_after_s = backend_explain(b, &error);
    refuse(v, &error);
}

/* ---- what a trial finds out ---- */

static void
hold(struct visit *v)
{
    struct backend *b = v->backend;
    v->is_held = true;
    v->next_held = NULL;
    v->previous_held = b->last_held;
    *(b->last_held ? &b->last_held->next_held : &b->first_held) = v;
    b->last_held = v;
}

static void
release(struct visit *v)
{
    struct backend *b = v->backend;
    *(v->previous_held ? &v->previous_held->next_held : &b->first_held) = v->next_held;
    *(v->next_held ? &v->next_held->previous_held : &b->last_held) = v->previous_held;
    v->is_held = false;
}

static void
begin_trial(struct visit *v)
{
    struct backend *b = v->backend;
    b->trial = v;
    loop_timer_start(b->loop, &b->lasts, BREAKER_TRIAL_US, 0);
}

static void give_orders(struct backend *b);

/* Whom it has not reached yet it can say nothing about. */
static void
on_lasts(struct loop_timer *timer)
{
    struct backend *b = container_of(timer, struct backend, lasts);
    const struct visit *v = b->trial;
    if (v && v->call && v->call->phase == HTTP_PHASE_CONNECT) {
        loop_timer_start(b->loop, &b->lasts, BREAKER_TRIAL_US, 0);
        return;
    }
    breaker_last(&b->breaker);
    give_orders(b);
}

/* Nobody is refused for a trial that is under way: it soon tells. */
static void
set_out(struct visit *v)
{
    struct backend *b = v->backend;
    if (breaker_is_tried(&b->breaker)) {
        hold(v);
        return;
    }
    if (!breaker_begin(&b->breaker, loop_now_us(b->loop), &v->trial)) {
        turn_back(v);
        return;
    }
    if (v->trial)
        begin_trial(v);
    if (!v->aside)
        histogram_add(&b->times.queue, v->ask.started_us - v->ask.arrived_us);
    v->ops->go(v);
}

static void
carry_out(struct backend *b, struct admit_ask *ask)
{
    struct visit *v = container_of(ask, struct visit, ask);
    struct err error;
    if (ask->order == ADMIT_GO) {
        set_out(v);
        return;
    }
    explain_refusal(b, ask, &error);
    refuse(v, &error);
}

/* Whose trial is over. */
static bool
set_out_held(struct backend *b)
{
    struct visit *v = b->first_held;
    if (!v || breaker_is_tried(&b->breaker))
        return false;
    release(v);
    set_out(v);
    return true;
}

/* What an order leads to may lead to further ones: those come out of the same loop. */
static void
give_orders(struct backend *b)
{
    struct admit_ask *ask;
    if (b->gives_orders)
        return;
    b->gives_orders = true;
    do {
        while ((ask = admit_take_order(b->admit)))
            carry_out(b, ask);
    } while (set_out_held(b));
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

/* ---- its address ---- */

static int
open_client(struct backend *b, const char *address, const char *host, struct err *reterr)
{
    int r = http_client_new(b->loop, address, host, &b->config, &b->client, reterr);
    if (r == 0 && b->tls)
        http_client_speak_tls(b->client, b->tls, b->peer.host);
    return r;
}

static void
on_resolved(void *arg, const char *ip, const char *why unused_arg)
{
    struct backend *b = arg;
    sock_addr_text address;
    b->resolve = NULL;
    b->resolved_us = loop_now_us(b->loop);
    int r = -ENOENT;
    if (ip && b->client)
        r = http_client_move(b->client, sock_ip_print(ip, b->peer.port, address), NULL);
    else if (ip)
        r = open_client(b, sock_ip_print(ip, b->peer.port, address), b->peer.authority, NULL);
    if (r < 0 && !b->client) {
        b->state = BACKEND_FAILS;
        loop_timer_start(b->loop, &b->again, RESOLVE_PAUSE_US, 0);
    }
}

static void
resolve_again(struct loop_timer *timer)
{
    struct backend *b = container_of(timer, struct backend, again);
    b->resolve = resolve_begin(b->loop, b->peer.host, on_resolved, b);
}

/* Nobody is to be reached there: it may have moved. */
static void
resolve_anew(struct backend *b)
{
    bool has_name = backend_is_peer(b) && !b->peer.is_ip;
    if (has_name && !b->resolve && loop_now_us(b->loop) - b->resolved_us >= RESOLVE_PAUSE_US)
        b->resolve = resolve_begin(b->loop, b->peer.host, on_resolved, b);
}

/* ---- its limits ---- */

static void
allow_connections(struct http_client_config *c, unsigned slots)
{
    c->connections_max = slots + BACKEND_ASIDES_MAX;
    c->idle_max = slots;
}

static struct http_client_config
client_config(const struct config_gateway_limits *limits)
{
    struct http_client_config c = http_client_config_default;
    c.body_bytes_max = ANSWER_BYTES_MAX;
    c.request_bytes_max = BUF_CEILING_MAX; /* ours are limited before */
    c.connect_us = limits->connect_timeout_us;
    c.first_byte_us = limits->first_byte_timeout_us;
    c.between_us = limits->gap_timeout_us;
    c.total_us = limits->request_timeout_us;
    return c;
}

static struct admit_limits
queue_limits(const struct backend *b)
{
    unsigned told = b->told_slots ? b->told_slots : SLOTS;
    unsigned slots = b->wanted_slots ? b->wanted_slots : told;
    /* One is always left for the others. */
    return (struct admit_limits){
        .slots = slots, .reserved = {MIN(b->kept_slots, slots - 1)}, .queue = b->queue_length};
}

static void
take_limits(struct backend *b, const struct config_model *model,
            const struct config_gateway_limits *limits)
{
    b->wanted_slots = PEER_SLOTS;
    if (model) {
        b->wanted_slots = model->max_concurrent ? model->max_concurrent : model->max_num_seqs;
        b->kept_slots = model->priority_slots;
        b->queue_length = model->queue_length;
        b->queue_timeout_us = model->queue_timeout_us;
    }
    b->config = client_config(limits);
    allow_connections(&b->config, queue_limits(b).slots);
}

static void
show_limits(struct backend *b)
{
    const struct admit_limits queue = queue_limits(b);
    allow_connections(&b->config, queue.slots);
    if (b->client)
        http_client_configure(b->client, &b->config);
    admit_set_limits(b->admit, &queue, loop_now_us(b->loop));
    give_orders(b);
}

void
backend_configure(struct backend *b, const struct config_model *model,
                  const struct config_gateway_limits *limits)
{
    take_limits(b, model, limits);
    show_limits(b);
}

/* ---- a life ---- */

static int
open_model(struct backend *b, const struct config_model *model, struct err *reterr)
{
    sock_addr_text address;
    b->port = model->port;
    return open_client(b, sock_ip_print("127.0.0.1", model->port, address), NULL, reterr);
}

static int
read_url(struct backend *b, const struct config_peer *peer, struct err *reterr)
{
    _cleanup_free_ char *option = mem_printf("gateway.peers.%s.url", peer->name);
    b->url = mem_strdup(peer->url);
    return peer_read_url(option, b->url, &b->peer, reterr);
}

static void
take_papers(struct backend *b, const struct config_peer *peer, struct papers *papers)
{
    b->authorities = peer->ca ? mem_strdup(peer->ca) : NULL;
    memcpy(b->authorities_hash, papers->authorities_hash, sizeof(b->authorities_hash));
    b->tls = take_ptr(papers->tls);
    if (secret_is_set(&papers->key))
        b->authorization = mem_printf("Bearer %s", secret_reveal(&papers->key));
}

/* An address is used at once, a name is asked for. */
static int
open_peer(struct backend *b, const struct backend_place *place, struct err *reterr)
{
    sock_addr_text address;
    int r = read_url(b, place->peer, reterr);
    if (r < 0)
        return r;
    take_papers(b, place->peer, place->papers);
    if (b->peer.is_ip)
        return open_client(b, sock_ip_print(b->peer.host, b->peer.port, address), b->peer.authority,
                           reterr);
    b->again.expired = resolve_again;
    b->resolve = resolve_begin(b->loop, b->peer.host, on_resolved, b);
    return 0;
}

int
backend_new(struct loop *loop, const struct backend_place *place,
            const struct config_gateway_limits *limits, struct backend **ret_backend,
            struct err *reterr)
{
    struct backend *b = mem_new(struct backend);
    b->loop = loop;
    b->holders = 1;
    b->name = mem_strdup(place->model ? place->model->name : place->peer->name);
    b->tick.expired = on_tick;
    b->lasts.expired = on_lasts;
    b->callers = shares_new();
    take_limits(b, place->model, limits);
    const struct admit_limits queue = queue_limits(b);
    b->admit = admit_new(&queue);
    int r = place->model ? open_model(b, place->model, reterr) : open_peer(b, place, reterr);
    if (r < 0)
        backend_drop(b);
    else
        *ret_backend = b;
    return r;
}

struct backend *
backend_hold(struct backend *b)
{
    b->holders++;
    return b;
}

static void
forget(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

void
backend_drop(struct backend *b)
{
    if (!b || --b->holders > 0)
        return;
    resolve_forget(b->resolve);
    loop_timer_stop(&b->again);
    loop_timer_stop(&b->tick);
    loop_timer_stop(&b->lasts);
    http_client_free(b->client);
    tls_context_free(b->tls);
    admit_free(b->admit);
    shares_free(b->callers);
    forget(b->authorization);
    free(b->authorities);
    free(b->url);
    free(b->name);
    free(b);
}

static bool
has_key(const struct backend *b, const struct secret *key)
{
    if (!b->authorization || !secret_is_set(key))
        return !b->authorization && !secret_is_set(key);
    return text_eq(b->authorization + strlen("Bearer "), secret_reveal(key));
}

/* As their file was read last. */
static bool
has_authorities(const struct backend *b, const char *path, const struct papers *papers)
{
    return text_eq(b->authorities, path) && text_eq(b->authorities_hash, papers->authorities_hash);
}

bool
backend_is_of(const struct backend *b, const struct backend_place *place)
{
    if (place->model)
        return !b->url && b->port == place->model->port && text_eq(b->name, place->model->name);
    return text_eq(b->url, place->peer->url) && text_eq(b->name, place->peer->name) &&
           has_authorities(b, place->peer->ca, place->papers) && has_key(b, &place->papers->key);
}

const char *
backend_name(const struct backend *b)
{
    return b->name;
}

bool
backend_is_peer(const struct backend *b)
{
    return b->url;
}

bool
backend_is_usable(const struct backend *b)
{
    return b->client && breaker_admits(&b->breaker, loop_now_us(b->loop));
}

bool
backend_is_tried(const struct backend *b)
{
    return breaker_is_tried(&b->breaker);
}

uint64_t
backend_explain(const struct backend *b, struct err *ret_error)
{
    uint64_t now_us = loop_now_us(b->loop), us;
    if (!b->client) {
        (void)err_set(ret_error, ERR_MODEL_AWAY, "the address of the host %s is not known yet",
                      b->name);
        us = b->resolve ? 0 : RESOLVE_PAUSE_US;
    } else {
        (void)err_set(ret_error, ERR_MODEL_AWAY,
                      "%s has failed repeatedly, and is not asked for a while", b->name);
        us = breaker_opens_us(&b->breaker, now_us) - now_us;
    }
    return MAX((us + 999999) / 1000000, UINT64_C(1));
}

unsigned
backend_asides(const struct backend *b)
{
    return b->asides;
}

unsigned
backend_asides_of(const struct backend *b, uint64_t caller)
{
    return share_requests(b->callers, caller);
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

unsigned
backend_slots(const struct backend *b)
{
    return queue_limits(b).slots;
}

const struct backend_counts *
backend_counts(const struct backend *b)
{
    return &b->counts;
}

/* ---- whether it is there ---- */

const char *
presence_word(enum presence_state state)
{
    static const char *const words[] = {
#define PRESENCE(name, word) [PRESENCE_##name] = (word),
        PRESENCES(PRESENCE)
#undef PRESENCE
    };
    return words[state];
}

const struct presence *
backend_presence(const struct backend *b)
{
    return &b->presence;
}

bool
backend_is_asked_for(const struct backend *b)
{
    return b->asked == ASKED;
}

static enum admit_presence
admit_presence_of(const struct backend *b)
{
    static const enum admit_presence states[PRESENCE_COUNT] = {[PRESENCE_UNKNOWN] = ADMIT_THERE,
                                                               [PRESENCE_THERE] = ADMIT_THERE,
                                                               [PRESENCE_COMING] = ADMIT_COMING,
                                                               [PRESENCE_COLD] = ADMIT_GONE,
                                                               [PRESENCE_AWAY] = ADMIT_GONE};
    return b->asked != ASKED_NOT ? ADMIT_COMING : states[b->presence.state];
}

/* As long as its last start took, which is what anybody can say. */
static uint64_t
ready_in(const struct backend *b, uint64_t now_us)
{
    uint64_t ready_us = b->coming_us + b->start_us;
    if (b->start_us == 0 || admit_presence_of(b) != ADMIT_COMING)
        return 0;
    return b->coming_us == 0 ? b->start_us : MAX(ready_us, now_us + 1000000) - now_us;
}

static void
show_presence(struct backend *b)
{
    uint64_t now_us = loop_now_us(b->loop);
    admit_set_presence(b->admit, admit_presence_of(b), ready_in(b, now_us), now_us);
    give_orders(b);
}

static void
refuse_for_a_while(struct backend *b, const struct err *why)
{
    b->asked = ASKED_NOT;
    b->refusal = *why;
    b->refused_us = loop_now_us(b->loop) + REFUSED_US;
}

static void
time_its_start(struct backend *b, enum presence_state state)
{
    uint64_t now_us = loop_now_us(b->loop);
    if (state == PRESENCE_COMING && b->coming_us == 0)
        b->coming_us = now_us;
    if (state == PRESENCE_THERE && b->coming_us)
        b->start_us = now_us - b->coming_us;
    if (state != PRESENCE_COMING)
        b->coming_us = 0;
}

/* What has failed was another process than the one that comes, or is there now. */
static bool
is_another(const struct backend *b, enum presence_state state)
{
    enum presence_state before = b->presence.state;
    return state != before && before != PRESENCE_UNKNOWN &&
           (state == PRESENCE_COMING || state == PRESENCE_THERE);
}

void
backend_set_presence(struct backend *b, const struct presence *presence,
                     const struct presence_asker *asker)
{
    struct err why;
    time_its_start(b, presence->state);
    if (is_another(b, presence->state))
        breaker_succeed(&b->breaker);
    if (presence->slots && presence->slots != b->told_slots) {
        b->told_slots = presence->slots;
        show_limits(b);
    }
    b->presence = *presence;
    b->asker = asker;
    if (presence->state != PRESENCE_COLD)
        b->asked = ASKED_NOT;
    if (b->asked == ASKED_GRANTED) {
        (void)err_set(&why, ERR_MODEL_AWAY, "%s was started, and is %s: %s", b->name,
                      presence_word(presence->state), presence->why);
        refuse_for_a_while(b, &why);
    }
    show_presence(b);
}

void
backend_was_asked(struct backend *b, const struct err *why)
{
    if (b->asked != ASKED)
        return;
    b->asked = ASKED_GRANTED;
    if (!why)
        return;
    refuse_for_a_while(b, why);
    show_presence(b);
}

static void
ask_for_it(struct backend *b)
{
    if (b->presence.state != PRESENCE_COLD || b->asked != ASKED_NOT || !b->asker ||
        loop_now_us(b->loop) < b->refused_us)
        return;
    b->asked = ASKED;
    show_presence(b);
    b->asker->ask(b->asker->arg, b->name);
}

const struct backend_times *
backend_times(const struct backend *b)
{
    return &b->times;
}

/* ---- visits ---- */

/* It has its own connections, so that it takes none of those who have a slot. */
static void
begin_aside(struct visit *v, uint64_t caller)
{
    struct backend *b = v->backend;
    assert(b->asides < BACKEND_ASIDES_MAX);
    b->asides++;
    v->aside = share_take(b->callers, caller);
    set_out(v);
}

void
visit_begin(struct visit *v, struct backend *b, const struct visit_wish *wish)
{
    assert(!v->backend && !v->call);
    v->backend = b;
    v->has_called = false;
    v->trial = v->passed_us = 0;
    v->ask = (struct admit_ask){.key = wish->key,
                                .class = wish->class,
                                .tokens = wish->tokens,
                                .wait_us = b->queue_timeout_us};
    if (wish->is_about_stored) {
        begin_aside(v, wish->caller);
        return;
    }
    ask_for_it(b);
    admit_arrive(b->admit, &v->ask, loop_now_us(b->loop));
    give_orders(b);
}

static int
tell_presence(const struct backend *b, char *text, size_t room)
{
    const char *why = b->asked != ASKED_NOT ? "it was asked for" : b->presence.why;
    uint64_t ready_us = ready_in(b, loop_now_us(b->loop));
    quantity_text within;
    return snprintf(text, room, "%s is %s%s%s%s%s", b->name, presence_word(b->presence.state),
                    why[0] ? ": " : "", why, ready_us ? "; it should be there in " : "",
                    ready_us ? quantity_print_us(ready_us / 1000000 * 1000000, within) : "");
}

bool
visit_waits(const struct visit *v, char *text, size_t room)
{
    const struct backend *b = v->backend;
    if (b && v->is_held) {
        text_make_safe(text, room,
                       snprintf(text, room, "%s has failed, and is being tried", b->name));
        return true;
    }
    if (!b || v->aside || v->ask.state != ADMIT_WAITING)
        return false;
    const struct admit_counts *n = admit_counts(b->admit);
    int wanted =
        admit_presence_of(b) != ADMIT_THERE
            ? tell_presence(b, text, room)
            : snprintf(text, room,
                       "%s is busy with %u requests; at most %u of the %u that wait go before",
                       b->name, n->running, admit_before(b->admit, &v->ask), n->waiting);
    text_make_safe(text, room, wanted);
    return true;
}

struct http_call *
visit_call(struct visit *v, const char *method, const char *target, const struct http_call_ops *ops)
{
    struct backend *b = v->backend;
    _cleanup_free_ char *based =
        b->peer.base_len ? mem_printf("%.*s%s", (int)b->peer.base_len, b->peer.base, target) : NULL;
    assert(b->client && !v->call && (v->ask.state == ADMIT_RUNNING || v->aside));
    v->has_called = true;
    v->is_heard = false;
    v->begun_us = loop_now_us(b->loop);
    v->call = http_call_new(b->client, method, based ? based : target, ops, v);
    /* Servers close what is idle: hardly anybody has begun on what is lost at once. */
    http_call_repeatable(v->call);
    if (b->authorization)
        http_call_field(v->call, "Authorization", b->authorization);
    if (backend_is_peer(b))
        http_call_field(v->call, PEER_FIELD, "1");
    return v->call;
}

void
visit_heard(struct visit *v)
{
    v->is_heard = true;
    v->backend->state = BACKEND_ANSWERS;
    breaker_last(&v->backend->breaker); /* others may try, too; that it can is known at the end */
    v->trial = 0;
    give_orders(v->backend);
}

void
visit_refuses_us(struct visit *v, unsigned status, struct err *ret_error)
{
    struct backend *b = v->backend;
    bool was_said = b->refuses_us;
    b->refuses_us = true;
    (void)err_set(ret_error, ERR_MODEL_AWAY, "%s does not let this gateway in: it answered %u",
                  b->name, status);
    if (backend_is_peer(b))
        err_fix(ret_error, "gateway.peers.%s.key is what it is shown", b->name);
    if (!was_said)
        log_err(ret_error);
}

void
visit_passes(struct visit *v, bool is_stream)
{
    struct backend *b = v->backend;
    uint64_t now_us = loop_now_us(b->loop);
    if (v->aside)
        return;
    if (v->passed_us == 0)
        histogram_add(&b->times.first, now_us - v->ask.arrived_us);
    else if (is_stream)
        histogram_add(&b->times.gap, now_us - v->passed_us);
    v->passed_us = now_us;
}

/* Whose fault it is. An answer that takes longer than a request may is nobody's. A
 * connection that is refused costs nothing, and the next one tells at once that the server
 * is there: no breaker is needed. */
static bool
is_servers_fault(const struct visit *v, enum err_id id)
{
    if (id == ERR_HTTP_TIMEOUT)
        return !v->is_heard;
    return id == ERR_HTTP_CUT || id == ERR_HTTP_ANSWER;
}

static void
explain(const struct backend *b, const struct err *error, struct err *ret_error)
{
    const char *name = b->name;
    if (error->id == ERR_HTTP_CONNECT && backend_is_peer(b)) {
        (void)err_set(ret_error, ERR_MODEL_AWAY, "the host %s is not to be reached", name);
    } else if (error->id == ERR_HTTP_CONNECT) {
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

static enum visit_outcome
outcome_of(const struct http_call *call)
{
    if (call->phase == HTTP_PHASE_CONNECT)
        return call->sent_anew ? VISIT_LOST : VISIT_NOT_BEGUN;
    return call->lost_at_once ? VISIT_LOST : VISIT_BEGUN;
}

static void
count_failure(struct visit *v, enum err_id id)
{
    struct breaker *breaker = &v->backend->breaker;
    uint64_t now_us = loop_now_us(v->backend->loop);
    if (!is_servers_fault(v, id))
        breaker_pass(breaker, v->trial);
    else if (id == ERR_HTTP_CUT)
        breaker_cut(breaker, v->trial, v->begun_us, now_us);
    else
        breaker_fail(breaker, v->trial, now_us);
}

enum visit_outcome
visit_told(struct visit *v, const struct err *error, struct err *ret_error)
{
    struct backend *b = v->backend;
    struct http_call *call = take_ptr(v->call);
    if (!error) {
        breaker_succeed(&b->breaker);
        b->counts.answered++;
        b->refuses_us = false;
        if (!v->aside)
            histogram_add(&b->times.whole, loop_now_us(b->loop) - v->ask.arrived_us);
        return VISIT_ANSWERED;
    }
    explain(b, error, ret_error);
    count_failure(v, error->id);
    if (error->id == ERR_HTTP_CONNECT)
        resolve_anew(b);
    if (error->id != ERR_SYSTEM) /* what we lack says nothing of it */
        b->state = BACKEND_FAILS;
    b->counts.failed++;
    return outcome_of(call);
}

/* A slot that was not used, and one that was. */
static void
leave(struct visit *v, uint64_t took)
{
    struct backend *b = v->backend;
    uint64_t now_us = loop_now_us(b->loop);
    if (v->aside)
        drop_aside(v);
    else if (v->has_called)
        admit_done(b->admit, &v->ask, took, now_us);
    else
        admit_leave(b->admit, &v->ask, now_us);
}

void
visit_end(struct visit *v, const struct usage *usage, uint64_t took)
{
    struct backend *b = v->backend;
    if (!b)
        return;
    if (v->call || !v->has_called)
        b->counts.left++;
    if (v->call)
        http_call_cancel(take_ptr(v->call));
    breaker_pass(&b->breaker, v->trial); /* whether it has called or not */
    if (v->is_held)
        release(v);
    if (b->trial == v)
        b->trial = NULL;
    if (usage && usage->absurd && !b->is_absurd) {
        b->is_absurd = true;
        log_warning(
            "%s tells of %" PRIu64
            " tokens or more in one answer, which cannot be: what such answers took is estimated",
            b->name, usage->absurd);
    }
    if (usage && usage->told) {
        b->counts.tokens_in += usage->in;
        b->counts.tokens_out += usage->out;
    }
    leave(v, took);
    v->backend = NULL;
    give_orders(b);
}
