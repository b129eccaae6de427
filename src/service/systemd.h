#pragma once

/* Services that systemd runs, each as citadel-NAME.service: seen and changed as those of our own
 * supervisor are (client.h). */

#include "service/bus.h"
#include "service/client.h"

struct config;

/* Where systemd has what generators made. */
#define SYSTEMD_GENERATED "/run/systemd/generator"

/* This machine was booted with systemd, and is meant: with --root it is not. */
bool systemd_is_here(void);

/* The services beside the models; the models of what is deployed, as `config` has them; and those that
 * systemd has loaded besides, whatever any configuration says. Of these the ones that it has units for, or
 * processes. ERR_SERVICE_DOWN: there are none. */
int systemd_view_read(const struct config *config, struct service_view *ret_view,
                      struct err *reterr) must_check;

struct systemd_wish {
    const char *verb; /* start, stop, restart or reload */
    const char *const *names;
    size_t count;
    bool wait; /* until systemd's jobs are done */
    /* What the first that is on its way says, when that has changed; NULL: nobody wants to know. */
    void (*progress)(const struct service_status *status, void *arg);
    void *arg;
};

/* A start that a person asks for forgets failures of before. The error is that of the first that did
 * not get there, with what it said last. */
int systemd_change(const struct systemd_wish *wish, struct err *reterr) must_check;

/* Asks for the end of all units of ours, of any kind, and waits for none of them. It may take as long as
 * the bus does not answer: for ever, where nobody ends this process. */
int systemd_order_end(struct err *reterr) must_check;

/* Failures of before count no more for a service, whether or not it runs. */
int systemd_forgive(const char *name, struct err *reterr) must_check;

/* Reads all units anew, as after a deployment. */
int systemd_reload(struct err *reterr) must_check;

/* One service, and the state of any unit: "active", "inactive", "failed"... */
#define SYSTEMD_STATE_MAX 16
int systemd_status_read(const struct bus *bus, const char *name, struct service_status *ret_status,
                        struct err *reterr) must_check;
int systemd_state_read(const struct bus *bus, const char *unit, char ret_state[SYSTEMD_STATE_MAX],
                       struct err *reterr) must_check;
