#pragma once

/* Inside the supervisor: direct.c has who may run when, direct_unit.c the life of one service,
 * direct_control.c what others ask, direct_watch.c who goes on being told. */

#include "http/server.h"
#include "service/direct.h"
#include "service/log_file.h"
#include "sys/loop.h"
#include "sys/proc.h"

#include <sys/stat.h>

/* One service. Its status tells its state; what it means for the processes:
 *
 *     runs        its first process lives
 *     clearing    that has ended, and what it left is being killed: only then the service has ended
 *     neither     it is dormant, and `timer` may be set to start it again */
struct unit {
    struct direct *direct;
    const struct service *service;
    struct service_status status;
    bool wanted; /* it is to run */
    bool again;  /* start it once it has stopped */
    bool runs;
    bool clearing;
    bool explained; /* status.reason tells already why it will have ended */
    struct proc proc;
    struct proc_watch watch;
    int notify_fd;
    struct loop_fd notify;
    struct stat notify_file; /* as it was made */
    int output_fd;
    struct loop_fd output;
    struct log_file log;
    struct loop_timer timer;    /* to start again; to kill; to give up; to look what is left */
    struct loop_timer watchdog; /* while it starts: its deadline */
    uint64_t ready_at, deadline_at, cleared_since;
    uint64_t killed_at; /* its first process, which runs; 0: was not */
    unsigned not_now;   /* times in a row */
    struct follower *followers;
    char *notify_path;
    char *credentials;    /* directory of its secrets, while it has any */
    const char **environ; /* of the last start; [0] is JOURNAL_STREAM; made[] are freed */
    char *made[4];
};

struct direct {
    struct loop *loop;
    struct direct_config config;
    struct contain contain;
    VEC(struct unit *) units; /* in the order of the services */
    pid_t *known;             /* room for the first processes of all */
    struct http_server *server;
    char *socket_path;
    struct stat socket_file; /* as it was made */
    char *lock_path, *copy_path;
    int lock;
    struct loop_timer look; /* whether others have removed our files */
    struct loop_signal child;
    bool ending;
    size_t leftovers;
    struct err stuck;
    struct loop_defer ended;
    uint64_t ending_us;       /* since 1970; 0: it is not */
    struct watcher *watchers; /* who follow all of it */
    struct loop_defer tell;   /* them */
};

/* direct.c */
bool direct_is_there(const char *path, const struct stat *made); /* and not another's */
size_t direct_known(struct direct *d);                           /* fills d->known */
struct unit *direct_find(struct direct *d, const char *name, size_t len);
const struct unit *direct_blocker(const struct unit *u); /* for whom it waits; NULL: it may start */
void direct_consider(struct direct *d); /* something has changed: who may start or stop now? */

/* direct_unit.c */
int unit_new(struct direct *d, const struct service *service, struct unit **ret_unit,
             struct err *reterr) must_check;
void unit_free(struct unit *u);
void unit_define(struct unit *u, const struct service *service); /* from its next start on */
bool unit_is_dormant(const struct unit *u);
void unit_enter(struct unit *u, enum service_state state);
void unit_start(struct unit *u);
void unit_wait(struct unit *u, const struct unit *blocker);
void unit_stop(struct unit *u);
void unit_kill(struct unit *u);

/* What a person wants: what was before is forgotten. */
void unit_want(struct unit *u, bool wanted);
void unit_restart(struct unit *u);
void unit_retry(struct unit *u); /* what is tried again by itself, now */

/* direct_control.c */
int direct_control_open(struct direct *d, struct err *reterr) must_check;
void direct_control_look(struct direct *d); /* where its file has gone, makes it again */
void direct_control_close(struct direct *d);
void direct_control_feed(struct unit *u, const struct buf *lines); /* to those who follow */
void direct_control_print(struct direct *d, struct buf *out);      /* GET /services */
void direct_control_dismiss(struct unit *u); /* who follow the log of one that goes */
#define DIRECT_ANSWER_MAX (4 * MIB)

/* direct_watch.c: who follow what all services are */
void direct_watch_begin(struct direct *d, struct http_request *r);
void direct_watch_changed(struct direct *d);
#define DIRECT_WATCHERS_MAX 16
size_t direct_watch_count(const struct direct *d);
