#pragma once

/* Sockets that a supervisor has opened for this process (sd_listen_fds(3)): so a port is there before
 * and after us, and nobody is refused meanwhile. */

#include "base/util.h"

#define HANDED_FIRST 3 /* they stand there, one behind the other */
#define HANDED_MAX 64

/* How many there are; 0: none. $LISTEN_FDS is taken out of the environment, so that no child believes
 * that they are for it; likewise they are not inherited. */
int handed_take(void);
