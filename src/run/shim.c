#include "run/run.h"

#include "run/shim_int.h"

#include "base/quantity.h"
#include "plan/need.h"
#include "run/marker.h"
#include "run/wish.h"
#include "storage/layout.h"
#include "sys/clock.h"
#include "sys/files.h"
#include "sys/kin.h"
#include "sys/log.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define ARENA_MAX (1 * MIB)
#define EXTEND_US UINT64_C(60000000)
#define EXTEND_EVERY_US UINT64_C(15000000) /* three may be lost */

/* Two signs of life may be lost. They come no more often than a loaded machine can keep. */
#define SIGN_MAX_US UINT64_C(2000000)
#define WATCHDOG_MIN_US UINT64_C(300000)

/* The tick asks every two seconds: after a longer silence it was us who stood still, stopped or
 * starved, and nobody is blamed for that time. */
#define ABSENT_US UINT64_C(5000000)

uint64_t
shim_now(struct shim *s)
{
    uint64_t now = loop_now_us(s->loop);
    if (s->seen_at && now - s->seen_at >= ABSENT_US)
        s->absent_us += now - s->seen_at;
    s->seen_at = now;
    return now - s->absent_us;
}

/* ---- what is told ---- */

static void set_status(struct shim *s, const char *fmt, va_list args) printf_like(2, 0);

static void
set_status(struct shim *s, const char *fmt, va_list args)
{
    char text[sizeof(s->state.status)];
    text_make_safe(text, sizeof(text), vsnprintf(text, sizeof(text), fmt, args));
    if (text_eq(text, s->state.status))
        return;
    memcpy(s->state.status, text, sizeof(text));
    notify_status(&s->notify, text);
}

void
shim_status(struct shim *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    set_status(s, fmt, args);
    va_end(args);
}

void
shim_phase(struct shim *s, enum run_phase phase, const char *fmt, ...)
{
    va_list args;
    if (s->state.phase != phase || s->state.since_us == 0)
        s->state.since_us = clock_wall_us();
    s->state.phase = phase;
    if (phase != RUN_DEGRADED)
        s->state.why = s->why;
    va_start(args, fmt);
    set_status(s, fmt, args);
    va_end(args);
    log_info("%s: %s", s->model->name, s->state.status);
}

void
shim_trouble(struct shim *s, const struct err *why)
{
    if (why && s->state.phase == RUN_READY) {
        shim_phase(s, RUN_DEGRADED, "degraded: %s", why->what);
        s->state.why = *why;
    } else if (why && s->state.phase == RUN_DEGRADED) {
        shim_status(s, "degraded: %s", why->what);
        s->state.why = *why;
    } else if (!why && s->state.phase == RUN_DEGRADED) {
        shim_phase(s, RUN_READY, "ready: recovered");
    }
}

/* ---- the tick ---- */

/* systemd's own limits are moved on for as long as ours are kept, and until it has heard that a start
 * is over. */
static void
extend(struct shim *s, uint64_t now)
{
    bool limited = s->state.phase <= RUN_STARTING || s->state.phase == RUN_STOPPING ||
                   s->state.phase == RUN_DRAINING || s->notify.state;
    if (!limited || (s->extended_at && now - s->extended_at < EXTEND_EVERY_US))
        return;
    s->extended_at = now;
    (void)notify_send(&s->notify, "EXTEND_TIMEOUT_USEC=%llu", (unsigned long long)EXTEND_US);
}

static void
on_tick(struct loop_timer *timer)
{
    struct shim *s = container_of(timer, struct shim, tick);
    uint64_t now = shim_now(s);
    notify_again(&s->notify); /* before what may be lost takes the room */
    extend(s, now);
    start_tick(s, now);
    watch_tick(s, now);
    sleep_tick(s, now);
    leave_tick(s, now);
}

/* That this loop runs is the sign of life: of the engine's, it tells by what it does. */
static void
on_sign(struct loop_timer *timer)
{
    struct shim *s = container_of(timer, struct shim, sign);
    notify_again(&s->notify);
    if (s->state.phase < RUN_ENDED)
        (void)notify_send(&s->notify, "WATCHDOG=1");
}

void
shim_beat(struct shim *s, uint64_t every_us)
{
    loop_timer_start(s->loop, &s->tick, every_us, every_us);
}

static void
stop_as_asked(struct shim *s)
{
    if (s->leaving)
        leave_now(s);
    else
        leave_drained(s);
}

static void
on_terminate(struct loop_signal *watch, int signo unused_arg)
{
    stop_as_asked(container_of(watch, struct shim, terminate));
}

static void
on_interrupt(struct loop_signal *watch, int signo unused_arg)
{
    stop_as_asked(container_of(watch, struct shim, interrupt));
}

static void
on_hangup(struct loop_signal *watch, int signo unused_arg)
{
    stop_as_asked(container_of(watch, struct shim, hangup));
}

static void
on_child(struct loop_signal *watch, int signo unused_arg)
{
    struct shim *s = container_of(watch, struct shim, child);
    kin_reap(&s->engine.pid, s->runs ? 1 : 0);
}

