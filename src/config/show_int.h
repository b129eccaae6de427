#pragma once

/* Values as text, and options by their path: for show and diff. */

#include "config/option_int.h"
#include "config/problem_int.h"

/* One line: 12, "a b", [a, b], {a: b}. */
void print_flow(struct buf *out, const struct value *v);

/* What a path leads to. */
struct spot {
    const struct section *section; /* a section: its struct is in `at` */
    const struct option *option;   /* else an option, whose section's struct is in `at` */
    const struct option *map;      /* or all of a map */
    const void *at;
    const void *inherit; /* for a model, and what is in it: the same of the defaults */
};
int spot_find(const struct config *config, const char *path, struct spot *ret_spot,
              struct err *reterr) must_check;

/* Where the value of an option comes from. */
enum origin { ORIGIN_FILE, ORIGIN_DEFAULTS, ORIGIN_BUILT_IN };
enum origin option_origin(const struct option *o, const void *at, const void *inherit);

/* Goes over a spot, in the order of the table. */
struct visitor {
    void (*enter)(struct visitor *v, const char *name, bool empty); /* a section, map or item */
    void (*leave)(struct visitor *v);
    void (*option)(struct visitor *v, const struct option *o, const void *at, const void *inherit,
                   const struct trail *trail);
    const struct config *config;
};
void spot_visit(struct visitor *v, const struct spot *spot, const char *path);
