/* The ends: somebody tells the server to stop, or the engine behind it dies. And what strikes, since
 * most of that is an end. */

#include "base/text.h"
#include "sim/call.h"
#include "sim/say.h"
#include "sim/sim.h"
#include "sim/since.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

static const int signals[] = {SIGTERM, SIGINT};

void
life_end(struct sim *sim, int exit_code)
{
    if (sim->state == SIM_ENDED)
        return;
    sim->state = SIM_ENDED;
    sim->exit_code = exit_code;
    loop_stop(sim->loop);
}

/* ---- told to stop ---- */

static void
on_end(struct loop_timer *timer)
{
    struct sim *sim = container_of(timer, struct sim, end);
    if (sim->state == SIM_STOPPING)
        http_server_stop(sim->server);
    life_end(sim, 0);
}

/* Older releases wait for what runs; newer ones as long as they were told to, which is not at all
 * unless somebody says so. */
static void
drain(struct sim *sim)
{
    double wait_s = sim->settings.shutdown_timeout_s;
    say(SAY_API, SAY_PLAIN, "-", "INFO:     Shutting down");
    http_server_drain(sim->server);
    if (sim->settings.release < SINCE_DRAIN)
        return;
    sim->end.expired = on_end;
    loop_timer_start(sim->loop, &sim->end, (uint64_t)(wait_s * 1e6), 0);
}

static void
on_signal(struct loop_signal *watch, int signo unused_arg)
{
    struct sim *sim = container_of(watch, struct sim_signal, watch)->sim;
    faults_enter(&sim->faults, sim->loop, PHASE_DRAINING);
    if (faults_hold(&sim->faults, FAULT_IGNORE_SIGTERM) || sim->state == SIM_ENDED)
        return;
    if (sim->state == SIM_READY) {
        sim->state = SIM_STOPPING;
        drain(sim);
    } else {
        life_end(sim, 0);
    }
}

static void
on_drained(void *arg)
{
    struct sim *sim = arg;
    say(SAY_API, SAY_PLAIN, "-", "INFO:     Application shutdown complete.");
    life_end(sim, 0);
}

/* ---- the engine dies ---- */

void
life_engine_died(struct sim *sim, const char *why)
{
    static const char place[] = "async_llm.py:480";
    if (sim->state != SIM_READY)
        return;
    sim->state = SIM_DEAD;
    say(SAY_API, SAY_ERROR, place, "AsyncLLM output_handler failed.");
    say(SAY_API, SAY_ERROR, place, "Traceback (most recent call last):");
    say(SAY_API, SAY_ERROR, place,
        "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack "
        "trace (above) for the root cause.");
    say(SAY_API, SAY_ERROR, place, "%s", why);
    batch_clear(&sim->batch, FINISH_ERROR);
    sim->end.expired = on_end;
    if (!sim->settings.keep_alive_on_death)
        loop_timer_start(sim->loop, &sim->end, sim->settings.watchdog_us, 0);
}

static void
on_died(struct cores *cores, int rank)
{
    struct sim *sim = container_of(cores, struct sim, cores);
    if (rank >= 0) {
        say(SAY_CORE, SAY_ERROR, "multiproc_executor.py:154",
            "Worker proc VllmWorker-%d died unexpectedly, shutting down executor.", rank);
        cores_tell_one(cores, -1, ORDER_KILL);
    }
    if (rank < 0 && sim->state == SIM_READY)
        say(SAY_API, SAY_ERROR, "core_client.py:606",
            "Engine core proc EngineCore_DP0 died unexpectedly, shutting down client.");
    if (sim->state == SIM_LOADING)
        boot_core_died(sim);
    else
        life_engine_died(sim, "the engine's core has ended");
}

static void
on_told(struct cores *cores)
{
    struct sim *sim = container_of(cores, struct sim, cores);
    if (sim->state == SIM_LOADING)
        boot_told(sim);
    else
        rest_told(sim);
}

/* ---- what strikes ---- */

static void
tell_all(struct sim *sim, enum order order)
{
    for (int rank = sim->ranks > 1 ? -1 : 0; rank < (int)sim->ranks; rank++)
        cores_tell_one(&sim->cores, rank, order);
}

