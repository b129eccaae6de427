#pragma once

/* The GPUs, read by a child of ours: calls into a sick driver can hang for ever, and its library
 * would stay in our memory. The child is killed when it takes too long. */

#include "base/err.h"
#include "gpu/inventory.h"
#include "sys/loop.h"
#include "sys/proc.h"

#define LOOK_TIMEOUT_US UINT64_C(20000000)

struct look {
    /* inventory is NULL, and err tells why, when nothing could be read; it ends with this call. */
    void (*done)(struct look *look, const struct gpu_inventory *inventory, const struct err *err);
    uint64_t timeout_us; /* 0: LOOK_TIMEOUT_US */
    struct loop *loop;
    struct loop_fd pipe;
    struct loop_timer timer;
    int fd, child; /* the pipe, and the pidfd */
    struct buf *bytes;
    bool running;
};

#define LOOK_INIT             \
    {                         \
        .fd = -1, .child = -1 \
    }

int look_start(struct loop *loop, struct look *look, struct err *reterr) must_check;
void look_stop(struct look *look); /* kills the child; done() is not called */
