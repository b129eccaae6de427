#pragma once

/* Noting what is wrong, inside this room. */

#include "config/config.h"
#include "config/problems.h"

/* The way to an option, for sentences: models.phi3.port. */
struct trail {
    const struct trail *up; /* NULL at the top */
    const char *name;
    size_t index; /* with name NULL: the item of a list, from 0 */
};

#define TRAIL_MAX 256
const char *trail_print(const struct trail *trail, char text[TRAIL_MAX]);

/* `allowed` may be empty. Both are one line: control characters are replaced, long texts cut. */
void problem_add(struct config_problems *problems, struct value_at at, const char *allowed,
                 const char *found_fmt, ...) printf_like(4, 5);
void problem_warn(struct config_problems *problems, struct value_at at, const char *allowed,
                  const char *found_fmt, ...) printf_like(4, 5);

bool problem_is_at(const struct config_problems *problems, struct value_at at); /* was noted */
void problem_sort(struct config_problems *problems); /* in the order of the file */
