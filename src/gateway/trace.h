#pragma once

/* The field traceparent of W3C Trace Context: which request of a larger one this is.
 *
 *     00-TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT-PPPPPPPPPPPPPPPP-FF    trace, parent and flags, in hex
 *
 * Where nobody is told of our part in it (gateway.trace_url), or the caller has it not sampled,
 * it is passed on as it came; and where a client has none, an engine's own begins then, as the
 * engine is set to sample. Else engines get ours: of the caller's trace, or of one that begins
 * here. */

#include "base/util.h"

#define TRACE_PARENT_LEN 55
#define TRACE_ID_LEN 32
#define TRACE_SPAN_LEN 16

/* Also one of a later version, which may be longer. */
bool trace_is_parent(const char *text, size_t len);
bool trace_is_sampled(const char *parent); /* says one that is well-formed */

typedef char trace_span_id[TRACE_SPAN_LEN + 1];

/* Our part, span by span (span.h). */
struct trace {
    char id[TRACE_ID_LEN + 1];
    trace_span_id parent; /* the caller's; "": it begins here */
    trace_span_id span, wait, call, stream;
};

/* parent: well-formed, or NULL. */
void trace_begin(struct trace *t, const char *parent);
/* Another engine is asked: what that tells is below a call of its own. */
void trace_call(struct trace *t);

/* As an engine is told it. */
typedef char trace_parent[TRACE_PARENT_LEN + 1];
const char *trace_print(const struct trace *t, trace_parent text);
