#pragma once

/* Work that may hang for ever, done by a child that is killed when it takes too long; for who can wait
 * for it. (On a loop: run/look.h.) */

#include "base/buf.h"

/* work() runs in the child, with descriptors 0 to 2 and `to`; what it writes there comes behind what the
 * buffer holds. 0: it has returned; -ETIMEDOUT: it was killed, and one that cannot be is left; -ECHILD:
 * it crashed; -ENOBUFS: it had more to say. */
int errand_run(void (*work)(int to, const void *arg), const void *arg, uint64_t limit_us,
               struct buf *out) must_check;

/* For work(): all of it, or false. */
bool errand_tell(int to, const void *bytes, size_t len);
