/* Room for an engine: the host's start lock, since engines measure free memory while they take theirs;
 * under it the lease of GPUs, and memory that is really free. */

#include "run/shim_int.h"

#include "base/text.h"
#include "gpu/memory.h"
#include "run/place.h"
#include "run/wish.h"
#include "sys/kin.h"
#include "sys/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SHORT_MAX_US UINT64_C(30000000) /* a driver takes seconds to free a process's memory */
#define SHORT_RETRY_US UINT64_C(1000000)
#define UNTOLD_RETRY_US UINT64_C(100000)

static void look_at_gpus(struct shim *s);

/* ---- the lock ---- */

static void
try_lock(struct shim *s)
{
    struct gpu_holder holder;
    struct err err;
    int r = gpu_start_try(&s->room.start, s->config->paths.run, s->model->name, &holder, &err);
    if (r > 0) {
        s->room.there(s);
        return;
    }
    if (r == 0) {
        const char *who = holder.name[0] ? holder.name : "another model";
        if (s->state.phase == RUN_WAKING)
            shim_status(s, "to be woken when %s has started", who);
        else if (s->state.phase == RUN_FALLING_ASLEEP)
            shim_status(s, "to fall asleep when %s has started", who);
        else
            shim_phase(s, RUN_WAITING_START, "waiting: %s is being started", who);
        if (!holder.name[0]) /* it is about to tell */
            loop_timer_start(s->loop, &s->room.lock_again, UNTOLD_RETRY_US, 0);
        r = loop_fd_start(s->loop, &s->room.start_wait, s->room.start.wait_fd, LOOP_HANGUP);
        if (r < 0)
            (void)err_set_errno(&err, -r, "waiting for the start lock");
    }
    if (r < 0)
        s->room.nowhere(s, &err);
}

static void
try_lock_again(struct shim *s)
{
    loop_timer_stop(&s->room.lock_again);
    loop_fd_stop(&s->room.start_wait);
    try_lock(s);
}

static void
on_lock_free(struct loop_fd *watch, unsigned events unused_arg)
{
    try_lock_again(container_of(watch, struct shim, room.start_wait));
}

static void
on_untold(struct loop_timer *timer)
{
    try_lock_again(container_of(timer, struct shim, room.lock_again));
}

void
room_lock(struct shim *s, void (*then)(struct shim *s),
          void (*otherwise)(struct shim *s, const struct err *why))
{
    s->room.there = then;
    s->room.nowhere = otherwise;
    s->room.start_wait.ready = on_lock_free;
    s->room.lock_again.expired = on_untold;
    if (run_wish_gpus(s->model) == PLAN_GPUS_NEVER || s->room.start.fd >= 0)
        then(s);
    else
        try_lock(s);
}

void
room_unlock(struct shim *s)
{
    loop_fd_stop(&s->room.start_wait);
    gpu_start_release(&s->room.start);
}

/* ---- GPUs and their memory ---- */

/* A driver that is not installed will not come by waiting; one that is sick may recover. */
static void
tell_no_gpus(struct shim *s, const struct err *cause)
{
    struct err err;
    bool never = cause->id == ERR_GPU_NO_LIBRARY;
    (void)err_set(&err, never ? ERR_ENGINE_CONFIG : ERR_ENGINE_NOT_NOW, "%s needs a GPU: %s",
                  s->kind->name, cause->what);
    err_fix(&err, "%s", cause->fix[0] ? cause->fix : "install the NVIDIA driver");
    s->room.nowhere(s, &err);
}

/* One that was here before keeps its GPUs: its process is bound to them. */
static int
choose(struct shim *s, const struct gpu_inventory *inventory, struct err *reterr)
{
    _cleanup_gpu_leases_ struct gpu_leases leases = {0};
    const struct place_wish wish = {.devices = s->model->gpus.items,
                                    .device_count = s->model->gpus.count,
                                    .count = plan_gpu_count(s->model),
                                    .fraction = s->model->gpu_memory_fraction};
    if (s->session)
        return 0;
    int r = gpu_leases_read(&leases, s->config->paths.run, reterr);
    return r < 0 ? r
                 : place_choose(&wish, inventory, &leases, &s->room.lease, s->room.gpus, reterr);
}

static int
take_lease(struct shim *s, const struct gpu_inventory *inventory, struct err *reterr)
{
    if (s->room.has_lease)
        return 0;
    int r = choose(s, inventory, reterr);
    if (r < 0)
        return r;
    (void)snprintf(s->room.lease.holder.name, sizeof(s->room.lease.holder.name), "%s",
                   s->model->name);
    r = gpu_lease_take(&s->room.lease, s->config->paths.run, 0, reterr);
    s->room.has_lease = r == 0;
    return r;
}

void
room_give_lease(struct shim *s)
{
    if (s->room.has_lease)
        gpu_lease_release(&s->room.lease);
    s->room.has_lease = false;
}

