#pragma once

/* Watching services, and changing them, for a process that must not wait: of systemd by its signals,
 * of our own supervisor by its control socket, which goes on telling. Neither is polled. Whoever
 * cannot be reached is tried again for ever. */

#include "service/client.h"

struct config;
struct loop;
struct service_watch;

/* ORDER(NAME, "word", "what it means") */
#define SERVICE_ORDERS(ORDER)                                                 \
    ORDER(START, "start", "as a person does: earlier failures are forgotten") \
    ORDER(STOP, "stop", "in order")                                           \
    ORDER(RESTART, "restart", "in order")                                     \
    ORDER(AGAIN, "retry", "one that is to be tried again is, now")            \
    ORDER(FORGIVE, "forgive", "earlier failures count no more")

enum service_order {
#define ORDER(name, word, help) SERVICE_ORDER_##name,
    SERVICE_ORDERS(ORDER)
#undef ORDER
};
const char *service_order_word(enum service_order order);

struct service_watch_ops {
    /* Something has changed, or may have: all of it, valid until this returns. */
    void (*seen)(void *arg, const struct service_view *view);
    /* They cannot be seen any more; told once, until they can again. */
    void (*lost)(void *arg, const struct err *why);
    /* An order was given; or could not be, and why tells (else its id is ERR_NONE). What becomes of it
     * is seen. */
    void (*ordered)(void *arg, const char *name, enum service_order order, const struct err *why);
};

/* Config and ops outlive it. Nothing is told from inside of a call. */
int service_watch_new(struct loop *loop, const struct config *config,
                      const struct service_watch_ops *ops, void *arg,
                      struct service_watch **ret_watch, struct err *reterr) must_check;
void service_watch_free(struct service_watch *watch); /* nothing more is told */

bool service_watch_is_by_systemd(const struct service_watch *watch);
/* Another one from the next look on; the one before lives until it is idle: nothing is under way. */
void service_watch_configure(struct service_watch *watch, const struct config *config);
bool service_watch_is_idle(const struct service_watch *watch);
void service_watch_look(struct service_watch *watch); /* whether or not there was news */
void service_watch_order(struct service_watch *watch, const char *name, enum service_order order);
