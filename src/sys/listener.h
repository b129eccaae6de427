#pragma once

/* Who listens on a TCP port: an answer may come from somebody else than the server that was started
 * for it. */

#include "base/util.h"

#include <sys/types.h>

/* Whose a connection to 127.0.0.1:port may become; or -errno: that cannot be told, as where /proc hides
 * what processes have open. Several may share a port (SO_REUSEPORT), and the kernel deals connections
 * out to them: then it is not the session's; nor if they are more than anybody needs. */
enum listener { LISTENER_NONE, LISTENER_ITS, LISTENER_OTHER };
int listener_find(pid_t session, uint16_t port) must_check;

/* Each process that has a socket which listens on the port, at whatever address, until look() says false.
 * 0: all that can be seen were told; -errno: some could not be. */
int listener_each(uint16_t port, bool (*look)(pid_t pid, void *arg), void *arg) must_check;

/* One who is not of the session: "process 4711 (nginx)"; "" where that cannot be told. */
#define LISTENER_TEXT_MAX 64
const char *listener_print_other(pid_t session, uint16_t port, char text[LISTENER_TEXT_MAX]);
