#pragma once

/* What failed on another host is tried again: after a longer time each time, and not by all of many
 * hosts at once. */

#define AGAIN_TRIES 6
void again_wait(unsigned tries); /* after so many, 1 or more */
