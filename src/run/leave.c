/* The end: running requests finished, the engine stopped, all of its processes gone, its memory given
 * back; in this order, each with a limit, and then the lease. */

#include "run/shim_int.h"

#include "base/quantity.h"
#include "base/text.h"
#include "gpu/memory.h"
#include "run/wish.h"
#include "sys/clock.h"
#include "sys/kin.h"
#include "sys/log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define GRACE_US (15 * 1000000ULL)  /* from SIGTERM to SIGKILL */
#define GONE_US (10 * 1000000ULL)   /* for killed processes to go */
#define MEMORY_US (30 * 1000000ULL) /* for memory to come back */
#define QUICK_US (100 * 1000ULL)    /* the beat of the end */

static void
end_loop(struct shim *s)
{
    start_finish(s);
    watch_stop(s);
    loop_stop(s->loop);
}

/* ---- memory ---- */

static bool
is_ours(unsigned pid, const void *arg)
{
    const struct shim *s = arg;
    struct kin kin;
    return pid <= INT32_MAX && kin_look((pid_t)pid, &kin) == 0 && kin.session == s->session;
}

static int
check_left(struct shim *s, const struct gpu_inventory *inventory, struct err *reterr)
{
    for (size_t i = 0; i < s->state.gpu_count; i++)
        for (size_t g = 0; g < inventory->count; g++) {
            const struct gpu *gpu = &inventory->gpus[g];
            struct gpu before = {.memory_total_bytes = gpu->memory_total_bytes,
                                 .memory_free_bytes = gpu->memory_free_bytes,
                                 .memory_used_bytes = {s->used_before[i], true}};
            if (!text_eq(gpu->uuid, s->lease.parts[i].uuid))
                continue;
            int r = gpu_memory_check_left(gpu, &before, is_ours, s, reterr);
            if (r < 0)
                return r;
        }
    return 0;
}

static void
on_looked(struct look *look, const struct gpu_inventory *inventory, const struct err *cause)
{
    struct shim *s = container_of(look, struct shim, look);
    struct err err = {0};
    int r = inventory ? check_left(s, inventory, &err) : 0;
    if (!inventory)
        log_warning("%s: whether its GPU memory is free is not known: %s", s->model->name,
                    cause->what);
    if (r == -EAGAIN && shim_now(s) - s->killed_at < GONE_US + MEMORY_US) {
        shim_status(s, "waiting for its memory: %s", err.what);
        return; /* the next beat looks again */
    }
    if (r < 0) {
        log_err(&err);
        if (s->why.id == ERR_NONE)
            s->why = err;
    }
    end_loop(s);
}

static void
prove_memory(struct shim *s)
{
    struct err err;
    if (s->look.running)
        return;
    if (s->state.gpu_count == 0) {
        end_loop(s);
        return;
    }
    s->look.done = on_looked;
    if (look_start(s->loop, &s->look, &err) < 0) {
        log_err(&err);
        end_loop(s);
    }
}

/* ---- processes ---- */

static void
kill_all(struct shim *s, uint64_t now)
{
    if (s->killed_at == 0)
        s->killed_at = now;
    if (s->runs)
        (void)!proc_signal(&s->engine, SIGKILL);
}

/* Everybody of the engine but its first process, which has its own watch. */
static size_t
count_left(struct shim *s)
{
    pid_t keep = s->runs ? s->engine.pid : 0;
    int signo = s->killed_at ? SIGKILL : 0;
    size_t left = s->session ? kin_signal(s->session, keep, signo) : 0;
    return left + kin_signal(0, keep, signo);
}

static void
check_gone(struct shim *s, uint64_t now)
{
    kin_reap(&s->engine.pid, s->runs);
    if (!s->runs && s->killed_at == 0)
        kill_all(s, now); /* what the first process has left behind */
    size_t left = count_left(s);
    if (!s->runs && left == 0) {
        prove_memory(s);
    } else if (s->killed_at && now - s->killed_at >= GONE_US) {
        log_error("%s: %zu of its processes cannot be killed: they hang in the kernel",
                  s->model->name, left + s->runs);
        prove_memory(s);
    } else if (!s->killed_at && now - s->leave_at >= GRACE_US) {
        log_warning("%s: the engine has not ended %llu s after SIGTERM: it is killed",
                    s->model->name, GRACE_US / 1000000);
        kill_all(s, now);
    }
}

