#pragma once

/* The control socket of a role, below the run directory: there is one of each role, and whoever
 * finds somebody answering there is the second. */

#include "base/err.h"
#include "http/server.h"

struct role_control {
    struct http_server *server; /* NULL: it is not open */
    char *path;
};

#define CONTROL_ANSWER_MAX (4 * MIB)

struct role_control_place {
    const char *run_dir;
    const char *socket; /* below it: SERVICE_MONITOR_SOCKET */
    const char *role;   /* "monitor" */
};

int role_control_open(struct role_control *c, struct loop *loop,
                      const struct role_control_place *place, const struct http_service *service,
                      struct err *reterr) must_check;
void role_control_close(struct role_control *c);