/* Not with a report of a sanitizer, nor a core file: it is meant. */
static void
die_of(int signo)
{
    say_flush();
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    (void)sigaction(signo, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    (void)raise(signo);
}

static void
strike_engine(struct sim *sim)
{
    life_engine_died(sim, "RuntimeError: CUDA error: unspecified launch failure");
}

static void
strike_wedged(struct sim *sim)
{
    strike_engine(sim);
    loop_timer_stop(&sim->end);
}

static void
strike_core(struct sim *sim)
{
    cores_tell_one(&sim->cores, sim->ranks > 1 ? -1 : 0, ORDER_CRASH);
}

static void
strike_worker(struct sim *sim)
{
    cores_tell_one(&sim->cores, 0, ORDER_KILL);
}

static void
strike_server(struct sim *sim unused_arg)
{
    die_of(SIGSEGV);
}

static void
strike_kill(struct sim *sim unused_arg)
{
    die_of(SIGKILL);
}

static void
strike_orphans(struct sim *sim)
{
    tell_all(sim, ORDER_STAY);
    die_of(SIGKILL);
}

static void
hold_workers(struct sim *sim)
{
    tell_all(sim, ORDER_STAY);
}

static void
hold_memory(struct sim *sim)
{
    tell_all(sim, ORDER_KEEP);
}

static void
hold_signals(struct sim *sim)
{
    tell_all(sim, ORDER_NO_TERM);
}

static void
hold_steps(struct sim *sim)
{
    batch_hold(&sim->batch);
}

static void
on_strike(struct faults *faults, enum fault fault)
{
    static void (*const strikes[FAULT_COUNT])(struct sim * sim) = {
        [FAULT_EXIT_0] = strike_engine,
        [FAULT_WEDGED] = strike_wedged,
        [FAULT_CRASH] = strike_core,
        [FAULT_WORKER_CRASH] = strike_worker,
        [FAULT_SERVER_CRASH] = strike_server,
        [FAULT_SERVER_KILL] = strike_kill,
        [FAULT_ORPHANS] = strike_orphans,
        [FAULT_STAY] = hold_workers,
        [FAULT_KEEP_MEMORY] = hold_memory,
        [FAULT_IGNORE_SIGTERM] = hold_signals,
        [FAULT_HANG] = hold_steps,
    };
    if (strikes[fault]) /* who is concerned by the others asks for them */
        strikes[fault](container_of(faults, struct sim, faults));
}

void
life_mend(struct sim *sim)
{
    bool hung = faults_hold(&sim->faults, FAULT_HANG);
    faults_clear(&sim->faults);
    if (hung)
        batch_release(&sim->batch);
}

/* ---- figures in the log ---- */

static void
on_stats(struct loop_timer *timer)
{
    struct sim *sim = container_of(timer, struct sim, stats);
    const struct meter *m = sim->metrics.meters;
    double prompt = m[METRIC_PROMPT_TOKENS].value, made = m[METRIC_GENERATION_TOKENS].value;
    double queries = m[METRIC_PREFIX_QUERIES].value, hits = m[METRIC_PREFIX_HITS].value;
    double every_s = sim->settings.stats_interval_s;
    bool quiet = prompt == sim->told_prompt && made == sim->told_made &&
                 sim->batch.running.count + sim->batch.waiting.count == 0;
    if (!quiet || !sim->told_quiet)
        say(SAY_API, SAY_INFO, "loggers.py:127",
            "Engine 000: Avg prompt throughput: %.1f tokens/s, Avg generation throughput: %.1f "
            "tokens/s, Running: %llu reqs, Waiting: %llu reqs, GPU KV cache usage: %.1f%%, Prefix "
            "cache hit rate: %.1f%%",
            (prompt - sim->told_prompt) / every_s, (made - sim->told_made) / every_s,
            (unsigned long long)sim->batch.running.count,
            (unsigned long long)sim->batch.waiting.count, 100 * batch_usage(&sim->batch),
            queries > 0 ? 100 * hits / queries : 0);
    sim->told_quiet = quiet;
    sim->told_prompt = prompt;
    sim->told_made = made;
}

/* ---- from the beginning to the end ---- */

void
life_ready(struct sim *sim)
{
    uint64_t every_us = (uint64_t)(sim->settings.stats_interval_s * 1e6);
    sim->state = SIM_READY;
    sim->told_quiet = true;
    sim->stats.expired = on_stats;
    if (!sim->settings.no_log_stats && every_us > 0)
        loop_timer_start(sim->loop, &sim->stats, every_us, every_us);
    faults_enter(&sim->faults, sim->loop, PHASE_READY);
}

const struct http_service life_service = {
    .request = call_take, .explain = call_explain, .drained = on_drained};

int
life_begin(struct sim *sim, struct err *reterr)
{
    int r = 0;
    sim->faults.strike = on_strike;
    sim->cores.told = on_told;
    sim->cores.died = on_died;
    for (size_t i = 0; i < ARRAY_SIZE(signals) && r == 0; i++) {
        sim->signals[i] = (struct sim_signal){{.received = on_signal}, sim};
        r = loop_signal_start(sim->loop, &sim->signals[i].watch, signals[i]);
    }
    return r < 0 ? err_set_errno(reterr, -r, "cannot watch for signals") : 0;
}

void
life_finish(struct sim *sim)
{
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        loop_signal_stop(&sim->signals[i].watch);
    loop_timer_stop(&sim->stats);
    loop_timer_stop(&sim->end);
    loop_defer_cancel(sim->loop, &sim->strike);
    loop_timer_stop(&sim->rest.timer);
}
