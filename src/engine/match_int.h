#pragma once

/* Patterns for lines of a log.
 *
 *   text      itself
 *   *         anything, as little as will do
 *   {name}    a number: 12, -1.44, 1,028,832
 *   {x_gib}   a name that ends in _gib: an amount of memory, "784.00 MiB" or "31.36 GiB", in GiB;
 *             a number without a unit counts as GiB
 *   {what}    text up to what follows in the pattern, or to the end of the line
 *   ^         in front: the line begins so; else the pattern may match anywhere
 *
 * Each part between * and {what} takes the first place where it fits and is never moved again, so
 * the time is the length of the line times that of the pattern. */

#include "base/util.h"

#define MATCH_FIGURES_MAX 6

struct match {
    size_t count;
    struct {
        const char *name; /* in the pattern */
        size_t name_len;
        double value;
    } figures[MATCH_FIGURES_MAX];
    const char *what; /* in the line; NULL when the pattern has no {what} */
    size_t what_len;
};

bool match_line(const char *pattern, const char *line, struct match *ret_match);
