#pragma once

/* What is kept of requests while nobody waits for it, and was lost: said in the log at once, and
 * from then on once a minute at most. Nor does anybody wait for who reads the log: what it has no
 * room for is said later, as one sum. */

#include "base/util.h"

struct losses {
    uint64_t told, told_us; /* so many were said, and when; 0: never */
};

/* lost: in all, so far. Those that were not said yet, for the caller to say them now; 0: there are
 * none, or no room. */
uint64_t losses_take(struct losses *l, uint64_t lost) must_check;
/* Likewise, and says them. of: "the ledger". */
void losses_tell(struct losses *l, uint64_t lost, const char *of, const char *why);

/* Whether what is written there is taken at once; a pipe that nobody reads has no room. */
bool losses_has_room(int fd);
