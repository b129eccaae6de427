#pragma once

/* How fast a snapshot comes back: its first blocks are read and proved, for a moment. */

#include "backup/reading.h"

/* By one thread, for at most so long: bytes of files in a second; 0: there is nothing to be read. What is
 * written meanwhile takes no less. */
int pace_measure(struct loop *loop, const struct reading_wish *wish, uint64_t limit_us,
                 uint64_t *ret_bytes_a_second, struct err *reterr) must_check;
