#pragma once

/* Everything of Citadel down at once: nothing is asked, no answer is finished.
 *
 *     1  the marker is set (run/marker.h): from here on nothing starts
 *     2  systemd is told, by a child that nobody waits for: the bus may hang
 *     3  all processes are killed, until none is left
 *     4  the GPUs are read, by a child likewise, until none of them lists what was killed
 *
 * Whose a process is, nobody's name tells: all in the control group citadel.slice; all below a
 * supervisor (`citadel up`) or a shim, who are found by their sockets and frozen first, so that nothing is
 * started anew and no orphan is lost; all that bear the mark of a service in their environment.
 *
 * What fails is told in the report, and the next step is done all the same. */

#include "base/err.h"
#include "base/vec.h"
#include "sys/kin.h"

struct emergency_process {
    struct kin kin;
    char service[64]; /* "": not known */
    char name[16];    /* as the kernel has it */
    char state;       /* 'D': it hangs in the kernel */
};

struct emergency_processes {
    VEC(struct emergency_process) all;
};

enum emergency_systemd {
    EMERGENCY_NO_SYSTEMD,
    EMERGENCY_TOLD,
    EMERGENCY_SILENT, /* what it was about to start again is kept down by the marker alone */
};

struct emergency_report {
    struct emergency_processes killed, left;
    uint64_t took_us; /* until the last had ended */
    enum emergency_systemd systemd;
    size_t gpus;       /* whose memory was seen to be free */
    struct err marker; /* why it could not be set; ERR_NONE: it is */
    struct err gpu;    /* why memory is not known to be free */
};

struct emergency_wish {
    const char *run_dir;
    const char *by, *why;
    const char
        *groups;       /* where a test has control groups of its own; NULL: those of this machine */
    uint64_t limit_us; /* for what was killed to end; 0: five seconds */
    uint64_t gpus_us;  /* for memory to come free; 0: ten seconds */
};

/* ERR_EMERGENCY_LEFT: not all of it was done, as the report tells. Other errors: nothing was. */
int emergency_stop(const struct emergency_wish *wish, struct emergency_report *ret_report,
                   struct err *reterr) must_check;
void emergency_report_finish(struct emergency_report *report);

/* Who would be killed. */
void emergency_look(const struct emergency_wish *wish, struct emergency_processes *ret_processes);

/* How many services the processes belong to. */
size_t emergency_services(const struct emergency_processes *processes);