static const struct gpu *
find_gpu(const struct gpu_inventory *inventory, const char *uuid)
{
    for (size_t i = 0; i < inventory->count; i++)
        if (text_eq(inventory->gpus[i].uuid, uuid))
            return &inventory->gpus[i];
    return NULL;
}

bool
room_is_ours(unsigned pid, const void *arg)
{
    const struct shim *s = arg;
    struct kin kin;
    return s->session && pid <= INT32_MAX && kin_look((pid_t)pid, &kin) == 0 &&
           kin.session == s->session;
}

/* What one that sleeps has not given up: it need not be free to be taken back. */
static uint64_t
own_bytes(struct shim *s, const struct gpu *gpu)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < gpu->process_count; i++)
        if (room_is_ours(gpu->processes[i].pid, s) && gpu->processes[i].bytes.known)
            bytes += gpu->processes[i].bytes.n;
    return s->session ? MAX(bytes, GPU_MEMORY_SLACK_BYTES) : 0;
}

/* By which an engine sizes its batch. */
static void
note_first(struct room *room, const struct gpu *gpu)
{
    memcpy(room->gpu_name, gpu->name, sizeof(room->gpu_name));
    room->gpu_bytes = gpu->memory_total_bytes.n;
}

static int
check_memory(struct shim *s, const struct gpu_inventory *inventory, struct err *reterr)
{
    for (size_t i = 0; i < s->room.lease.part_count; i++) {
        const struct gpu *gpu = find_gpu(inventory, s->room.lease.parts[i].uuid);
        if (!gpu) {
            int gone =
                err_set(reterr, ERR_GPU_SICK, "GPU %s has gone", s->room.lease.parts[i].uuid);
            err_fix(reterr, "see `nvidia-smi` and `dmesg`");
            return gone;
        }
        uint64_t wanted = s->room.lease.parts[i].bytes, own = own_bytes(s, gpu);
        int r = gpu_memory_check_free(gpu, wanted - MIN(wanted, own), reterr);
        if (r < 0)
            return r;
        if (!s->session)
            s->room.used_before[i] = gpu->memory_used_bytes.n;
        if (i == 0)
            note_first(&s->room, gpu);
    }
    return 0;
}

static void
tell_short(struct shim *s, const struct err *why)
{
    uint64_t now = shim_now(s);
    if (s->room.short_since == 0)
        s->room.short_since = now;
    if (now - s->room.short_since >= SHORT_MAX_US) {
        s->room.nowhere(s, why);
        return;
    }
    shim_status(s, "waiting for memory: %s", why->what);
    loop_timer_start(s->loop, &s->room.memory_again, SHORT_RETRY_US, 0);
}

static void
on_looked(struct look *look, const struct gpu_inventory *inventory, const struct err *cause)
{
    struct shim *s = container_of(look, struct shim, room.look);
    struct err err;
    /* What was promised GPUs must not quietly do without. */
    bool promised = s->model->gpus.count || s->room.lease.part_count;
    if (!inventory && (promised || run_wish_gpus(s->model) == PLAN_GPUS_ALWAYS)) {
        tell_no_gpus(s, cause);
        return;
    }
    if (!inventory) {
        log_info("%s: runs without a GPU: %s", s->model->name, cause->what);
        s->room.there(s);
        return;
    }
    int r = take_lease(s, inventory, &err);
    bool leased = r == 0;
    if (leased)
        r = check_memory(s, inventory, &err);
    if (r == 0)
        s->room.there(s);
    else if (leased && r == -EAGAIN)
        tell_short(s, &err);
    else
        s->room.nowhere(s, &err);
}

static void
look_at_gpus(struct shim *s)
{
    struct err err;
    s->room.look.done = on_looked;
    if (look_start(s->loop, &s->room.look, &err) < 0)
        s->room.nowhere(s, &err);
}

static void
on_retry(struct loop_timer *timer)
{
    look_at_gpus(container_of(timer, struct shim, room.memory_again));
}

/* ---- both ---- */

static void
take_memory(struct shim *s)
{
    void (*then)(struct shim * s) = s->room.locked;
    s->room.there = then;
    s->room.short_since = 0;
    s->room.memory_again.expired = on_retry;
    if (run_wish_gpus(s->model) == PLAN_GPUS_NEVER ||
        (s->session && s->room.lease.part_count == 0)) {
        then(s);
        return;
    }
    if (!s->session)
        shim_phase(s, RUN_WAITING_MEMORY, "looking at the GPUs");
    look_at_gpus(s);
}

void
room_take(struct shim *s, void (*then)(struct shim *s),
          void (*otherwise)(struct shim *s, const struct err *why))
{
    s->room.locked = then;
    room_lock(s, take_memory, otherwise);
}

void
room_stop(struct shim *s)
{
    loop_fd_stop(&s->room.start_wait);
    loop_timer_stop(&s->room.lock_again);
    loop_timer_stop(&s->room.memory_again);
    look_stop(&s->room.look);
}
