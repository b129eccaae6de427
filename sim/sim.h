#pragma once

/* citadel-sim: an engine without a GPU that is vLLM as a client sees it. What it says can be
 * predicted: the answer to a prompt is "Simulated answer to: " and the prompt, a word a token.
 *
 * A family of endpoints is a file; each endpoint is a row of sim/routes.def. */

#include "base/buf.h"
#include "fmt/json.h"
#include "http/server.h"
#include "sys/loop.h"

struct sim {
    struct loop *loop;
    struct http_server *server;
    const char *model; /* as clients name it */
    const char *root;  /* where its files would be: what vLLM was told to serve */
    uint32_t max_model_len;
    uint64_t started_s; /* wall clock */
    uint64_t calls;     /* makes ids */

    /* what /metrics tells */
    uint64_t running;
    uint64_t prompt_tokens;
    uint64_t generation_tokens;
    uint64_t steps; /* of the engine: a token for each request that runs */
    uint64_t finished_stop, finished_length, finished_abort;
};

/* A request with a body, from its head to its end. */
struct sim_call {
    struct sim *sim;
    struct http_request *request;
    void (*answer)(struct sim_call *call, const struct value *body);
    struct arena arena; /* of the body's tree and all that is made of it */
    struct sim_generation *generation;
};

/* Takes a request of an endpoint whose answer needs the body, which is a map of JSON. */
void sim_take_json(struct sim *sim, struct http_request *r,
                   void (*answer)(struct sim_call *call, const struct value *body));

/* An error as vLLM words it; param may be NULL. */
void sim_answer_error(struct http_request *r, unsigned status, const char *type, const char *param,
                      const char *fmt, ...) printf_like(5, 6);
void sim_answer_json(struct http_request *r, const struct buf *body);

/* What an answer of the server's own (a malformed request, say) bears. */
const char *sim_explain(void *arg, unsigned status, const char *reason, struct buf *body);

void sim_route(struct http_request *r);

/* A generation goes on when the client has caught up, and ends with its request. */
void sim_generation_continue(struct sim_call *call);
void sim_generation_finish(struct sim_call *call, bool answered);
