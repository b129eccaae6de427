#include "service/direct_int.h"

#include "base/mem.h"
#include "base/quantity.h"
#include "sys/clock.h"
#include "sys/files.h"
#include "sys/kin.h"
#include "sys/log.h"
#include "sys/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLEAR_US (20 * 1000ULL)      /* between two looks at what a service has left */
#define NOT_NOW_US (30 * 1000000ULL) /* doubled up to the next line */
#define NOT_NOW_MAX_US (300 * 1000000ULL)
#define START_MARGIN_US \
    (120 * 1000000ULL) /* beyond what a service asks for: its own limit is sharper */
#define READ_BYTES (16 * KIB)
#define READS_MAX 16

static void start(struct unit *u);
static void consider_all(struct direct *d);

/* ---- what is told ---- */

static void
changed(struct unit *u)
{
    if (u->direct->config.changed)
        u->direct->config.changed(u->direct->config.arg, &u->status);
}

static void set_reason(struct unit *u, const char *fmt, ...) printf_like(2, 3);

static void
set_reason(struct unit *u, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    text_make_safe(u->status.reason, sizeof(u->status.reason),
                   vsnprintf(u->status.reason, sizeof(u->status.reason), fmt, args));
    va_end(args);
}

static void
enter(struct unit *u, enum service_state state)
{
    u->status.state = state;
    u->status.since_us = clock_wall_us();
    u->status.next_us = 0;
    if (state == SERVICE_STARTING || state == SERVICE_STOPPED)
        u->status.status[0] = '\0';
    if (state == SERVICE_READY || state == SERVICE_STOPPED)
        u->status.reason[0] = '\0';
    loop_timer_stop(&u->timer);
    loop_timer_stop(&u->watchdog);
    changed(u);
}

/* ---- what it says ---- */

static void
watch_over(struct unit *u, uint64_t us)
{
    loop_timer_start(u->direct->loop, &u->watchdog, us, 0);
}

static void
on_watchdog(struct loop_timer *timer)
{
    struct unit *u = container_of(timer, struct unit, watchdog);
    quantity_text text;
    if (u->status.state == SERVICE_READY)
        set_reason(u, "it gave no sign of life for %s",
                   quantity_print_us(u->service->watchdog_us, text));
    else
        set_reason(u, "it did not become ready in the time that it asked for");
    if (u->runs)
        (void)!proc_signal(&u->proc, SIGKILL);
}

static void
became_ready(struct unit *u)
{
    if (u->status.state != SERVICE_STARTING)
        return;
    u->ready_at = loop_now_us(u->direct->loop);
    u->not_now = 0;
    enter(u, SERVICE_READY);
    if (u->service->watchdog_us)
        watch_over(u, u->service->watchdog_us);
    consider_all(u->direct);
}

static void
take_message(struct unit *u, const struct notify_message *m)
{
    if (m->has_status && strcmp(m->status, u->status.status) != 0) {
        (void)snprintf(u->status.status, sizeof(u->status.status), "%s", m->status);
        changed(u);
    }
    if (m->extend_us && u->status.state == SERVICE_STARTING)
        watch_over(u, m->extend_us + START_MARGIN_US);
    if (m->ready)
        became_ready(u);
    if (m->watchdog && u->status.state == SERVICE_READY && u->service->watchdog_us)
        watch_over(u, u->service->watchdog_us);
}

static void
on_notify(struct loop_fd *watch, unsigned events unused_arg)
{
    struct unit *u = container_of(watch, struct unit, notify);
    struct notify_message message;
    pid_t pid;
    for (int i = 0; i < READS_MAX && notify_receive(u->notify_fd, &message, &pid) == 0; i++)
        if (u->runs && pid == u->proc.pid) /* nobody else speaks for it */
            take_message(u, &message);
}

static void
on_output(struct loop_fd *watch, unsigned events unused_arg)
{
    struct unit *u = container_of(watch, struct unit, output);
    _cleanup_buf_ struct buf written = BUF_INIT(4 * MIB);
    char piece[READ_BYTES];
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t n = read(u->output_fd, piece, sizeof(piece));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0) {
            loop_fd_stop(watch);
            cleanup_close(&u->output_fd);
            break;
        }
        log_file_add(&u->log, piece, (size_t)n, u->followers ? &written : NULL);
    }
    if (written.len)
        direct_control_feed(u, &written);
}

