#pragma once

/* The machine on which units run, for deployments: that of systemd, of `citadel up`, or of nobody. */

#include "deploy/apply.h"

#include "service/bus.h"

struct config;

struct deploy_machine {
    const struct config *config;
    const char *by;
    uint64_t
        deadline_us; /* for what is started to become ready; 0: as long as it may take itself */
    void (*tell)(const char *line, void *arg);
    void *arg;
    struct bus bus; /* of systemd's */
    char told[640]; /* of what goes on, the last that was told */
};

/* All down to arg is set; then to be closed in any case. The host lives as long. */
int deploy_open_systemd(struct deploy_machine *machine, struct deploy_host *ret_host,
                        struct err *reterr) must_check;
/* Services that `citadel up` runs; it has none for targets, timers, sockets, and for what sets up disks
 * and GPUs, of which nothing is done. */
struct deploy_host deploy_open_up(struct deploy_machine *machine);
/* Nobody runs any: only files are changed. */
struct deploy_host deploy_open_files(struct deploy_machine *machine);
void deploy_machine_close(struct deploy_machine *machine);
