#pragma once

/* Who listens on a TCP port: an answer may come from somebody else than the server that was started
 * for it. */

#include "base/util.h"

#include <sys/types.h>

/* 1: a process of that session; 0: none of them; -errno: that cannot be told, as where /proc hides
 * what they have open. */
int listener_is_of(pid_t session, uint16_t port) must_check;
