/* The start lock. The gate is the lock; the file beside it only tells who has it, and is there a
 * moment later. */

#include "gpu/gate.h"
#include "gpu/lease_int.h"
#include "sys/clock.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define GATE "start.gate"
#define TOLD "start.json"

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
    int r = lease_dir_open(run, false, &start->dir, reterr);
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
    int r = lease_dir_open(run, false, &dir, reterr);
    if (r < 0)
        return r;
    read_holder(dir, ret_holder);
    return ret_holder->name[0] ? 1 : 0;
}
