#pragma once

/* Included before every file that an analyzer looks at: what it cannot know, since it sees one file
 * at a time. An error is negative; else each output of a function that failed looks like one of a
 * function that succeeded and wrote nothing. */

#include "base/err.h"

static inline int
analysis_negative_(int r)
{
    assert(r < 0);
    return r;
}

#define err_set(...) analysis_negative_(err_set(__VA_ARGS__))
#define err_set_errno(...) analysis_negative_(err_set_errno(__VA_ARGS__))
