#pragma once

/* Inside the watch: watch.c has what both kinds share, watch_systemd.c and watch_direct.c the rest. */

#include "service/watch.h"
#include "sys/loop.h"
#include "sys/work.h"

/* One that was given and is on its way. */
struct order {
    struct order *next;
    struct service_watch *watch;
    char name[TEXT_NAME_MAX + 1];
    enum service_order order;
    struct work work; /* of systemd: its calls block */
    struct err err;
};

struct service_watch_kind {
    int (*open)(struct service_watch *watch, struct err *reterr);
    void (*close)(struct service_watch *watch);
    void (*look)(struct service_watch *watch);
    void (*give)(struct order *order); /* ends in watch_order_done() */
};
extern const struct service_watch_kind service_watch_systemd, service_watch_direct;

struct service_watch {
    struct loop *loop;
    const struct config *config;
    const struct service_watch_ops *ops;
    void *arg;
    const struct service_watch_kind *kind;
    void *own; /* the kind's */
    bool lost, closed;
    unsigned under_way; /* works that still run: they hold it */
    struct order *orders;
};

void watch_tell_seen(struct service_watch *watch, const struct service_view *view);
void watch_tell_lost(struct service_watch *watch, const struct err *why);
void watch_order_done(struct order *order);     /* which ends here */
void watch_let_go(struct service_watch *watch); /* after a work of it has ended */
