#pragma once

/* One server that answers for models, of this host or a gateway on another: the connections to it,
 * the queue before it, and whether it is worth asking. And a visit: one request there, from its
 * wait to the last byte of its answer.
 *
 * A visit owns a place in the queue or a slot, the load that others see, and the call. visit_end()
 * gives back whatever it has by then, in whatever state it is; a second one does nothing. */

#include "gateway/admit.h"
#include "gateway/breaker.h"
#include "gateway/histogram.h"
#include "gateway/presence.h"
#include "gateway/usage.h"
#include "http/client.h"

struct backend;
struct config_gateway_limits;
struct config_model;
struct config_peer;
struct papers;
struct visit;

/* Visits at a time that take no slot: requests about responses that are there. Who begins one has
 * seen to that. */
#define BACKEND_ASIDES_MAX 256

/* As its last visit has found it. */
enum backend_state { BACKEND_UNKNOWN, BACKEND_ANSWERS, BACKEND_FAILS };

struct backend_counts {
    uint64_t answered;              /* visits with a whole answer, whatever its status */
    uint64_t failed;                /* no whole answer came */
    uint64_t left;                  /* ended before, by client or gateway */
    uint64_t refused;               /* of those that waited */
    uint64_t tokens_in, tokens_out; /* that servers told of */
};

struct backend_times {
    struct histogram queue, first, gap, whole; /* metric.def says what of */
};

/* A server as the configuration has it. */
struct backend_place {
    const struct config_model *model; /* of this host; or */
    const struct config_peer *peer;   /* another gateway, */
    struct papers *papers;            /* with which it is asked: a new back end takes the context */
};

/* Held once. It keeps nothing of the configuration. A peer's name is resolved meanwhile, and again
 * when nobody is to be reached there; until then it is not usable. */
int backend_new(struct loop *loop, const struct backend_place *place,
                const struct config_gateway_limits *limits, struct backend **ret_backend,
                struct err *reterr) must_check;
/* Other limits, of the same server. model: NULL for a peer. */
void backend_configure(struct backend *b, const struct config_model *model,
                       const struct config_gateway_limits *limits);
struct backend *backend_hold(struct backend *b);
/* With the last one it goes, when every visit has ended; NULL is none. */
void backend_drop(struct backend *b);

bool backend_is_of(const struct backend *b, const struct backend_place *place);

const char *backend_name(const struct backend *b);
bool backend_is_peer(const struct backend *b);
bool backend_is_usable(const struct backend *b);
/* Nor is it while it is tried; but whoever comes then waits for what that finds out. */
bool backend_is_tried(const struct backend *b);
/* Why it is not; and in how many seconds it may be. */
uint64_t backend_explain(const struct backend *b, struct err *ret_error);
enum backend_state backend_state(const struct backend *b);
/* Visits that take no slot; and those of one caller, as share.h has him. */
unsigned backend_asides(const struct backend *b);
unsigned backend_asides_of(const struct backend *b, uint64_t caller);
uint32_t backend_load(const struct backend *b); /* visits that run or wait */
const struct admit_counts *backend_queue(const struct backend *b);
unsigned backend_slots(const struct backend *b); /* requests that it is given at a time */
const struct backend_counts *backend_counts(const struct backend *b);
const struct backend_times *backend_times(const struct backend *b);

/* What who watches over it says. A model that is cold is asked for when a request
 * comes, once for all that come meanwhile, which wait in its queue. asker: outlives it;
 * NULL: nobody can be asked. */
void backend_set_presence(struct backend *b, const struct presence *presence,
                          const struct presence_asker *asker);
/* That it comes (NULL), as backend_set_presence() will tell; or why not. */
void backend_was_asked(struct backend *b, const struct err *why);
const struct presence *backend_presence(const struct backend *b);
bool backend_is_asked_for(const struct backend *b); /* and there is no answer yet */

/* One of these is told, once, perhaps from inside visit_begin(). Who has
 * a slot sets out at once. */
struct visit_ops {
    void (*go)(struct visit *v);                               /* it has its slot */
    void (*refused)(struct visit *v, const struct err *error); /* and has ended */
};

/* Within the caller's request, zeroed. */
struct visit {
    const struct visit_ops *ops;
    void *user;
    struct backend *backend; /* NULL: it is at none */
    struct http_call *call;  /* NULL: none is under way */
    struct admit_ask ask;
    bool has_called;
    bool is_heard;     /* the head of an answer has come */
    uint64_t begun_us; /* it set out */
    uint64_t trial;    /* of the breaker's; 0: it is none */
    bool is_held;      /* until another's trial is over: */
    struct visit *next_held, *previous_held;
    uint64_t passed_us;  /* the last part of the answer came; 0: none has */
    struct share *aside; /* its caller's, of those that have no place in the queue; NULL: it has */
};

struct visit_wish {
    uint64_t key;    /* whose it is */
    uint64_t caller; /* who that is, also without a key: share.h */
    unsigned class;
    uint64_t tokens;      /* that it may take: an estimate */
    bool is_about_stored; /* it takes no slot, and waits for nobody */
};
void visit_begin(struct visit *v, struct backend *b, const struct visit_wish *wish);
/* Whether it waits yet; for what, is put into text, in one line. */
bool visit_waits(const struct visit *v, char *text, size_t room) must_check;
/* Sets out. The caller completes the call, and tells how it ends: by
 * visit_told() from its finished(). */
struct http_call *visit_call(struct visit *v, const char *method, const char *target,
                             const struct http_call_ops *ops) must_check;
/* The head of an answer has come: the server lives. And a part of its body;
 * it may be passed on now. */
void visit_heard(struct visit *v);
void visit_passes(struct visit *v, bool is_stream);
/* By that status the server does not let the gateway itself in; what that means for the client is
 * put into ret_error, and said in the log, once until it does. Then the visit is to be ended. */
void visit_refuses_us(struct visit *v, unsigned status, struct err *ret_error);

enum visit_outcome {
    VISIT_ANSWERED,  /* whole */
    VISIT_NOT_BEGUN, /* nobody has worked on it */
    VISIT_LOST,      /* hardly anybody has: it was lost at once */
    VISIT_BEGUN,     /* somebody has, or still does */
};
/* As ops->finished() has it. What that means for the client is put into
 * ret_error, without addresses. */
enum visit_outcome visit_told(struct visit *v, const struct err *error, struct err *ret_error);
/* usage: as its server has told it, or NULL. took: the tokens that count as taken of it. */
void visit_end(struct visit *v, const struct usage *usage, uint64_t took);
