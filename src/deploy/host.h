#pragma once

/* The machine that systemd runs, for deployments. */

#include "deploy/apply.h"

#include "service/bus.h"

struct config;

struct deploy_systemd {
    const struct config *config;
    const char *by;
    uint64_t
        deadline_us; /* for what is started to become ready; 0: as long as it may take itself */
    void (*tell)(const char *line, void *arg);
    void *arg;
    struct bus bus;
    char told[640]; /* of what goes on, the last that was told */
};

/* All down to arg is set; then to be closed in any case. The host lives as long. */
int deploy_systemd_open(struct deploy_systemd *systemd, struct deploy_host *ret_host,
                        struct err *reterr) must_check;
void deploy_systemd_close(struct deploy_systemd *systemd);
#define _cleanup_deploy_systemd_ _cleanup_(deploy_systemd_close)

/* Of a machine without systemd, or of none: no unit runs, and only files are changed. systemd->tell and
 * arg are set. */
struct deploy_host deploy_files_only(struct deploy_systemd *systemd);
