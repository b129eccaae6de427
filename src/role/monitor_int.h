#pragma once

/* Inside the monitor. monitor.c has its life and the history, monitor_service.c what is known of
 * each service and done about it, monitor_health.c what is asked every so often, monitor_control.c
 * the control socket, monitor_http.c the port of health and metrics. */

#include "base/vec.h"
#include "http/client.h"
#include "http/server.h"
#include "lifecycle/history.h"
#include "lifecycle/lifecycle.h"
#include "lifecycle/well.h"
#include "plan/plan.h"
#include "role/control.h"
#include "role/gpus.h"
#include "role/life.h"
#include "role/monitor.h"
#include "role/places.h"
#include "service/watch.h"
#include "sys/account.h"
#include "sys/work.h"

/* What a model may lack, as it is now. */
struct room {
    bool gpus_known, port_taken, disk_known;
    uint64_t gpu_bytes, disk_bytes; /* free */
};

/* One service. Of those that are no models, only status and name say something. */
struct watched {
    struct monitor *monitor;
    const struct config_model *model; /* NULL: it is none */
    struct plan_times times;
    struct service_status status; /* as it was told last */
    bool is_there;                /* it was told at all */
    struct run_record record;     /* as it could be read last */
    struct err lost;              /* why it cannot be read now; id ERR_NONE: it can */
    struct run_state run;         /* of its shim, if that has answered since it was started */
    bool has_run, unwell;         /* unwell: and that was told */
    unsigned silent_looks;
    struct lifecycle memory;
    struct lifecycle_decision decision; /* the latest */
    enum lifecycle_breaker breaker;     /* at the last look: for who tells that it has closed */
    struct room lacked;                 /* how it was when it said `not now` */
    bool knows_lacked, was_woken;
    unsigned kept;              /* times in a row that its record was kept by another process */
    bool is_released;           /* from the breaker, and to be started when nothing is on its way */
    bool asked;                 /* an order of ours is on its way */
    uint64_t asked_at_us;       /* the `since` of what it was then */
    struct loop_timer due;      /* the decision's next_us; or the end of `asked` */
    struct http_client *client; /* of its shim */
    struct http_call *call;     /* under way */
};

struct monitor {
    const struct config *config;
    VEC(struct config *)
    loaded; /* all that were read since it began: works may still read an older */
    struct life life;
    struct loop *loop; /* of its life */
    uint64_t since_us; /* since 1970 */

    struct history history;
    struct work sync;
    int sync_fd;       /* -1: it does not run */
    bool unsynced;     /* and something was added since it began */
    int history_errno; /* why the last event could not be written; 0: it was */

    struct service_watch *watch;
    bool lost;
    struct err lost_why;
    uint64_t stopped_us; /* as in the view */
    VEC(struct watched *) services;

    struct gpus gpus;
    bool gpus_sick;
    struct places *places;
    bool place_sick[PLACE_COUNT];
    struct loop_timer health, room;
    unsigned rounds; /* of health */

    struct role_control control;
    struct account gateway; /* may ask for models */
    bool knows_gateway;
    VEC(struct ensuring *) ensuring;

    struct http_server *http;
    size_t listening; /* so many of monitor.listen are */
    bool is_deaf;     /* the next cannot be, and that was told */
    struct loop_timer listen;
};

/* monitor.c */
void monitor_tell(struct monitor *m, enum event_kind kind, const char *service, const char *by,
                  const char *fmt, ...) printf_like(5, 6);

/* monitor_reload.c: what has changed is printed, whether or not it could be taken up */
int monitor_reload(struct monitor *m, const char *by, struct json_writer *w, struct err *reterr)
    must_check;

/* monitor_service.c */
extern const struct service_watch_ops monitor_watch_ops;
struct watched *monitor_find(struct monitor *m, const char *name);
void monitor_look(struct watched *w); /* decides, and does it */
void monitor_look_all(struct monitor *m);
void monitor_order(struct watched *w, enum service_order order);
bool monitor_lacks_something(const struct watched *w); /* it waits for room */
void monitor_services_configure(struct monitor *m);    /* of another configuration */
void monitor_services_close(struct monitor *m);

/* monitor_health.c */
void monitor_health_open(struct monitor *m, const char *program);
void monitor_health_configure(struct monitor *m);
void monitor_health_close(struct monitor *m);
void monitor_ask(struct watched *w);        /* its shim */
void monitor_watch_room(struct monitor *m); /* while somebody lacks some */
bool monitor_has_room(struct watched *w);
struct lifecycle_known
monitor_known(const struct watched *w); /* valid as long as it is not changed */
bool monitor_is_well(const struct watched *w, const char **ret_why);

/* monitor_http.c */
void monitor_http_open(struct monitor *m);
void monitor_http_close(struct monitor *m);

/* monitor_control.c */
int monitor_control_open(struct monitor *m, struct err *reterr) must_check;
void monitor_control_close(struct monitor *m);
void monitor_control_gpus_told(struct monitor *m); /* who waits for that is answered */
