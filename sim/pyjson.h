#pragma once

/* What Python's json module says of a text that is no JSON, word for word. */

#include "base/util.h"

/* NULL: nothing, at least up to the depth that is looked into. *ret_at: where, in characters. */
const char *pyjson_complaint(const char *text, size_t len, size_t *ret_at);
