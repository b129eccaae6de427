#include "deploy/emergency_int.h"

#include "gpu/memory.h"
#include "run/look.h"
#include "service/systemd.h"
#include "sys/clock.h"
#include "sys/log.h"
#include "sys/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYSTEMD_US UINT64_C(2000000)
#define GPUS_US UINT64_C(10000000) /* a driver takes seconds to free a process's memory */
#define GPUS_AGAIN_US UINT64_C(100000)
#define LOOK_US UINT64_C(5000000)

/* ---- systemd ---- */

static _Noreturn void
tell_systemd(int fd)
{
    struct err err = {0};
    char done = systemd_order_end(&err) == 0;
    if (!done)
        log_err(&err);
    _exit(write(fd, &done, 1) == 1 ? 0 : 1);
}

void
emergency_order_begin(struct emergency_order *order, bool machine)
{
    int ends[2];
    *order = (struct emergency_order){.fd = -1};
    if (!machine || !systemd_is_here() || pipe2(ends, O_CLOEXEC) < 0)
        return;
    pid_t pid = proc_fork(&ends[1]);
    if (pid == 0)
        tell_systemd(ends[1]);
    (void)close(ends[1]);
    *order = (struct emergency_order){
        .pid = MAX(pid, 0), .fd = ends[0], .until_us = clock_now_us() + SYSTEMD_US};
}

static bool
hear(const struct emergency_order *order)
{
    struct pollfd fd = {.fd = order->fd, .events = POLLIN};
    uint64_t now = clock_now_us();
    int ms = now < order->until_us ? (int)((order->until_us - now) / 1000) : 0;
    char done = 0;
    return poll(&fd, 1, ms) > 0 && read(order->fd, &done, 1) == 1 && done;
}

enum emergency_systemd
emergency_order_end(struct emergency_order *order)
{
    if (order->fd < 0)
        return EMERGENCY_NO_SYSTEMD;
    bool told = order->pid && hear(order);
    if (order->pid) {
        (void)kill(order->pid, SIGKILL);
        /* One that hangs in the kernel is left to whoever reaps after us. */
        (void)waitpid(order->pid, NULL, WNOHANG);
    }
    cleanup_close(&order->fd);
    return told ? EMERGENCY_TOLD : EMERGENCY_SILENT;
}

/* ---- the GPUs ---- */

struct proof {
    struct loop *loop;
    struct look look;
    struct loop_timer again;
    uint64_t until_us;
    struct emergency_report *report;
};

static bool
was_killed(unsigned pid, const void *arg)
{
    const struct emergency_processes *killed = arg;
    vec_foreach (&killed->all, p)
        if (p->kin.pid == (pid_t)pid)
            return true;
    return false;
}

static void
look_at_gpus(struct proof *p)
{
    if (look_start(p->loop, &p->look, &p->report->gpu) < 0)
        loop_stop(p->loop);
}

static void
on_again(struct loop_timer *timer)
{
    look_at_gpus(container_of(timer, struct proof, again));
}

static void
on_looked(struct look *look, const struct gpu_inventory *inventory, const struct err *cause)
{
    struct proof *p = container_of(look, struct proof, look);
    struct err err = {0};
    int r = 0;
    if (!inventory && cause->id != ERR_GPU_NO_LIBRARY) /* else there are none */
        p->report->gpu = *cause;
    for (size_t i = 0; inventory && i < inventory->count && r == 0; i++)
        r = gpu_memory_check_left(&inventory->gpus[i], NULL, was_killed, &p->report->killed, &err);
    if (r == -EAGAIN && loop_now_us(p->loop) < p->until_us) {
        loop_timer_start(p->loop, &p->again, GPUS_AGAIN_US, 0);
        return;
    }
    if (r < 0)
        p->report->gpu = err;
    else if (inventory)
        p->report->gpus = inventory->count;
    loop_stop(p->loop);
}

void
emergency_prove(uint64_t limit_us, struct emergency_report *report)
{
    struct proof p = {.look = LOOK_INIT,
                      .again.expired = on_again,
                      .until_us = clock_now_us() + (limit_us ? limit_us : GPUS_US),
                      .report = report};
    p.look.done = on_looked;
    p.look.timeout_us = LOOK_US;
    if (loop_new(&p.loop, &report->gpu) < 0)
        return;
    look_at_gpus(&p);
    if (report->gpu.id == ERR_NONE)
        loop_run(p.loop);
    look_stop(&p.look);
    loop_timer_stop(&p.again);
    loop_free(p.loop);
}
