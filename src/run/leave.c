/* The end: running requests finished, the engine stopped, all of its processes gone, its memory given
 * back; in this order, each with a limit. Only then are the start lock and the lease given back: when
 * others may take that memory, it is free. */

#include "run/shim_int.h"

#include "base/quantity.h"
#include "base/text.h"
#include "gpu/memory.h"
#include "sys/kin.h"
#include "sys/listener.h"
#include "sys/log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define GRACE_US UINT64_C(15000000)       /* from SIGTERM to SIGKILL */
#define GRACE_BROKEN_US UINT64_C(5000000) /* of one that fails anyway */
#define GONE_US UINT64_C(10000000)        /* for killed processes to go */
#define MEMORY_US UINT64_C(30000000)      /* for memory to come back */
#define MEMORY_RETRY_US UINT64_C(500000)
#define QUICK_US UINT64_C(100000) /* the beat of the end */

static void
end_loop(struct shim *s)
{
    loop_timer_stop(&s->proof_again);
    look_stop(&s->proof);
    loop_stop(s->loop);
}

/* What is left at the end is the reason where there is no other: what was asked for was not wholly
 * done, and must not look as if it were. */
static void
end_short(struct shim *s, const struct err *left)
{
    log_err(left);
    if (s->why.id == ERR_NONE)
        s->why = *left;
    end_loop(s);
}

/* ---- memory ---- */

static void prove_memory(struct shim *s);

/* What others may have taken of a GPU since we looked at it first is no memory of ours. */
static uint64_t
expected_bytes(const struct shim *s, size_t part, const struct gpu_leases *leases)
{
    const struct gpu_lease_part *p = &s->room.lease.parts[part];
    uint64_t others = gpu_leases_sum(leases, p->uuid, p->total_bytes);
    if (s->room.has_lease)
        others -= MIN(others, p->bytes);
    return MAX(s->room.used_before[part], others);
}

static int
check_left(struct shim *s, const struct gpu_inventory *inventory, struct err *reterr)
{
    _cleanup_gpu_leases_ struct gpu_leases leases = {0};
    int r = gpu_leases_read(&leases, s->config->paths.run, reterr);
    for (size_t i = 0; r == 0 && i < s->state.gpu_count; i++)
        for (size_t g = 0; r == 0 && g < inventory->count; g++) {
            const struct gpu *gpu = &inventory->gpus[g];
            struct gpu before = {.memory_total_bytes = gpu->memory_total_bytes,
                                 .memory_free_bytes = gpu->memory_free_bytes,
                                 .memory_used_bytes = {expected_bytes(s, i, &leases), true}};
            if (text_eq(gpu->uuid, s->room.lease.parts[i].uuid))
                r = gpu_memory_check_left(gpu, &before, room_is_ours, s, reterr);
        }
    return r;
}

static void
on_retry(struct loop_timer *timer)
{
    prove_memory(container_of(timer, struct shim, proof_again));
}

static void
on_looked(struct look *look, const struct gpu_inventory *inventory, const struct err *cause)
{
    struct shim *s = container_of(look, struct shim, proof);
    struct err err = cause ? *cause : (struct err){0};
    int r = inventory ? check_left(s, inventory, &err) : -1;
    if (r == 0) {
        end_loop(s);
    } else if (inventory && shim_now(s) - s->gone_at < MEMORY_US) {
        shim_status(s, "waiting for its memory: %s", err.what);
        s->proof_again.expired = on_retry;
        loop_timer_start(s->loop, &s->proof_again, MEMORY_RETRY_US, 0);
    } else {
        err_prefix(&err, inventory ? "it has ended, and its memory has not come back"
                                   : "it has ended, and whether its memory is free is not known");
        end_short(s, &err);
    }
}

