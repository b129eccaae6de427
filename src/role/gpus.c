#include "role/gpus.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES (64 * KIB)

static void
disconnect(struct gpus *g)
{
    loop_fd_stop(&g->tell);
    loop_timer_stop(&g->limit);
    cleanup_close(&g->ask_fd);
    cleanup_close(&g->tell_fd);
    buf_clear(&g->bytes);
}

/* Those that hung and have ended since. */
static void
reap_stuck(struct gpus *g)
{
    for (unsigned i = 0; i < g->stuck;) {
        struct proc_end end;
        if (proc_reap(&g->stuck_children[i], &end) == 0) {
            proc_close(&g->stuck_children[i]);
            g->stuck_children[i] = g->stuck_children[--g->stuck];
        } else {
            i++;
        }
    }
}

/* It hangs in the driver, perhaps beyond signals: nobody waits for it. */
static void
give_up(struct gpus *g)
{
    disconnect(g);
    proc_watch_stop(&g->watch);
    (void)!proc_signal(&g->child, SIGKILL);
    assert(g->stuck < GPUS_STUCK_MAX);
    g->stuck_children[g->stuck++] = g->child;
    g->child = (struct proc){.fd = -1};
}

static void
end_reading(struct gpus *g)
{
    g->reading = false;
    loop_timer_stop(&g->limit);
    g->told(g);
}

static void
on_limit(struct loop_timer *timer)
{
    struct gpus *g = container_of(timer, struct gpus, limit);
    g->hung = true;
    (void)err_set(&g->err, ERR_GPU_SICK, "the NVIDIA driver has not answered for %llu s",
                  (unsigned long long)g->limit_us / 1000000);
    err_fix(&g->err, "see `nvidia-smi` and `dmesg`; the machine may have to be rebooted");
    give_up(g);
    end_reading(g);
}

static void
take_answer(struct gpus *g, size_t len)
{
    struct gpu_inventory inventory;
    g->hung = false;
    g->err = (struct err){0};
    int r = gpu_transfer_read(g->bytes.data + sizeof(uint64_t), len, &inventory, &g->err);
    buf_clear(&g->bytes);
    if (g->known && (r == 0 || g->err.id != ERR_GPU_CALL))
        gpu_inventory_finish(&g->inventory);
    g->known = r == 0 || (g->known && g->err.id == ERR_GPU_CALL);
    if (r == 0) {
        g->inventory = inventory;
        g->read_us = g->asked_us;
    }
    end_reading(g);
}

static void
on_tell(struct loop_fd *watch, unsigned events unused_arg)
{
    struct gpus *g = container_of(watch, struct gpus, tell);
    uint64_t len;
    void *to = buf_reserve(&g->bytes, READ_BYTES);
    ssize_t n = to ? read(g->tell_fd, to, READ_BYTES) : 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) { /* its end tells the rest */
        loop_fd_stop(watch);
        return;
    }
    buf_commit(&g->bytes, (size_t)n);
    if (g->bytes.len < sizeof(len))
        return;
    memcpy(&len, g->bytes.data, sizeof(len));
    if (g->reading && g->bytes.len - sizeof(len) >= len)
        take_answer(g, (size_t)len);
}

static void
on_ended(struct proc_watch *watch, const struct proc_end *end)
{
    struct gpus *g = container_of(watch, struct gpus, watch);
    char text[64];
    disconnect(g);
    proc_close(&g->child);
    if (!g->reading)
        return;
    (void)err_set(&g->err, ERR_GPU_CALL, "what reads the GPUs has ended: %s",
                  proc_end_print(end, text));
    err_fix(&g->err, "see `nvidia-smi` and `dmesg`");
    end_reading(g);
}

static int
start(struct gpus *g, struct err *reterr)
{
    int ask[2], tell[2];
    const char *const argv[] = {g->program, "probe", NULL};
    /* A socket, since writing to a pipe that nobody reads any more would end us. */
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ask) < 0)
        return err_set_errno(reterr, errno, "a socket to what reads the GPUs");
    _cleanup_close_ int ask_read = ask[0], ask_write = ask[1];
    if (pipe2(tell, O_CLOEXEC) < 0)
        return err_set_errno(reterr, errno, "a pipe from what reads the GPUs");
    _cleanup_close_ int tell_read = tell[0], tell_write = tell[1];
    const struct proc_wish wish = {
        .argv = argv, .fds = {ask_read, tell_write, STDERR_FILENO}, .death_signal = SIGKILL};
    int r = proc_start(&wish, &g->child, reterr);
    if (r < 0)
        return r;
    g->ask_fd = take_fd(&ask_write);
    g->tell_fd = take_fd(&tell_read);
    r = loop_fd_start(g->loop, &g->tell, g->tell_fd, LOOP_READ);
    if (r == 0)
        r = proc_watch_start(g->loop, &g->watch, &g->child);
    if (r == 0)
        return 0;
    give_up(g);
    return err_set_errno(reterr, -r, "watching what reads the GPUs");
}

static void
on_failed(struct loop_timer *timer)
{
    end_reading(container_of(timer, struct gpus, limit));
}

static int
ask(struct gpus *g, struct err *reterr)
{
    int r = 0;
    reap_stuck(g);
    if (g->child.fd < 0 && g->stuck == GPUS_STUCK_MAX) {
        r = err_set(reterr, ERR_GPU_SICK, "%u that read the GPUs hang in the driver", g->stuck);
        err_fix(reterr, "see `dmesg`; the machine may have to be rebooted");
    } else if (g->child.fd < 0) {
        r = start(g, reterr);
    }
    if (r == 0 && send(g->ask_fd, "?", 1, MSG_NOSIGNAL) != 1)
        r = err_set_errno(reterr, errno, "asking what reads the GPUs");
    return r;
}

void
gpus_read(struct gpus *g)
{
    if (g->reading)
        return;
    g->reading = true;
    g->asked_us = loop_now_us(g->loop);
    bool asked = ask(g, &g->err) == 0;
    g->limit.expired = asked ? on_limit : on_failed;
    loop_timer_start(g->loop, &g->limit, asked ? g->limit_us : 0, 0);
}

void
gpus_open(struct gpus *g, struct loop *loop, const char *program, uint64_t limit_us,
          void (*told)(struct gpus *gpus))
{
    *g = (struct gpus){.loop = loop,
                       .program = program,
                       .limit_us = limit_us,
                       .told = told,
                       .child = {.fd = -1},
                       .ask_fd = -1,
                       .tell_fd = -1,
                       .tell.ready = on_tell,
                       .watch.ended = on_ended,
                       .bytes = BUF_INIT(GPU_TRANSFER_MAX + READ_BYTES)};
}

void
gpus_close(struct gpus *g)
{
    struct proc_end end;
    bool runs = g->child.fd >= 0;
    disconnect(g);
    proc_watch_stop(&g->watch);
    if (runs) {
        (void)!proc_signal(&g->child, SIGKILL);
        (void)!proc_reap(&g->child, &end);
        proc_close(&g->child);
    }
    for (unsigned i = 0; i < g->stuck; i++)
        proc_close(&g->stuck_children[i]);
    buf_finish(&g->bytes);
    if (g->known)
        gpu_inventory_finish(&g->inventory);
}
