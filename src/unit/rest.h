#pragma once

/* Units that a person has stopped, and that do not start with the machine either: a file in STORE/resting
 * for each, of its name. The generator makes no link that would start them, and no deployment starts
 * them; whoever does takes the file away. */

#include "base/err.h"

struct arena;

#define UNIT_REST_DIR "resting"

int unit_rest_begin(const char *store, const char *unit, struct err *reterr) must_check;
int unit_rest_end(const char *store, const char *unit, struct err *reterr) must_check;
bool unit_rests(const char *store, const char *unit);

/* In no order; the result lives in the arena. */
int unit_rest_list(const char *store, struct arena *arena, const char ***ret_units,
                   size_t *ret_count, struct err *reterr) must_check;
