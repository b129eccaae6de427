/* The start lock. The gate is the lock; the file beside it only tells who has it, and is there a
 * moment later. */

#include "gpu/lease_int.h"

#include "base/mem.h"
#include "gpu/gate.h"
#include "sys/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DIR_NAME "start"
#define GATE "gate"
#define TOLD "holder.json"

static int
open_dir(const char *run, bool make, int *ret_dir, struct err *reterr)
{
    _cleanup_free_ char *path = mem_printf("%s/" DIR_NAME, run);
    return lease_dir_open(path, make, ret_dir, reterr);
}

static void
read_holder(int dir, struct gpu_holder *ret_holder)
{
    struct gpu_lease lease;
    bool told = lease_file_read(dir, TOLD, &lease) == 1;
    *ret_holder = told ? lease.holder : (struct gpu_holder){0};
}

static int
tell(struct gpu_start *start, const char *name)
{
    struct gpu_lease lease = {
        .holder = {.pid = (unsigned)getpid(), .since_us = clock_wall_us()},
    };
    (void)snprintf(lease.holder.name, sizeof(lease.holder.name), "%s", name);
    return lease_file_put(start->dir, TOLD, &lease, &start->told_fd);
}

int
gpu_start_try(struct gpu_start *start, const char *run, const char *name,
              struct gpu_holder *ret_holder, struct err *reterr)
{
    assert(text_is_name(name) && start->fd < 0);
    gpu_start_release(start);
    int r = open_dir(run, true, &start->dir, reterr);
    if (r < 0)
        return r;
    r = gate_try(start->dir, GATE, &start->fd, &start->wait_fd);
    if (r == -EAGAIN) {
        read_holder(start->dir, ret_holder);
        return 0;
    }
    if (r == 0)
        r = tell(start, name);
    if (r < 0) {
        gpu_start_release(start);
        return err_set_errno(reterr, -r, "the start lock in %s", run);
    }
    return 1;
}

void
gpu_start_release(struct gpu_start *start)
{
    if (start->told_fd >= 0)
        (void)unlinkat(start->dir, TOLD, 0);
    cleanup_close(&start->told_fd);
    cleanup_close(&start->fd);
    cleanup_close(&start->wait_fd);
    cleanup_close(&start->dir);
}

int
gpu_start_holder(const char *run, struct gpu_holder *ret_holder, struct err *reterr)
{
    _cleanup_close_ int dir = -1;
    struct err err = {0};
    int r = open_dir(run, false, &dir, &err);
    if (r == -ENOENT)
        return 0; /* nobody has ever had it */
    if (r < 0) {
        if (reterr)
            *reterr = err;
        return r;
    }
    read_holder(dir, ret_holder);
    return ret_holder->name[0] ? 1 : 0;
}
