#pragma once

/* The field traceparent of W3C Trace Context: which request of a larger one this is.
 *
 *     00-TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT-PPPPPPPPPPPPPPPP-FF    trace, parent and flags, in hex
 *
 * We tell nobody of our part in it, and so pass it on as it came; where a client has none, one begins
 * here, so that an engine's traces can be found by it. */

#include "base/util.h"

#define TRACE_PARENT_LEN 55
typedef char trace_parent[TRACE_PARENT_LEN + 1];

/* Also one of a later version, which may be longer. */
bool trace_is_parent(const char *text, size_t len);
void trace_begin(trace_parent ret_parent);
