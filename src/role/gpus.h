#pragma once

/* The GPUs as `citadel probe` has read them last. A probe that does not answer in time is killed
 * and told, and another is made for the next reading; when some cannot even be killed, none is made
 * until they are gone. */

#include "gpu/transfer.h"
#include "sys/loop.h"
#include "sys/proc.h"

#define GPUS_STUCK_MAX 3 /* probes that hang in the kernel; then no more are made */

struct gpus {
    struct loop *loop;
    const char *program;             /* our own */
    uint64_t limit_us;               /* for one reading */
    void (*told)(struct gpus *gpus); /* a reading has ended, well or not */

    struct gpu_inventory inventory; /* the last that was read well */
    bool known;                     /* there is one */
    uint64_t read_us;               /* when it was asked for, by the loop's clock */
    struct err err;                 /* of the last reading; id ERR_NONE: it went well */
    bool hung;                      /* likewise, because the driver did not answer */

    struct proc child;
    struct proc_watch watch;
    int ask_fd, tell_fd;
    struct loop_fd tell;
    struct loop_timer limit;
    struct buf bytes;
    bool reading;
    uint64_t asked_us;
    unsigned stuck;
    struct proc stuck_children[GPUS_STUCK_MAX];
};

void gpus_open(struct gpus *gpus, struct loop *loop, const char *program, uint64_t limit_us,
               void (*told)(struct gpus *gpus));
void gpus_close(struct gpus *gpus);
void gpus_read(struct gpus *gpus); /* told when it has ended; one that is under way is that one */
