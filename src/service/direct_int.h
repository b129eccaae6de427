#pragma once

/* Inside the supervisor: direct.c has the services' lives, direct_control.c what others ask. */

#include "http/server.h"
#include "service/direct.h"
#include "service/log_file.h"
#include "sys/loop.h"
#include "sys/proc.h"

struct follower {
    struct follower *next;
    struct http_request *request;
};

/* One service. Its status tells its state. */
struct unit {
    struct direct *direct;
    const struct service *service;
    struct service_status status;
    bool wanted; /* it is to run */
    bool again;  /* start it once it has stopped */
    struct proc proc;
    struct proc_watch watch;
    bool runs;
    bool clearing; /* the first process has ended; what it left is being killed */
    int notify_fd;
    struct loop_fd notify;
    int output_fd;
    struct loop_fd output;
    struct log_file log;
    bool has_log;
    struct loop_timer timer;    /* of the state: to start again, to kill, to clear */
    struct loop_timer watchdog; /* while it starts: its deadline */
    uint64_t ready_at, deadline_us;
    unsigned not_now; /* times in a row */
    struct follower *followers;
    char *notify_path;
    const char **environ;
};

struct direct {
    struct loop *loop;
    struct direct_config config;
    struct contain contain;
    struct unit *units;
    pid_t *known; /* room for the first processes of all */
    struct http_server *server;
    char *socket_path;
    int lock;
    struct loop_signal child;
    bool ending;
    struct loop_defer ended;
};

size_t direct_known(struct direct *d); /* fills d->known */
struct unit *direct_find(struct direct *d, const char *name, size_t len);

void unit_want(struct unit *u, bool wanted);
void unit_restart(struct unit *u);

int direct_control_open(struct direct *d, struct err *reterr) must_check;
void direct_control_close(struct direct *d);
void direct_control_feed(struct unit *u, const struct buf *lines); /* to those who follow */
