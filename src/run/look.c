#include "run/look.h"

#include "base/buf.h"
#include "base/mem.h"
#include "sys/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the child writes is read by the same program: structs as they lie in memory.
 *
 *     struct err             id ERR_NONE: the rest follows
 *     struct gpu_inventory   its pointer means nothing
 *     struct gpu             count times, likewise
 *     struct gpu_process     process_count times for each GPU */
#define BYTES_MAX                                        \
    (sizeof(struct err) + sizeof(struct gpu_inventory) + \
     GPU_INVENTORY_MAX * (sizeof(struct gpu) + GPU_PROCESSES_MAX * sizeof(struct gpu_process)))

static bool
write_all(int fd, const void *bytes, size_t len)
{
    const char *from = bytes;
    while (len) {
        ssize_t n = write(fd, from, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        from += n;
        len -= (size_t)n;
    }
    return true;
}

static void
tell_inventory(int fd)
{
    struct gpu_inventory inventory;
    struct err err = {0};
    if (gpu_inventory_read(&inventory, &err) < 0) {
        (void)write_all(fd, &err, sizeof(err));
        return;
    }
    bool ok = write_all(fd, &err, sizeof(err)) && write_all(fd, &inventory, sizeof(inventory)) &&
              write_all(fd, inventory.gpus, inventory.count * sizeof(*inventory.gpus));
    for (size_t i = 0; ok && i < inventory.count; i++)
        ok = write_all(fd, inventory.gpus[i].processes,
                       inventory.gpus[i].process_count * sizeof(*inventory.gpus[i].processes));
}

/* ---- what was read ---- */

struct taking {
    const char *at;
    size_t left;
};

static const void *
take(struct taking *t, size_t len)
{
    const void *taken = t->at;
    if (len > t->left)
        return NULL;
    t->at += len;
    t->left -= len;
    return taken;
}

/* Rebuilds the pointers; false when the child was cut off. */
static bool
rebuild(struct taking *t, struct gpu_inventory *inventory, struct gpu *gpus)
{
    const void *head = take(t, sizeof(*inventory));
    if (!head)
        return false;
    memcpy(inventory, head, sizeof(*inventory));
    inventory->gpus = gpus;
    const void *all =
        inventory->count <= GPU_INVENTORY_MAX ? take(t, inventory->count * sizeof(*gpus)) : NULL;
    if (!all)
        return false;
    memcpy(gpus, all, inventory->count * sizeof(*gpus));
    return true;
}

static void
free_processes(struct gpu_inventory *inventory)
{
    for (size_t i = 0; i < inventory->count; i++)
        free(inventory->gpus[i].processes);
}

static bool
rebuild_processes(struct taking *t, struct gpu_inventory *inventory)
{
    bool whole = true;
    for (size_t i = 0; i < inventory->count; i++) {
        struct gpu *gpu = &inventory->gpus[i];
        size_t bytes = gpu->process_count * sizeof(*gpu->processes);
        const void *processes =
            whole && gpu->process_count <= GPU_PROCESSES_MAX ? take(t, bytes) : NULL;
        whole = processes != NULL;
        gpu->processes = whole && bytes ? mem_alloc(bytes) : NULL;
        gpu->process_count = whole ? gpu->process_count : 0;
        if (gpu->processes)
            memcpy(gpu->processes, processes, bytes);
    }
    if (!whole)
        free_processes(inventory);
    return whole;
}

static void
tell_cut_off(struct err *err)
{
    (void)err_set(err, ERR_GPU_CALL, "reading the GPUs was cut off");
    err_fix(err, "see `nvidia-smi` and `dmesg`");
}

static void
tell(struct look *look, struct err *err)
{
    struct taking t = {look->bytes->data, look->bytes->len};
    struct gpu_inventory inventory;
    struct gpu *gpus = mem_alloc(GPU_INVENTORY_MAX * sizeof(*gpus));
    const void *told = take(&t, sizeof(*err));
    bool rebuilt = false;
    if (told)
        memcpy(err, told, sizeof(*err));
    if (told && err->id == ERR_NONE)
        rebuilt = rebuild(&t, &inventory, gpus) && rebuild_processes(&t, &inventory);
    if (!rebuilt && err->id == ERR_NONE)
        tell_cut_off(err);
    look_stop(look);
    look->done(look, rebuilt ? &inventory : NULL, err);
    if (rebuilt)
        free_processes(&inventory);
    free(gpus);
}

static void
on_pipe(struct loop_fd *watch, unsigned events unused_arg)
{
    struct look *look = container_of(watch, struct look, pipe);
    struct err err = {0};
    char piece[4 * KIB];
    ssize_t n = read(look->fd, piece, sizeof(piece));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        buf_add(look->bytes, piece, (size_t)n);
        return;
    }
    tell(look, &err);
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
    buf_init(look->bytes, BYTES_MAX);
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