static void
prove_memory(struct shim *s)
{
    struct err err;
    s->proof.done = on_looked;
    if (s->state.gpu_count == 0)
        end_loop(s);
    else if (look_start(s->loop, &s->proof, &err) < 0)
        end_short(s, &err);
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

/* All that is below us is of the engine; but its first process has its own watch. */
static size_t
kill_rest(struct shim *s)
{
    return kin_signal(0, s->runs ? s->engine.pid : 0, SIGKILL);
}

static void
check_gone(struct shim *s, uint64_t now)
{
    struct err err;
    kin_reap(&s->engine.pid, s->runs ? 1 : 0);
    size_t left = kill_rest(s);
    if (!s->runs && left == 0) {
        s->gone_at = now;
        prove_memory(s);
    } else if (now - s->killed_at >= GONE_US) {
        s->stuck = true;
        (void)err_set(&err, ERR_PROC_STUCK,
                      "%zu of its processes hang in the kernel and cannot "
                      "be killed",
                      left + s->runs);
        err_fix(&err, "see `dmesg`; the machine may have to be rebooted");
        end_short(s, &err);
    }
}

static void
stopping_tick(struct shim *s, uint64_t now)
{
    quantity_text text;
    if (s->gone_at)
        return; /* the look at the GPUs has its own time */
    if (s->killed_at == 0 && !s->runs) {
        kill_all(s, now); /* what the first process has left behind */
    } else if (s->killed_at == 0 && now - s->leave_at >= s->grace_us) {
        log_warning("%s: the engine has not ended %s after SIGTERM: it is killed", s->model->name,
                    quantity_print_us(s->grace_us, text));
        kill_all(s, now);
    }
    if (s->killed_at)
        check_gone(s, now);
}

/* ---- the order of the end ---- */

/* An engine that does not tell what runs in it has for itself what is left of the time for that. */
static uint64_t
grace_of(const struct shim *s, uint64_t now)
{
    bool blind = s->state.phase == RUN_DRAINING && !s->vigil.has_load;
    uint64_t most = s->model->drain_timeout_us, drained = now - s->leave_at;
    if (s->why.id != ERR_NONE)
        return GRACE_BROKEN_US;
    return GRACE_US + (blind && most > drained ? most - drained : 0);
}

static void
stop_engine(struct shim *s)
{
    s->grace_us = grace_of(s, shim_now(s));
    s->leave_at = shim_now(s);
    watch_stop(s);
    room_stop(s);
    loop_timer_stop(&s->poll);
    shim_phase(s, RUN_STOPPING, "stopping%s%s", s->why.id == ERR_NONE ? "" : ": ",
               s->why.id == ERR_NONE ? "" : s->why.what);
    if (s->runs)
        (void)!proc_signal(&s->engine, SIGTERM);
    loop_timer_start(s->loop, &s->tick, 0, QUICK_US);
}

static void
begin_leaving(struct shim *s)
{
    if (!s->leaving)
        notify_state(&s->notify, "STOPPING=1");
    s->leaving = true;
}

/* What has once answered can start: to call it hopeless would leave it stopped for good. */
static void
take_reason(struct shim *s, const struct err *why)
{
    s->why = *why;
    if (!s->why.fix[0] && s->session)
        err_fix(&s->why, "see its log: citadel logs %s", s->model->name);
    if (s->healthy_since && err_exit(why) != EXIT_CODE_FAILED)
        s->why.id = ERR_ENGINE_CRASHED;
}

void
leave(struct shim *s, const struct err *why)
{
    if (s->state.phase >= RUN_STOPPING)
        return;
    if (why && s->why.id == ERR_NONE)
        take_reason(s, why);
    begin_leaving(s);
    sleep_stop(s);
    stop_engine(s);
}

void
leave_now(struct shim *s)
{
    struct err err;
    leave(s, NULL);
    if (s->gone_at == 0) {
        kill_all(s, shim_now(s));
        return;
    }
    (void)err_set(&err, ERR_GPU_NOT_FREE, "it was not waited for its memory: %s", s->state.status);
    err_fix(&err, "see who has it: nvidia-smi");
    end_short(s, &err);
}

void
leave_drained(struct shim *s)
{
    bool serves = s->state.phase == RUN_READY || s->state.phase == RUN_DEGRADED;
    if (s->leaving)
        return;
    s->asked = true;
    if (!serves || !s->runs || s->model->drain_timeout_us == 0) {
        leave(s, NULL);
        return;
    }
    begin_leaving(s);
    s->leave_at = shim_now(s);
    shim_phase(s, RUN_DRAINING, "finishing what runs");
    vigil_forget_load(&s->vigil); /* what was known before is old */
    shim_beat(s, SHIM_DRAIN_BEAT_US);
    if (s->vigil.measures)
        watch_ask_metrics(s);
    else
        leave(s, NULL);
}

static void
draining_tick(struct shim *s, uint64_t now)
{
    quantity_text text;
    uint64_t most = s->model->drain_timeout_us;
    double requests = s->state.running + s->state.waiting;
    if (s->vigil.has_load)
        shim_status(s, "finishing %.0f request%s", requests, requests == 1 ? "" : "s");
    if (vigil_is_idle(&s->vigil) || s->vigil.untold) {
        leave(s, NULL);
    } else if (now - s->leave_at >= most) {
        if (s->vigil.has_load)
            log_warning("%s: %.0f requests are cut off after drain_timeout, %s", s->model->name,
                        requests, quantity_print_us(most, text));
        else
            log_warning(
                "%s: whatever still runs is cut off after drain_timeout, %s: it does not tell",
                s->model->name, quantity_print_us(most, text));
        leave(s, NULL);
    }
}

void
leave_tick(struct shim *s, uint64_t now)
{
    if (s->state.phase == RUN_DRAINING)
        draining_tick(s, now);
    else if (s->state.phase == RUN_STOPPING)
        stopping_tick(s, now);
}

/* ---- an end that nobody asked for ---- */

/* An exit code of sysexits.h, where it can be meant: of a command that a person wrote. */
static enum err_id
id_of_end(const struct shim *s, const struct proc_end *end)
{
    bool means_it = s->kind->dialect == ENGINE_SAYS_NOTHING && !end->killed;
    if (means_it && end->status == EXIT_CODE_USAGE)
        return ERR_ENGINE_CONFIG;
    return means_it && end->status == EXIT_CODE_TRY_LATER ? ERR_ENGINE_NOT_NOW : ERR_ENGINE_CRASHED;
}

/* What a start whose words nobody knows has failed of. */
static bool
has_lost_port(const struct shim *s, const struct proc_end *end)
{
    bool failed = !end->killed && end->status && !s->healthy_since;
    return s->kind->dialect == ENGINE_SAYS_NOTHING && failed &&
           listener_find(s->session, s->model->port) == LISTENER_OTHER;
}

/* The log may have said why. */
static void
explain_end(struct shim *s, const struct proc_end *end, struct err *ret_why)
{
    char how[64];
    if (start_has_verdict(s) && s->progress.sure == ENGINE_SURE_IT_FAILED) {
        (void)err_set(ret_why, s->progress.why.id, "%s (%s)", s->progress.why.what,
                      proc_end_print(end, how));
        err_fix(ret_why, "%s", s->progress.why.fix);
    } else if (start_has_verdict(s)) {
        *ret_why = s->progress.why;
    } else if (has_lost_port(s, end)) {
        start_tell_port(s, ret_why);
    } else {
        (void)err_set(ret_why, id_of_end(s, end),
                      "the engine ended unasked (%s); its last line: %s", proc_end_print(end, how),
                      s->last_line[0] ? s->last_line : "none");
    }
}

void
leave_engine_ended(struct shim *s, const struct proc_end *end)
{
    struct err why;
    s->state.pid = 0;
    if (s->state.phase == RUN_STOPPING) {
        stopping_tick(s, shim_now(s));
        return;
    }
    explain_end(s, end, &why);
    leave(s, &why);
}
