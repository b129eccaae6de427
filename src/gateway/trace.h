#pragma once

/* The field traceparent of W3C Trace Context: which request of a larger one this is.
 *
 *     00-TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT-PPPPPPPPPPPPPPPP-FF    trace, parent and flags, in hex
 *
 * We tell nobody of our part in it, and so pass it on as it came. Where a client has none, none begins
 * here: an engine's own begins then, as the engine is set to sample. */

#include "base/util.h"

#define TRACE_PARENT_LEN 55

/* Also one of a later version, which may be longer. */
bool trace_is_parent(const char *text, size_t len);
