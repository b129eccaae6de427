#pragma once

/* The addresses of a role, as the configuration has them: of IP, or the absolute path of a socket,
 * which its owner and his group may connect to. */

#include "base/err.h"
#include "http/server.h"

int role_listen(struct http_server *server, const char *address, unsigned port, struct err *reterr)
    must_check;
/* Where who listens there is to be asked: one that listens everywhere does so on this host, too. */
const char *role_reach(const char *ip);