/* ---- how it ends ---- */

static void
retry_at(struct unit *u, enum service_state state, uint64_t after_us)
{
    enter(u, state);
    u->status.next_us = u->status.since_us + after_us;
    loop_timer_start(u->direct->loop, &u->timer, after_us, 0);
}

static void
failed(struct unit *u)
{
    const struct service_budget *budget = &u->service->budget;
    quantity_text text;
    if (u->ready_at && loop_now_us(u->direct->loop) - u->ready_at >= budget->forgive_us)
        u->status.failures = 0;
    u->status.failures++;
    uint64_t delay = service_budget_delay(budget, u->status.failures);
    log_warning("%s failed (%u of %u): %s", u->service->name, u->status.failures, budget->burst,
                u->status.reason);
    if (delay == UINT64_MAX) {
        enter(u, SERVICE_FAILED);
        return;
    }
    log_info("%s: started again in %s", u->service->name, quantity_print_us(delay, text));
    retry_at(u, SERVICE_BACKING_OFF, delay);
}

static void
not_now(struct unit *u)
{
    uint64_t delay = NOT_NOW_US << MIN(u->not_now, 4u);
    u->not_now++;
    retry_at(u, SERVICE_NOT_NOW, MIN(delay, NOT_NOW_MAX_US));
}

/* What the service said last, when it ended with a reason; else how it ended. */
static void
explain(struct unit *u, const struct proc_end *end)
{
    char how[64];
    const char *said = u->status.status;
    if (u->status.reason[0])
        return; /* we ended it, and know why */
    if (!end->killed && end->status != 0 && strncmp(said, "ended: ", 7) == 0)
        set_reason(u, "%s", said + 7);
    else
        set_reason(u, "%s%s%s", proc_end_print(end, how), said[0] ? "; it was: " : "", said);
}

static void
settle(struct unit *u)
{
    int status = u->status.last_exit;
    u->clearing = false;
    u->status.pid = 0;
    if (!u->wanted || u->again) {
        bool again = u->again;
        u->again = false;
        enter(u, SERVICE_STOPPED);
        if (again) {
            u->wanted = true;
            start(u);
        }
    } else if (status == EXIT_CODE_USAGE) {
        enter(u, SERVICE_FAILED);
    } else if (status == EXIT_CODE_TRY_LATER) {
        not_now(u);
    } else {
        failed(u);
    }
    consider_all(u->direct);
}

/* Until nothing is left of it; only then it counts as ended. */
static void
clear(struct unit *u)
{
    struct direct *d = u->direct;
    size_t count = direct_known(d);
    kin_reap(d->known, count);
    if (contain_kill(&d->contain, u->service->name, &u->proc, d->known, count) == 0)
        settle(u);
    else
        loop_timer_start(d->loop, &u->timer, CLEAR_US, 0);
}

static void
on_ended(struct proc_watch *watch, const struct proc_end *end)
{
    struct unit *u = container_of(watch, struct unit, watch);
    on_notify(&u->notify, LOOP_READ); /* its last words */
    u->runs = false;
    u->clearing = true;
    u->status.last_exit = end->killed ? 128 + end->status : end->status;
    proc_close(&u->proc);
    loop_timer_stop(&u->watchdog);
    explain(u, end);
    clear(u);
}

/* ---- starting ---- */

static int
open_pipes(struct unit *u, int *ret_end, struct err *reterr)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set_errno(reterr, errno, "a pipe for the log of %s", u->service->name);
    loop_fd_stop(&u->output); /* of an earlier one, whose last process may linger */
    cleanup_close(&u->output_fd);
    u->output_fd = ends[0];
    *ret_end = ends[1];
    int r = loop_fd_start(u->direct->loop, &u->output, u->output_fd, LOOP_READ);
    return r < 0 ? err_set_errno(reterr, -r, "the log of %s", u->service->name) : 0;
}

