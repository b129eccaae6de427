#pragma once

/* A request as OpenTelemetry tells of it, in the JSON of OTLP: one span of kind server, and
 * below it those of its wait for a turn, of the call to the engine (with the attributes gen_ai.*
 * of the conventions for generative AI), and within that one of the stream that came. What was
 * said is in none of them. */

#include "gateway/route.h"
#include "gateway/trace.h"

struct buf;
struct ledger_row;

struct span_request {
    const struct trace *trace;
    const struct ledger_row *row;
    const struct route *route;
    const char *id;      /* of the request */
    const char *model;   /* as the client has it; "": it names none */
    const char *engine;  /* a word; NULL: another gateway, or none was asked */
    uint64_t max_tokens; /* of the answer; 0: it does not say */
    bool is_stream;      /* the answer */
    /* since its head: */
    bool has_waited;
    uint64_t wait_us;       /* its last wait for a turn began */
    uint64_t call_us;       /* an engine was asked last, if row->backend says that one was */
    uint64_t answer_end_us; /* whose last byte came; 0: it did not */
};

/* Each as a document of its own, with commas between them; returns how many. */
unsigned span_print(const struct span_request *s, struct buf *out);
#define SPANS_OF_REQUEST 4 /* at most */
