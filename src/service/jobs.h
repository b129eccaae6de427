#pragma once

/* Jobs of systemd: what is asked of its units, followed until each is done. */

#include "service/bus.h"

struct systemd_job {
    const char *unit;   /* "citadel-phi3.service" */
    const char *method; /* of the manager: StartUnit, StopUnit, ... */
    const char *mode;   /* "ignore-dependencies"; NULL: "replace" */
    char path[256];     /* "": it was not asked yet */
    char result[32];    /* systemd's word for how it ended: "done", "failed"; "": it goes on */
};

struct systemd_jobs {
    struct systemd_job *items;
    size_t count;
    bool wait;            /* until each has a result */
    uint64_t deadline_us; /* for that, of clock_now_us(); 0: none */
    /* Now and then, while one goes on; may be NULL. */
    void (*waiting)(const struct bus *bus, const struct systemd_job *job, void *arg);
    void *arg;
};

/* Asks for all, in their order. What is to run forgets failures of before. The error is that of the
 * first that systemd refuses: those after it were not asked for. That a job failed is none. */
int systemd_jobs_run(struct systemd_jobs *jobs, struct err *reterr) must_check;
