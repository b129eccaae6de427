#include "run/look.h"

#include "base/buf.h"
#include "base/mem.h"
#include "gpu/transfer.h"
#include "sys/errand.h"
#include "sys/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void
tell_inventory(int fd)
{
    _cleanup_buf_ struct buf told = BUF_INIT(GPU_TRANSFER_MAX);
    struct gpu_inventory inventory;
    struct err err = {0};
    bool read = gpu_inventory_read(&inventory, &err) == 0;
    gpu_transfer_print(read ? &inventory : NULL, &err, &told);
    (void)errand_tell(fd, told.data, told.len);
}

static void
tell(struct look *look)
{
    _cleanup_gpu_inventory_ struct gpu_inventory inventory = {0};
    struct err err = {0};
    int r = gpu_transfer_read(look->bytes->data, look->bytes->len, &inventory, &err);
    look_stop(look);
    look->done(look, r == 0 ? &inventory : NULL, &err);
}

static void
on_pipe(struct loop_fd *watch, unsigned events unused_arg)
{
    struct look *look = container_of(watch, struct look, pipe);
    char piece[4 * KIB];
    ssize_t n = read(look->fd, piece, sizeof(piece));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        buf_add(look->bytes, piece, (size_t)n);
        return;
    }
    tell(look);
}

static uint64_t
limit_of(const struct look *look)
{
    return look->timeout_us ? look->timeout_us : LOOK_TIMEOUT_US;
}

static void
on_timeout(struct loop_timer *timer)
{
    struct look *look = container_of(timer, struct look, timer);
    struct err err;
    (void)err_set(&err, ERR_GPU_SICK, "the NVIDIA driver has not answered for %llu s",
                  (unsigned long long)limit_of(look) / 1000000);
    err_fix(&err, "see `nvidia-smi` and `dmesg`; the machine may have to be rebooted");
    look_stop(look);
    look->done(look, NULL, &err);
}

int
look_start(struct loop *loop, struct look *look, struct err *reterr)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set_errno(reterr, errno, "a pipe");
    _cleanup_close_ int hear = ends[0], tell = ends[1];
    pid_t pid = proc_fork(&tell);
    if (pid == 0) {
        tell_inventory(tell);
        _exit(0);
    }
    if (pid < 0)
        return err_set_errno(reterr, -pid, "a child to read the GPUs");
    look->child = (int)syscall(SYS_pidfd_open, pid, 0);
    look->fd = take_fd(&hear);
    look->loop = loop;
    look->bytes = mem_new(struct buf);
    buf_init(look->bytes, GPU_TRANSFER_MAX);
    look->running = true;
    look->pipe.ready = on_pipe;
    look->timer.expired = on_timeout;
    loop_timer_start(loop, &look->timer, limit_of(look), 0);
    int r = loop_fd_start(loop, &look->pipe, look->fd, LOOP_READ);
    if (r < 0) {
        look_stop(look);
        return err_set_errno(reterr, -r, "watching a pipe");
    }
    return 0;
}

void
look_stop(struct look *look)
{
    if (!look->running)
        return;
    look->running = false;
    loop_fd_stop(&look->pipe);
    loop_timer_stop(&look->timer);
    if (look->child >= 0) {
        siginfo_t info;
        (void)syscall(SYS_pidfd_send_signal, look->child, SIGKILL, NULL, 0);
        /* One that hangs in the driver cannot be killed: then nobody waits for it. */
        (void)waitid((idtype_t)P_PIDFD, (id_t)look->child, &info, WEXITED | WNOHANG);
    }
    cleanup_close(&look->child);
    cleanup_close(&look->fd);
    buf_finish(look->bytes);
    free(look->bytes);
    look->bytes = NULL;
}
