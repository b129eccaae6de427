#include "backup/again.h"

#include "base/hash.h"
#include "sys/clock.h"

#include <time.h>

#define FIRST_WAIT_MS 200

void
again_wait(unsigned tries)
{
    uint64_t ms = (uint64_t)FIRST_WAIT_MS << (tries - 1);
    uint64_t now = clock_now_us(), chance = hash_key(&now, sizeof(now)) % (ms / 2 + 1);
    ms = ms / 2 + chance;
    const struct timespec wait = {(time_t)(ms / 1000), (long)(ms % 1000 * 1000000)};
    (void)nanosleep(&wait, NULL);
}
