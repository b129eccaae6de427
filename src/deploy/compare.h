#pragma once

/* What differs between two generations, or between one and what would become the next; and what that
 * asks of the units that run. Pure. */

#include "deploy/generation.h"

struct deploy_change {
    const char *name;                        /* "units/citadel-phi3.service" */
    const struct generation_file *from, *to; /* NULL: it is not there; not both */
};

/* In the order of the names, which both lists must have; the result lives in the arena, and points
 * into them. -ENOMEM: it does not fit. */
int deploy_compare(const struct generation_file *from, size_t from_count,
                   const struct generation_file *to, size_t to_count, struct arena *arena,
                   struct deploy_change **ret_items, size_t *ret_count) must_check;

/* The unit that a file is, "citadel-phi3.service"; NULL: it is none. */
const char *deploy_unit_of(const char *file);

/* Lines that went and came, with three around them, as `diff -u` shows them. */
void deploy_print_change(const struct deploy_change *change, struct buf *out);