/* We hear its standard error as the journal does: the priority in front of a line, and no time. */
static int
start_in_journal(struct unit *u, const struct proc_wish *given, struct err *reterr)
{
    char stream[64];
    struct stat st;
    struct proc_wish wish = *given;
    if (fstat(u->output_fd, &st) < 0)
        return err_set_errno(reterr, errno, "the log of %s", u->service->name);
    (void)snprintf(stream, sizeof(stream), "JOURNAL_STREAM=%llu:%llu",
                   (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
    u->environ[0] = stream;
    wish.environ = u->environ;
    int r = proc_start(&wish, &u->proc, reterr);
    u->environ[0] = "JOURNAL_STREAM=";
    return r;
}

static int
start_process(struct unit *u, struct err *reterr)
{
    struct direct *d = u->direct;
    _cleanup_close_ int group = -1, end = -1;
    int r = open_pipes(u, &end, reterr);
    if (r < 0)
        return r;
    struct proc_wish wish = {.argv = u->service->argv,
                             .fds = {-1, end, end},
                             .new_session = true,
                             .death_signal = SIGTERM};
    r = contain_prepare(&d->contain, u->service->name, &wish, &group, reterr);
    if (r == 0)
        r = start_in_journal(u, &wish, reterr);
    if (r < 0)
        return r;
    u->runs = true;
    u->status.pid = (unsigned)u->proc.pid;
    r = proc_watch_start(d->loop, &u->watch, &u->proc);
    return r < 0 ? err_set_errno(reterr, -r, "watching %s", u->service->name) : 0;
}

static void
start(struct unit *u)
{
    struct err err;
    if (u->status.last_exit >= 0)
        u->status.restarts++;
    u->ready_at = 0;
    enter(u, SERVICE_STARTING);
    if (start_process(u, &err) < 0) {
        set_reason(u, "%s", err.what);
        u->status.last_exit = EXIT_CODE_FAILED;
        failed(u);
        return;
    }
    watch_over(u, u->service->budget.start_us + START_MARGIN_US);
    changed(u);
}

static bool
is_dormant(const struct unit *u)
{
    return !u->runs && !u->clearing;
}

static bool
may_start(const struct unit *u)
{
    for (size_t i = 0; i < u->service->after_count; i++) {
        const struct unit *before =
            direct_find(u->direct, u->service->after[i], strlen(u->service->after[i]));
        if (before && before->status.state != SERVICE_READY)
            return false;
    }
    return true;
}

/* Who comes after this one is stopped before it. */
static bool
may_stop(const struct unit *u)
{
    struct direct *d = u->direct;
    for (size_t i = 0; i < d->config.count; i++)
        for (size_t n = 0; n < d->units[i].service->after_count; n++)
            if (text_eq(d->units[i].service->after[n], u->service->name) &&
                !is_dormant(&d->units[i]) && !d->units[i].wanted)
                return false;
    return true;
}

/* ---- stopping ---- */

static void
stop(struct unit *u)
{
    enter(u, SERVICE_STOPPING);
    (void)!proc_signal(&u->proc, SIGTERM);
    loop_timer_start(u->direct->loop, &u->timer, u->service->stop_us, 0);
}

static void
on_timer(struct loop_timer *timer)
{
    struct unit *u = container_of(timer, struct unit, timer);
    if (u->clearing) {
        clear(u);
    } else if (u->status.state == SERVICE_STOPPING) {
        log_warning("%s has not ended in time: it is killed", u->service->name);
        (void)!proc_signal(&u->proc, SIGKILL);
    } else if (u->wanted && is_dormant(u)) {
        start(u);
    }
}

/* ---- what is wanted ---- */

static void
on_all_ended(struct loop_defer *defer)
{
    struct direct *d = container_of(defer, struct direct, ended);
    if (d->config.ended)
        d->config.ended(d->config.arg);
}

static void
consider(struct unit *u)
{
    enum service_state state = u->status.state;
    if (u->wanted && is_dormant(u) && (state == SERVICE_STOPPED || state == SERVICE_WAITING)) {
        if (may_start(u))
            start(u);
        else if (state != SERVICE_WAITING)
            enter(u, SERVICE_WAITING);
    } else if (!u->wanted && u->runs && state != SERVICE_STOPPING && may_stop(u)) {
        stop(u);
    } else if (!u->wanted && is_dormant(u) && state != SERVICE_STOPPED && state != SERVICE_FAILED) {
        enter(u, SERVICE_STOPPED);
    }
}

static void
consider_all(struct direct *d)
{
    bool idle = true;
    for (size_t i = 0; i < d->config.count; i++)
        consider(&d->units[i]);
    for (size_t i = 0; i < d->config.count; i++)
        idle &= is_dormant(&d->units[i]);
    if (d->ending && idle)
        loop_defer(d->loop, &d->ended);
}

/* A person asks: what was before is forgotten. */
void
unit_want(struct unit *u, bool wanted)
{
    u->again = false;
    u->wanted = wanted && !u->direct->ending;
    if (u->wanted && is_dormant(u)) {
        u->status.failures = u->not_now = 0;
        u->status.state = SERVICE_STOPPED;
        loop_timer_stop(&u->timer);
    } else if (u->wanted && u->status.state == SERVICE_STOPPING) {
        u->again = true;
    } else if (!wanted && u->status.state == SERVICE_FAILED) {
        enter(u, SERVICE_STOPPED);
    }
    consider_all(u->direct);
}

void
unit_restart(struct unit *u)
{
    if (is_dormant(u)) {
        unit_want(u, true);
        return;
    }
    u->wanted = u->again = !u->direct->ending;
    u->status.failures = 0;
    if (u->runs && u->status.state != SERVICE_STOPPING)
        stop(u);
}

void
direct_start_all(struct direct *d)
{
    for (size_t i = 0; i < d->config.count; i++)
        d->units[i].wanted = true;
    consider_all(d);
}

void
direct_stop_all(struct direct *d)
{
    d->ending = true;
    for (size_t i = 0; i < d->config.count; i++)
        d->units[i].wanted = d->units[i].again = false;
    consider_all(d);
}

void
direct_kill_all(struct direct *d)
{
    for (size_t i = 0; i < d->config.count; i++)
        if (d->units[i].runs)
            (void)!proc_signal(&d->units[i].proc, SIGKILL);
    direct_stop_all(d);
}

/* ---- asked by others ---- */

size_t
direct_known(struct direct *d)
{
    size_t count = 0;
    for (size_t i = 0; i < d->config.count; i++)
        if (d->units[i].runs)
            d->known[count++] = d->units[i].proc.pid;
    return count;
}

struct unit *
direct_find(struct direct *d, const char *name, size_t len)
{
    for (size_t i = 0; i < d->config.count; i++)
        if (strlen(d->units[i].service->name) == len &&
            memcmp(d->units[i].service->name, name, len) == 0)
            return &d->units[i];
    return NULL;
}

enum contain_kind
direct_containment(const struct direct *d)
{
    return d->contain.kind;
}

size_t
direct_count(const struct direct *d)
{
    return d->config.count;
}

const struct service_status *
direct_status(const struct direct *d, size_t i)
{
    return &d->units[i].status;
}

/* ---- a life ---- */

static void
on_child(struct loop_signal *watch, int signo unused_arg)
{
    struct direct *d = container_of(watch, struct direct, child);
    kin_reap(d->known, direct_known(d));
}

/* One supervisor a run directory: the lock's file has its number, for who comes second. */
static int
take_lock(struct direct *d, struct err *reterr)
{
    _cleanup_free_ char *path = mem_printf("%s/up.lock", d->config.run_dir);
    char text[32] = "";
    d->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (d->lock < 0)
        return err_set_errno(reterr, errno, "cannot open '%s'", path);
    if (flock(d->lock, LOCK_EX | LOCK_NB) < 0) {
        ssize_t n = pread(d->lock, text, sizeof(text) - 1, 0);
        text[MAX(n, 0)] = '\0';
        int r = err_set(reterr, ERR_SERVICE_TWICE, "citadel up runs here already, as process %s",
                        text[0] ? text : "unknown");
        err_fix(reterr, "see `citadel status`; or end it first");
        return r;
    }
    int len = snprintf(text, sizeof(text), "%d", (int)getpid());
    if (ftruncate(d->lock, 0) < 0 || pwrite(d->lock, text, (size_t)len, 0) < 0)
        return err_set_errno(reterr, errno, "cannot write '%s'", path);
    return 0;
}

/* Ours, but for what says who hears us; with what says who hears the service. */
static void
make_environ(struct unit *u)
{
    size_t count = 0;
    while (environ[count])
        count++;
    u->environ = mem_alloc((count + 3) * sizeof(*u->environ));
    size_t n = 1; /* the first is JOURNAL_STREAM */
    u->environ[0] = "JOURNAL_STREAM=";
    for (size_t i = 0; i < count; i++)
        if (!text_starts(environ[i], "NOTIFY_SOCKET=") && !text_starts(environ[i], "WATCHDOG_") &&
            !text_starts(environ[i], "JOURNAL_STREAM="))
            u->environ[n++] = environ[i];
    u->environ[n++] = mem_printf("NOTIFY_SOCKET=%s", u->notify_path);
    u->environ[n] = NULL;
}

static void
free_environ(struct unit *u)
{
    size_t n = 0;
    while (u->environ && u->environ[n])
        n++;
    if (n)
        free((char *)(uintptr_t)u->environ[n - 1]);
    free(u->environ);
}

static int
open_unit(struct direct *d, struct unit *u, const struct service *service, struct err *reterr)
{
    *u = (struct unit){.direct = d,
                       .service = service,
                       .proc = {.fd = -1},
                       .notify_fd = -1,
                       .output_fd = -1,
                       .watch = {.ended = on_ended},
                       .notify = {.ready = on_notify},
                       .output = {.ready = on_output},
                       .timer = {.expired = on_timer},
                       .watchdog = {.expired = on_watchdog},
                       .status = {.last_exit = -1, .since_us = clock_wall_us()}};
    (void)snprintf(u->status.name, sizeof(u->status.name), "%s", service->name);
    (void)snprintf(u->status.kind, sizeof(u->status.kind), "%s", service->kind);
    (void)snprintf(u->status.address, sizeof(u->status.address), "%s",
                   service->address ? service->address : "");
    u->notify_path = mem_printf("%s/notify/%s", d->config.run_dir, service->name);
    make_environ(u);
    int r = log_file_open(&u->log, service->log_path, reterr);
    u->has_log = r == 0;
    if (r == 0) {
        u->notify_fd = notify_listen(u->notify_path, reterr);
        r = MIN(u->notify_fd, 0);
    }
    if (r < 0)
        return r;
    r = loop_fd_start(d->loop, &u->notify, u->notify_fd, LOOP_READ);
    return r < 0 ? err_set_errno(reterr, -r, "%s", u->notify_path) : 0;
}

static void
close_unit(struct unit *u)
{
    loop_fd_stop(&u->notify);
    loop_fd_stop(&u->output);
    loop_timer_stop(&u->timer);
    loop_timer_stop(&u->watchdog);
    proc_watch_stop(&u->watch);
    proc_close(&u->proc);
    cleanup_close(&u->notify_fd);
    cleanup_close(&u->output_fd);
    if (u->has_log)
        log_file_close(&u->log);
    if (u->notify_path)
        (void)unlink(u->notify_path);
    free(u->notify_path);
    free_environ(u);
}

static int
open_direct(struct direct *d, struct err *reterr)
{
    _cleanup_free_ char *notify_dir = mem_printf("%s/notify", d->config.run_dir);
    int r = file_make_dirs(notify_dir, 0755, reterr);
    if (r == 0)
        r = take_lock(d, reterr);
    if (r == 0)
        r = contain_open(&d->contain, d->config.contain, reterr);
    d->child.received = on_child;
    if (r == 0)
        r = loop_signal_start(d->loop, &d->child, SIGCHLD);
    for (size_t i = 0; r == 0 && i < d->config.count; i++)
        r = open_unit(d, &d->units[i], &d->config.services[i], reterr);
    return r == 0 ? direct_control_open(d, reterr) : r;
}

int
direct_new(struct loop *loop, const struct direct_config *config, struct direct **ret_direct,
           struct err *reterr)
{
    struct direct *d = mem_new(struct direct);
    *d = (struct direct){.loop = loop, .config = *config, .lock = -1, .ended.run = on_all_ended};
    d->units = mem_alloc(MAX(config->count, 1u) * sizeof(*d->units));
    d->known = mem_alloc(MAX(config->count, 1u) * sizeof(*d->known));
    int r = open_direct(d, reterr);
    if (r < 0) {
        direct_free(d);
        return r;
    }
    *ret_direct = d;
    return 0;
}

void
direct_free(struct direct *d)
{
    direct_control_close(d);
    loop_defer_cancel(d->loop, &d->ended);
    loop_signal_stop(&d->child);
    for (size_t i = 0; i < d->config.count; i++)
        if (d->units[i].direct)
            close_unit(&d->units[i]);
    contain_close(&d->contain);
    cleanup_close(&d->lock);
    free(d->units);
    free(d->known);
    free(d);
}
