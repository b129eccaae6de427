#pragma once

/* A request, from its head to its end, and the answers to it: bodies, streams, errors in vLLM's
 * words. Whatever an endpoint has begun for a call it stops in ops->finished(), which comes last. */

#include "base/mem.h"
#include "fmt/json.h"
#include "http/server.h"
#include "sim/form.h"
#include "sys/loop.h"

struct call;
struct route;
struct sim;

struct call_ops {
    void (*writable)(struct call *call); /* after call_write() returned false */
    void (*finished)(struct call *call, bool answered);
};

struct call {
    struct sim *sim;
    struct http_request *request;
    const struct route *route;
    const struct call_ops *ops; /* NULL: nothing goes on */
    void *work;                 /* the endpoint's */
    struct arena arena;         /* of all that is made for this call */
    struct buf out;             /* to write an answer into; kept for the next call */
    struct loop_timer delay;
    uint64_t begun_us, request_bytes, answer_bytes;
    unsigned status; /* 0: not answered yet */
    bool cut;        /* FAULT_CUT strikes it */
    char query[128];
    char name[96];                        /* what stands for {name} in the path */
    char boundary[FORM_BOUNDARY_MAX + 1]; /* of a form */
    struct call *next;                    /* of the spare ones */
};

void call_take(struct http_request *r); /* service->request */
/* What an answer of the server's own (to a malformed request, say) bears. */
const char *call_explain(void *arg, unsigned status, const char *reason, const char *why,
                         struct buf *body);
void call_say_routes(struct sim *sim);
void call_free_spare(struct sim *sim);

/* JSON to answer with, in call->out: a map, which is open. */
struct json_writer call_open_map(struct call *call);
/* The whole answer. */
void call_answer(struct call *call, unsigned status, const char *type, const void *bytes,
                 size_t len);
/* 200, with the JSON in call->out. */
void call_answer_out(struct call *call);
/* An error as vLLM's endpoint would word it; param may be NULL. */
void call_fail(struct call *call, unsigned status, const char *type, const char *param,
               const char *fmt, ...) printf_like(5, 6);
void call_fail_of_memory(struct call *call);
/* The engine is dead, or lost this request. */
void call_fail_of_engine(struct call *call);

/* A stream of events; false: wait for ops->writable(). */
void call_stream(struct call *call);
bool call_write(struct call *call, const void *bytes, size_t len);
void call_end(struct call *call);

/* Breaks the connection off: the client sees a reset. */
void call_cut(struct call *call);

/* The call needs the model: false when it has been answered already, because the model is another,
 * the engine is dead, the queue is full, or a fault has struck. model: as asked for, may be NULL. */
bool call_admit(struct call *call, const char *model);

/* The value of name=... in the query, into room bytes; NULL: there is none. */
const char *call_query(const struct call *call, const char *name, char *value, size_t room);

/* "chatcmpl-" and 32 digits (16 in newer releases), unlike any before. */
#define CALL_ID_MAX 56
void call_make_id(struct sim *sim, const char *prefix, char id[CALL_ID_MAX]);
uint64_t call_wall_s(const struct call *call);
