#pragma once

/* Services without systemd: a supervisor in the foreground. It starts them in the order of what they
 * need, hears them by the notify protocol, restarts what fails within its budget, stops them in the
 * opposite order, and leaves nothing running. One for a run directory.
 *
 *     RUN/up.lock         locked while it runs; has the number of its process
 *     RUN/control.sock    what others ask, root and its own user only
 *     RUN/up.yaml         the configuration, as the services read it
 *     RUN/notify/NAME     where a service tells how it is
 *     RUN/credentials/NAME/  the secrets of a service, from its start to its end (secrets/use.h)
 *     RUN/services/       see contain.h
 *
 * The control socket speaks HTTP; answers are JSON, errors {"id", "what", "fix", "exit"}:
 *
 *     GET  /services                         {"containment": ..., "services": [status, ...]}; with
 *                                            ?follow=1 such a line at once and at each change
 *     POST /services/NAME/start|stop|restart NAME may be `all`; answered at once as GET /services,
 *                                            while it goes on
 *     POST /services/NAME/retry              starts it now if it was to be tried again later;
 *                                            nothing is forgotten, and nothing else is started
 *     GET  /services/NAME/log?lines=N        text; with &follow=1 it goes on
 *     POST /switch                           takes the current generation from here on
 *     POST /reload                           reads anew what it has read; either is answered as
 *                                            GET /services, and is refused as a whole
 *     POST /stop                             as SIGTERM
 *
 * How a service ends decides what follows: 64 is not tried again, 75 is tried later (sooner when
 * another has stopped), everything else that nobody asked for is a failure. */

#include "base/err.h"
#include "service/client.h"
#include "service/contain.h"

struct loop;
struct direct;

struct direct_config {
    const char *run_dir;
    enum contain_kind contain;
    const struct service
        *services; /* theirs and all texts are the caller's; `after` has no circles */
    size_t count;
    const char *const
        *withheld; /* variables that are not passed on; NULL behind the last, or none */
    struct service_source source;
    const char *text; /* of its configuration; NULL: the services read none */
    size_t text_len;
    uint64_t give_up_us; /* how long killed processes are waited for; 0: ten seconds */
    /* A service has changed, or has said something. NULL: nobody looks. Nothing may be asked of the
     * supervisor from inside but direct_status(). */
    void (*changed)(void *arg, const struct service_status *status);
    /* Other services are asked for: direct_take() them. NULL: there are never any. */
    int (*read)(void *arg, enum service_read what, struct err *reterr);
    /* All have stopped, and that was asked for. */
    void (*ended)(void *arg);
    void *arg;
};

/* ERR_SERVICE_TWICE when there is one. Ends first what a killed one may have left. */
int direct_new(struct loop *loop, const struct direct_config *config, struct direct **ret_direct,
               struct err *reterr) must_check;
void direct_free(struct direct *direct); /* what runs is not waited for: direct_stop_all() is */

/* Other services in place of those that there are, from `services`, `count`, `withheld`,
 * `source` and `text` of config. One of the same name goes on as it is, and is another from its
 * next start on; a new one is there, stopped. After an error nothing has changed:
 * ERR_SERVICE_RUNS, when one runs that would go. What was given before is not needed any more. */
int direct_take(struct direct *direct, const struct direct_config *config, struct err *reterr)
    must_check;

void direct_start(struct direct *direct);    /* all that are wanted */
void direct_stop_all(struct direct *direct); /* in order, then ended() */
void direct_kill_all(struct direct *direct); /* at once, then ended() */

enum contain_kind direct_containment(const struct direct *direct);
size_t direct_leftovers(const struct direct *direct); /* processes that were ended at first */
const struct err *direct_stuck(const struct direct *direct); /* what of them was not; or ERR_NONE */
size_t direct_count(const struct direct *direct);
const struct service_status *direct_status(const struct direct *direct, size_t i);

#define DIRECT_COPY_NAME "up.yaml"
#define DIRECT_SOCKET_NAME "control.sock"
#define DIRECT_LOCK_NAME "up.lock"
