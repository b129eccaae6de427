#pragma once

/* Whose doing a change was: of a deployment, or of somebody else. */

#include "base/util.h"

/* Whether a deployment was under way at a time, since 1970, that is not long past: one is now, or was
 * interrupted and not made good yet, or has ended since. For anybody, and nothing is held for it. */
bool deploy_was_under_way(const char *state_dir, uint64_t at_us);
