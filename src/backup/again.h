#pragma once

/* What failed on another host is tried again: after a longer time each time, and not by all of many
 * hosts at once. A host that was reached once may be gone for half a minute. */

#include "base/util.h"

#define AGAIN_TRIES 9
#define AGAIN_TRIES_FIRST 3      /* of who has not reached it yet */
void again_wait(unsigned tries); /* after so many, 1 or more */

extern uint64_t again_first_us; /* which tests make shorter */