/* ---- a life ---- */

static int
refuse_held(const struct run_record *record, const char *name, struct err *reterr)
{
    int r = err_set(reterr, ERR_RUN_HELD, "%s is held by %s: %s", name, record->hold.by,
                    record->hold.why);
    err_fix(reterr, "citadel start %s", name);
    return r;
}

/* What a shim that was killed may have left: its engine first, since it may have our GPUs. Some of its
 * processes may have left its session; some may have changed their environment. */
static int
end_leftovers(struct shim *s, struct err *reterr)
{
    int noted = kin_end_noted(s->note, reterr);
    int marked = noted < 0 ? noted : kin_end_marked(s->marks[0], reterr);
    int supervised = marked < 0 ? marked : kin_end_marked(s->marks[1], reterr);
    if (supervised < 0)
        return supervised;
    if (noted + marked + supervised > 0)
        log_warning("%s: %d processes of an engine that had lost its shim were ended",
                    s->model->name, noted + marked + supervised);
    return 0;
}

/* One shim a model, for as long as it lives: what becomes of the socket's name is up to others. */
static int
take_lock(struct shim *s, struct err *reterr)
{
    const char *path = arena_printf(&s->arena, "%s/lock", s->dir);
    if (!path)
        return err_set(reterr, ERR_TOO_LARGE, "the path %s is too long", s->dir);
    s->lock = file_open(path, O_RDWR | O_CREAT, 0600);
    if (s->lock < 0)
        return root_err(reterr, s->lock, "cannot open '%s'", path);
    if (flock(s->lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return err_set_errno(reterr, errno, "cannot lock '%s'", path);
    int r = err_set(reterr, ERR_RUN_TWICE, "%s is run by another process already", s->model->name);
    err_fix(reterr, "citadel status %s", s->model->name);
    return r;
}

static int
load_record(struct shim *s, struct err *reterr)
{
    struct err damaged = {0};
    int r = run_record_load(s->config->paths.state, s->model->name, &s->record, &damaged);
    if (r < 0 && reterr)
        *reterr = damaged;
    if (r == 0 && damaged.id != ERR_NONE)
        log_err(&damaged);
    if (r == 0 && s->record.hold.set)
        r = refuse_held(&s->record, s->model->name, reterr);
    s->state.failures = s->record.failures;
    return r;
}

static int
open_places(struct shim *s, struct err *reterr)
{
    s->dir = run_dir(&s->arena, s->config, s->model->name);
    s->note = s->dir ? arena_printf(&s->arena, "%s/engine.pid", s->dir) : NULL;
    for (int supervised = 0; supervised < 2; supervised++)
        s->marks[supervised] = run_mark(&s->arena, s->config, s->model->name, supervised);
    if (!s->note || !s->marks[0] || !s->marks[1])
        return err_set(reterr, ERR_TOO_LARGE, "the paths below %s are too long",
                       s->config->paths.run);
    int r = file_make_dirs(s->dir, 0755, reterr);
    if (r == 0)
        r = take_lock(s, reterr);
    if (r == 0)
        r = load_record(s, reterr);
    s->alone = r == 0;
    /* Its files and its cache are on a disk of their own. */
    if (r == 0 && plan_reads_files(s->model))
        r = storage_check_mount(s->config, STORAGE_models, reterr);
    return r;
}

static int
open_signals(struct shim *s, struct err *reterr)
{
    s->terminate.received = on_terminate;
    s->interrupt.received = on_interrupt;
    s->hangup.received = on_hangup;
    s->child.received = on_child;
    int r = loop_signal_start(s->loop, &s->terminate, SIGTERM);
    if (r == 0)
        r = loop_signal_start(s->loop, &s->interrupt, SIGINT);
    if (r == 0)
        r = loop_signal_start(s->loop, &s->hangup, SIGHUP);
    if (r == 0)
        r = loop_signal_start(s->loop, &s->child, SIGCHLD);
    return r < 0 ? err_set_errno(reterr, -r, "signals") : 0;
}

/* A sign of life is wanted by whoever set a watchdog for this very process. *ret_us: how often it gets
 * one; 0: nobody wants any. */
static int
read_watchdog(uint64_t *ret_us, struct err *reterr)
{
    const char *pid = getenv("WATCHDOG_PID"), *given = getenv("WATCHDOG_USEC");
    uint64_t n, us;
    bool for_us = !pid || (quantity_parse_u64(pid, &n, NULL) == 0 && n == (uint64_t)getpid());
    *ret_us = 0;
    if (!given || !for_us)
        return 0;
    if (quantity_parse_u64(given, &us, NULL) < 0 || us < WATCHDOG_MIN_US) {
        int r = err_set(reterr, ERR_VALUE,
                        "WATCHDOG_USEC=%s is no watchdog that can be kept: %llu are the fewest",
                        given, (unsigned long long)WATCHDOG_MIN_US);
        err_fix(reterr, "WatchdogSec=60");
        return r;
    }
    *ret_us = MIN(us / 3, SIGN_MAX_US);
    return 0;
}

static int
open_all(struct shim *s, struct err *reterr)
{
    int r = notify_open(&s->notify, reterr);
    if (r == 0)
        r = read_watchdog(&s->sign_us, reterr);
    if (r == 0)
        r = run_marker_check(s->config->paths.run, reterr);
    if (r == 0)
        r = open_places(s, reterr);
    if (r == 0)
        r = loop_new(&s->loop, reterr);
    if (r == 0)
        r = open_signals(s, reterr);
    if (r == 0)
        r = control_open(s, reterr);
    if (r == 0)
        r = end_leftovers(s, reterr);
    if (r == 0)
        r = watch_open(s, reterr);
    return r;
}

static void
close_all(struct shim *s)
{
    room_give_lease(s);
    if (s->loop) {
        room_stop(s);
        room_unlock(s);
        loop_fd_stop(&s->log);
        proc_watch_stop(&s->ended);
        proc_close(&s->engine);
        loop_timer_stop(&s->tick);
        loop_timer_stop(&s->sign);
        loop_timer_stop(&s->poll);
        loop_signal_stop(&s->terminate);
        loop_signal_stop(&s->interrupt);
        loop_signal_stop(&s->hangup);
        loop_signal_stop(&s->child);
        watch_close(s);
        control_close(s);
        relay_finish(&s->relay);
        loop_free(s->loop);
    }
    cleanup_close(&s->log_fd);
    cleanup_close(&s->lock);
    notify_close(&s->notify);
    config_free(s->latest);
    arena_finish(&s->arena);
}

/* A crash while it was being stopped is told, but is no reason to try less often. */
static void
remember(struct shim *s, enum exit_code code)
{
    const struct run_record_end end = {
        .at_us = clock_wall_us(), .exit = code, .asked = s->asked, .why = &s->why};
    struct err err;
    if (run_record_change(s->config->paths.state, s->model->name, run_record_ended, &end,
                          &s->record, &err) < 0)
        log_err(&err);
}

enum exit_code
run_exit(const struct err *why)
{
    static const enum err_id later[] = {ERR_GPU_NO_DRIVER, ERR_GPU_SICK, ERR_GPU_CALL};
    for (size_t i = 0; i < ARRAY_SIZE(later); i++)
        if (why->id == later[i]) /* what ails a driver may pass */
            return EXIT_CODE_TRY_LATER;
    enum exit_code code = why->id == ERR_NONE ? EXIT_CODE_OK : err_exit(why);
    if (code == EXIT_CODE_NOT_FOUND || code == EXIT_CODE_NOT_PERMITTED)
        return EXIT_CODE_USAGE;
    if (code != EXIT_CODE_OK && code != EXIT_CODE_USAGE && code != EXIT_CODE_TRY_LATER)
        return EXIT_CODE_FAILED;
    return code;
}

static void
live(struct shim *s)
{
    s->tick.expired = on_tick;
    s->sign.expired = on_sign;
    relay_init(&s->relay, s->loop, STDERR_FILENO);
    shim_beat(s, VIGIL_BEAT_US);
    if (s->sign_us)
        loop_timer_start(s->loop, &s->sign, s->sign_us, s->sign_us);
    extend(s, shim_now(s));
    start_begin(s);
    loop_run(s->loop);
    enum exit_code code = run_exit(&s->why);
    shim_phase(s, RUN_ENDED, "ended%s%s", s->why.id ? ": " : "", s->why.what);
    remember(s, code);
    if (!s->stuck)
        (void)unlink(s->note);
}

int
run_model(const struct config *config, const struct config_model *model, struct err *reterr)
{
    struct shim *s = mem_new(struct shim);
    *s = (struct shim){.config = config,
                       .model = model,
                       .kind = &engines[model->engine],
                       .room = {.start = GPU_START_INIT, .look = LOOK_INIT},
                       .engine = {.fd = -1},
                       .notify = {.fd = -1},
                       .log_fd = -1,
                       .lock = -1,
                       .proof = LOOK_INIT,
                       .canary_body = BUF_INIT(64 * KIB)};
    arena_init(&s->arena, ARENA_MAX);
    (void)run_address(model->port, s->address);
    (void)snprintf(s->state.name, sizeof(s->state.name), "%s", model->name);
    (void)snprintf(s->state.engine, sizeof(s->state.engine), "%s", s->kind->name);
    (void)snprintf(s->state.address, sizeof(s->state.address), "%s", s->address);
    (void)snprintf(s->state.model, sizeof(s->state.model), "%s", run_served_name(model));
    kin_adopt();
    int r = open_all(s, &s->why);
    if (r < 0 && s->why.id == ERR_NONE)
        (void)err_set_errno(&s->why, -r, "%s", model->name);
    if (r == 0)
        live(s);
    else
        shim_phase(s, RUN_ENDED, "ended: %s", s->why.what);
    if (r < 0 && s->alone)
        remember(s, run_exit(&s->why));
    notify_insist(&s->notify);
    if (reterr)
        *reterr = s->why;
    int code = run_exit(&s->why);
    close_all(s);
    free(s);
    return code;
}
