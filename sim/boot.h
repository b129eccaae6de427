#pragma once

/* The way to readiness: boot.def is its script. Lines and actions follow each other in the load
 * time's proportions; what must wait (for the engine's processes, or for ever) waits here. */

#include "base/buf.h"
#include "sys/loop.h"

struct sim;

struct boot {
    struct loop_timer timer;
    size_t row;
    unsigned done, total; /* of an action that goes piece by piece */
    bool asked, told;     /* the processes are to answer to an action, and have */
    uint64_t load_us;
    uint64_t part_us; /* between the pieces of an action */
    int fd;           /* of the port; -1: not bound */
    struct buf where;
};

void boot_begin(struct sim *sim);
void boot_told(struct sim *sim);      /* the engine's processes have done what they were told */
void boot_core_died(struct sim *sim); /* while loading */
void boot_finish(struct sim *sim);
