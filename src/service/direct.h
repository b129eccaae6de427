#pragma once

/* Services without systemd: a supervisor in the foreground. It starts them in the order of what they
 * need, hears them by the notify protocol, restarts what fails within its budget, stops them in the
 * opposite order, and leaves nothing running. One for a run directory.
 *
 * What others may ask on RUN/control.sock, root and its own user only:
 *
 *     GET  /services                         {"containment": ..., "services": [status, ...]}
 *     POST /services/NAME/start|stop|restart NAME may be `all`; answered at once, it goes on
 *     GET  /services/NAME/log?lines=N        text; with &follow=1 it goes on
 *     POST /stop                             as SIGTERM */

#include "base/err.h"
#include "service/contain.h"
#include "service/service.h"

struct loop;
struct direct;

struct direct_config {
    const char *run_dir;
    enum contain_kind contain;
    const struct service *services; /* theirs and all texts are the caller's */
    size_t count;
    /* A service has changed, or has said something. NULL: nobody looks. */
    void (*changed)(void *arg, const struct service_status *status);
    /* All have stopped, and that was asked for. */
    void (*ended)(void *arg);
    void *arg;
};

int direct_new(struct loop *loop, const struct direct_config *config, struct direct **ret_direct,
               struct err *reterr) must_check;
void direct_free(struct direct *direct);

void direct_start_all(struct direct *direct);
void direct_stop_all(struct direct *direct); /* in order, then ended() */
void direct_kill_all(struct direct *direct); /* at once, then ended() */

enum contain_kind direct_containment(const struct direct *direct);
size_t direct_count(const struct direct *direct);
const struct service_status *direct_status(const struct direct *direct, size_t i);

#define DIRECT_SOCKET_NAME "control.sock"