/* ---- the order of the end ---- */

static void
stop_engine(struct shim *s, bool at_once)
{
    uint64_t now = shim_now(s);
    watch_stop(s);
    start_finish(s);
    s->leave_at = now;
    shim_phase(s, RUN_STOPPING, "stopping%s%s", s->why.id == ERR_NONE ? "" : ": ",
               s->why.id == ERR_NONE ? "" : s->why.what);
    (void)notify_send(&s->notify, "STOPPING=1\nSTATUS=%s", s->state.status);
    if (at_once)
        kill_all(s, now);
    else if (s->runs)
        (void)!proc_signal(&s->engine, SIGTERM);
    loop_timer_start(s->loop, &s->tick, 0, QUICK_US);
}

void
leave(struct shim *s, const struct err *why)
{
    if (why && s->why.id == ERR_NONE)
        s->why = *why;
    if (s->leaving && s->state.phase == RUN_STOPPING)
        return;
    s->leaving = true;
    sleep_stop(s);
    /* An engine that hangs does not hear SIGTERM; one that has ended needs none. */
    stop_engine(s, s->why.id == ERR_ENGINE_HUNG || !s->runs);
}

void
leave_now(struct shim *s)
{
    s->forced = true;
    if (s->state.phase == RUN_STOPPING)
        kill_all(s, shim_now(s));
    else
        leave(s, NULL);
}

void
leave_drained(struct shim *s)
{
    bool serves = s->state.phase == RUN_READY || s->state.phase == RUN_DEGRADED;
    if (s->leaving)
        return;
    if (!serves || !s->runs || s->model->drain_timeout_us == 0) {
        leave(s, NULL);
        return;
    }
    s->leaving = true;
    s->leave_at = shim_now(s);
    watch_stop(s);
    shim_phase(s, RUN_DRAINING, "finishing %.0f requests", s->state.running + s->state.waiting);
    (void)notify_send(&s->notify, "STOPPING=1\nSTATUS=%s", s->state.status);
    s->vigil.has_load = false; /* what was known before is old */
    loop_timer_start(s->loop, &s->tick, 0, QUICK_US);
}

/* Nobody has asked it to. The log may have said why. */
static void
explain_end(struct shim *s, const struct proc_end *end, struct err *err)
{
    char how[64];
    bool serving = s->state.phase != RUN_STARTING;
    *err = (struct err){0};
    if (s->progress.why.id != ERR_NONE && (end->killed || end->status != 0 || !serving))
        *err = s->progress.why;
    if (err->id == ERR_NONE) {
        (void)err_set(err, ERR_ENGINE_CRASHED, "the engine ended unasked (%s); its last line: %s",
                      proc_end_print(end, how), s->last_line[0] ? s->last_line : "none");
        err_fix(err, "see its log: citadel logs %s", s->model->name);
    }
}

void
leave_engine_ended(struct shim *s, const struct proc_end *end)
{
    struct err err;
    s->state.pid = 0;
    if (s->state.phase == RUN_STOPPING) {
        leave_tick(s, shim_now(s));
        return;
    }
    explain_end(s, end, &err);
    if (s->state.phase == RUN_DRAINING && !end->killed && end->status == 0)
        leave(s, NULL);
    else
        leave(s, &err);
}

static void
drain_tick(struct shim *s, uint64_t now)
{
    quantity_text text;
    bool idle = s->vigil.has_load && s->state.running + s->state.waiting == 0;
    bool blind = s->kind->dialect == ENGINE_SAYS_NOTHING;
    uint64_t most = s->model->drain_timeout_us;
    if (!idle && !blind && now - s->leave_at < most)
        return;
    if (!idle && !blind)
        log_warning("%s: %.0f requests are cut off after drain_timeout, %s", s->model->name,
                    s->state.running + s->state.waiting, quantity_print_us(most, text));
    stop_engine(s, false);
}

void
leave_tick(struct shim *s, uint64_t now)
{
    if (s->state.phase == RUN_DRAINING)
        drain_tick(s, now);
    else if (s->state.phase == RUN_STOPPING)
        check_gone(s, now);
}
