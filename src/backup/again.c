#include "backup/again.h"

#include "base/hash.h"
#include "sys/clock.h"

#include <time.h>

uint64_t again_first_us = 200000;

void
again_wait(unsigned tries)
{
    uint64_t us = again_first_us << (tries - 1);
    uint64_t now = clock_now_us(), chance = hash_key(&now, sizeof(now)) % (us / 2 + 1);
    us = us / 2 + chance;
    const struct timespec wait = {(time_t)(us / 1000000), (long)(us % 1000000 * 1000)};
    (void)nanosleep(&wait, NULL);
}
