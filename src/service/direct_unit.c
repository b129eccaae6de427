/* The life of one service under the supervisor: it is started, says how it is, is restarted when it
 * fails, and has ended when nothing is left of it. */

#include "service/direct_int.h"

#include "base/mem.h"
#include "base/quantity.h"
#include "run/run.h"
#include "secrets/use.h"
#include "sys/clock.h"
#include "sys/files.h"
#include "sys/kin.h"
#include "sys/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLEAR_US (20 * 1000ULL)        /* between two looks at what a service has left */
#define CLEAR_SLOW_US (1000 * 1000ULL) /* once it has taken CLEAR_LONG_US */
#define CLEAR_LONG_US (5 * 1000000ULL)
#define GIVE_UP_US (10 * 1000000ULL) /* of what was killed */
/* A pass reads at most 64 KiB of a log. As lines of one byte, with their times, they are 1.7 MiB. */
#define READ_BYTES (16 * KIB)
#define READS_MAX 4
#define WRITTEN_MAX (2 * MIB)
#define LAST_READS_MAX 1024 /* of one that has ended: what was in the pipe, and no more comes */
#define MESSAGES_MAX 16
#define LAST_MESSAGES_MAX 1024

/* ---- what is told ---- */

static void
changed(struct unit *u)
{
    direct_watch_changed(u->direct);
    if (u->direct->config.changed)
        u->direct->config.changed(u->direct->config.arg, &u->status);
}

static void set_text(char *text, size_t room, const char *fmt, ...) printf_like(3, 4);

static void
set_text(char *text, size_t room, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    text_make_safe(text, room, vsnprintf(text, room, fmt, args));
    va_end(args);
}

#define set_reason(u, ...) set_text((u)->status.reason, sizeof((u)->status.reason), __VA_ARGS__)
#define set_status(u, ...) set_text((u)->status.status, sizeof((u)->status.status), __VA_ARGS__)

/* after_us: until it is tried again; 0: it is not, by itself. */
static void
enter(struct unit *u, enum service_state state, uint64_t after_us)
{
    u->status.state = state;
    u->status.since_us = clock_wall_us();
    u->status.next_us = after_us ? u->status.since_us + after_us : 0;
    if (state == SERVICE_STARTING || state == SERVICE_STOPPED)
        u->status.status[0] = '\0';
    if (state == SERVICE_READY || state == SERVICE_STOPPED)
        u->status.reason[0] = '\0';
    loop_timer_stop(&u->timer);
    loop_timer_stop(&u->watchdog);
    if (after_us)
        loop_timer_start(u->direct->loop, &u->timer, after_us, 0);
    changed(u);
}

void
unit_enter(struct unit *u, enum service_state state)
{
    enter(u, state, 0);
}

/* That it is lost, or is no more, is a change; how much, no news. */
static void
look_at_log(struct unit *u)
{
    struct service_status *s = &u->status;
    int before = s->log_errno;
    s->log_lost_lines = u->log.lost_lines;
    s->log_lost_bytes = u->log.lost_bytes;
    s->log_errno = u->log.loss.error;
    if (s->log_errno != before)
        changed(u);
}

/* ---- what it says ---- */

static void
watch_over(struct unit *u, uint64_t us)
{
    loop_timer_start(u->direct->loop, &u->watchdog, us, 0);
}

/* Whoever asks for more time gets it; nobody is given less than was promised. */
static void
extend(struct unit *u, uint64_t us)
{
    uint64_t now = loop_now_us(u->direct->loop);
    u->deadline_at = MAX(u->deadline_at, now + MIN(us, UINT64_MAX / 2));
    watch_over(u, u->deadline_at - now);
}

static void
become_ready(struct unit *u)
{
    u->ready_at = loop_now_us(u->direct->loop);
    u->not_now = 0;
    unit_enter(u, SERVICE_READY);
    if (u->service->watchdog_us)
        watch_over(u, u->service->watchdog_us);
    direct_consider(u->direct);
}

static void
take_message(struct unit *u, const struct notify_message *m)
{
    if (m->has_status && strcmp(m->status, u->status.status) != 0) {
        set_status(u, "%s", m->status);
        changed(u);
    }
    if (m->extend_us && u->status.state == SERVICE_STARTING)
        extend(u, m->extend_us);
    if (m->watchdog && u->status.state == SERVICE_READY && u->service->watchdog_us)
        watch_over(u, u->service->watchdog_us);
    if (m->ready && u->status.state == SERVICE_STARTING && u->killed_at == 0)
        become_ready(u);
}

static void
read_messages(struct unit *u, int most)
{
    struct notify_message message;
    pid_t pid;
    for (int r = 0; most > 0 && r != -EAGAIN; most--) {
        r = notify_receive(u->notify_fd, &message, &pid);
        /* Nobody else speaks for it; and when it has ended, u->proc is empty. */
        if (r == 0 && u->runs && pid == (pid_t)u->status.pid)
            take_message(u, &message);
    }
}

static void
on_notify(struct loop_fd *watch, unsigned events unused_arg)
{
    read_messages(container_of(watch, struct unit, notify), MESSAGES_MAX);
}

static void
on_watchdog(struct loop_timer *timer)
{
    struct unit *u = container_of(timer, struct unit, watchdog);
    quantity_text text;
    /* If we were stopped ourselves, what it said meanwhile is still to be heard. */
    read_messages(u, LAST_MESSAGES_MAX);
    if (loop_timer_is_set(&u->watchdog))
        return;
    if (u->status.state == SERVICE_READY)
        set_reason(u, "it gave no sign of life for %s",
                   quantity_print_us(u->service->watchdog_us, text));
    else
        set_reason(u, "it did not become ready in the time that it asked for");
    u->explained = true;
    unit_kill(u);
}

/* False: nothing more is there now. */
static bool
read_output(struct unit *u, struct buf *written)
{
    char piece[READ_BYTES];
    ssize_t n = read(u->output_fd, piece, sizeof(piece));
    if (n > 0) {
        log_file_add(&u->log, piece, (size_t)n, u->followers ? written : NULL);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        loop_fd_stop(&u->output);
        cleanup_close(&u->output_fd);
    }
    return n > 0;
}

static void
read_log(struct unit *u, int most, bool ended)
{
    _cleanup_buf_ struct buf written = BUF_INIT(WRITTEN_MAX);
    while (u->output_fd >= 0 && most-- > 0 && read_output(u, &written)) {
        if (written.len < WRITTEN_MAX / 2)
            continue;
        direct_control_feed(u, &written);
        buf_clear(&written);
    }
    if (ended)
        log_file_end(&u->log, u->followers ? &written : NULL);
    if (written.len)
        direct_control_feed(u, &written);
    look_at_log(u);
}

static void
on_output(struct loop_fd *watch, unsigned events unused_arg)
{
    read_log(container_of(watch, struct unit, output), READS_MAX, false);
}

/* ---- what follows its end ---- */

static void
fail(struct unit *u)
{
    const struct budget *budget = &u->service->budget;
    uint64_t now = loop_now_us(u->direct->loop);
    u->status.failures = budget_count(budget, u->status.failures, u->ready_at, now);
    uint64_t delay = budget_delay(budget, u->status.failures);
    if (delay == UINT64_MAX)
        unit_enter(u, SERVICE_FAILED);
    else
        enter(u, SERVICE_BACKING_OFF, delay);
}

static void
try_later(struct unit *u)
{
    enter(u, SERVICE_NOT_NOW, service_not_now_delay(u->not_now++));
}

static void
start_again(struct unit *u)
{
    const struct unit *blocker = direct_blocker(u);
    u->status.restarts++;
    if (blocker)
        unit_wait(u, blocker);
    else
        unit_start(u);
}

/* What one gives back may be what another lacks. */
static void
wake_who_lacks_something(struct unit *gone)
{
    struct direct *d = gone->direct;
    for (size_t i = 0; i < d->units.count; i++)
        if (d->units.items[i]->status.state == SERVICE_NOT_NOW && d->units.items[i]->wanted)
            start_again(d->units.items[i]);
}

/* Without its service nobody needs it. What of it cannot be removed goes with the next start. */
static void
take_secrets_back(struct unit *u)
{
    if (u->credentials)
        (void)!file_remove_tree(u->credentials, NULL);
}

static void
settle(struct unit *u)
{
    int code = u->status.last_exit;
    u->clearing = false;
    take_secrets_back(u);
    u->status.pid = 0;
    if (u->again || !u->wanted) {
        u->wanted = u->again;
        u->again = false;
        unit_enter(u, SERVICE_STOPPED);
    } else if (code == EXIT_CODE_USAGE) {
        unit_enter(u, SERVICE_FAILED);
    } else if (code == EXIT_CODE_TRY_LATER) {
        try_later(u);
    } else {
        fail(u);
    }
    if (u->status.state == SERVICE_STOPPED || u->status.state == SERVICE_FAILED)
        wake_who_lacks_something(u);
    direct_consider(u->direct);
}

static uint64_t
give_up_us(const struct unit *u)
{
    return u->direct->config.give_up_us ? u->direct->config.give_up_us : GIVE_UP_US;
}

/* Processes that were killed and do not go hang in the kernel, or have become another user's: that may
 * be for ever. Whether they are in the way of the next start is for that to find out. */
static void
give_up(struct unit *u, size_t left)
{
    struct direct *d = u->direct;
    size_t count = direct_known(d);
    contain_give_up(&d->contain, u->service->name, d->known, count);
    read_log(u, LAST_READS_MAX, true);
    settle(u);
    set_reason(u, "%zu of its processes cannot be killed, and were left", left);
    changed(u);
}

static void
look_again(struct unit *u, size_t left)
{
    struct direct *d = u->direct;
    uint64_t since = loop_now_us(d->loop) - u->cleared_since;
    bool is_long = since >= CLEAR_LONG_US;
    if (since >= give_up_us(u)) {
        give_up(u, left);
        return;
    }
    if (u->status.state != SERVICE_STOPPING)
        unit_enter(u, SERVICE_STOPPING);
    set_status(u, "%zu of its processes have been killed%s", left,
               is_long ? ", and do not end" : "");
    loop_timer_start(d->loop, &u->timer, is_long ? CLEAR_SLOW_US : CLEAR_US, 0);
    changed(u);
}

static void
clear(struct unit *u)
{
    struct direct *d = u->direct;
    size_t count = direct_known(d);
    kin_reap(d->known, count);
    size_t left = contain_kill(&d->contain, u->service->name, d->known, count);
    if (left) {
        look_again(u, left);
    } else {
        read_log(u, LAST_READS_MAX, true);
        settle(u);
    }
}

/* What the service said last, when it ended with a reason; else how it ended. */
static void
explain(struct unit *u, const struct proc_end *end)
{
    static const char ended[] = "ended: ";
    char how[64];
    const char *said = u->status.status;
    if (u->explained)
        return;
    if (!end->killed && end->status != 0 && text_starts(said, ended))
        set_reason(u, "%s", said + strlen(ended));
    else
        set_reason(u, "%s%s%s", proc_end_print(end, how), said[0] ? "; it was: " : "", said);
}

static void
begin_clearing(struct unit *u)
{
    u->runs = false;
    u->clearing = true;
    u->cleared_since = loop_now_us(u->direct->loop);
    proc_close(&u->proc);
    loop_timer_stop(&u->watchdog);
    clear(u);
}

static void
on_ended(struct proc_watch *watch, const struct proc_end *end)
{
    struct unit *u = container_of(watch, struct unit, watch);
    read_messages(u, LAST_MESSAGES_MAX); /* its last words */
    u->status.last_exit = end->killed ? 128 + end->status : end->status;
    explain(u, end);
    begin_clearing(u);
}

/* Its first process was killed and does not end: it is now one of those that it has left. */
static void
leave_first(struct unit *u)
{
    proc_watch_stop(&u->watch);
    u->status.last_exit = EXIT_CODE_FAILED;
    if (!u->explained)
        set_reason(u, "it was killed, and did not end");
    begin_clearing(u);
}

/* ---- starting ---- */

/* Whether a variable of ours is not for the service: it says who hears us, or is a secret. */
static bool
is_withheld(const struct unit *u, const char *variable)
{
    static const char *const own[] = {"NOTIFY_SOCKET",
                                      "WATCHDOG_PID",
                                      "WATCHDOG_USEC",
                                      "JOURNAL_STREAM",
                                      RUN_MARK,
                                      "CREDENTIALS_DIRECTORY",
                                      NULL};
    const char *const *const lists[] = {own, u->direct->config.withheld};
    size_t len = strcspn(variable, "=");
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        for (const char *const *name = lists[i]; name && *name; name++)
            if (strlen(*name) == len && strncmp(*name, variable, len) == 0)
                return true;
    return false;
}

static void
forget_environ(struct unit *u)
{
    for (size_t i = 0; i < ARRAY_SIZE(u->made); i++) {
        free(u->made[i]);
        u->made[i] = NULL;
    }
    free(u->environ);
    u->environ = NULL;
}

/* Ours, with what says who hears the service, whose it is, and where its secrets are. */
static void
make_environ(struct unit *u)
{
    size_t count = 0, n = 1;
    forget_environ(u);
    while (environ[count])
        count++;
    u->environ = mem_alloc((count + 2 + ARRAY_SIZE(u->made)) * sizeof(*u->environ));
    u->made[0] = contain_mark(&u->direct->contain, u->service->name);
    u->made[1] = mem_printf("NOTIFY_SOCKET=%s", u->notify_path);
    if (u->service->watchdog_us)
        u->made[2] = mem_printf("WATCHDOG_USEC=%llu", (unsigned long long)u->service->watchdog_us);
    if (u->credentials)
        u->made[3] = mem_printf("CREDENTIALS_DIRECTORY=%s", u->credentials);
    for (size_t i = 0; i < ARRAY_SIZE(u->made); i++)
        if (u->made[i])
            u->environ[n++] = u->made[i];
    for (size_t i = 0; i < count; i++)
        if (!is_withheld(u, environ[i]))
            u->environ[n++] = environ[i];
}

static int
open_pipe(struct unit *u, int *ret_end, struct err *reterr)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set_errno(reterr, errno, "a pipe for the log of %s", u->service->name);
    loop_fd_stop(&u->output);
    cleanup_close(&u->output_fd);
    u->output_fd = ends[0];
    *ret_end = ends[1];
    int r = loop_fd_start(u->direct->loop, &u->output, u->output_fd, LOOP_READ);
    return r < 0 ? err_set_errno(reterr, -r, "the log of %s", u->service->name) : 0;
}

/* Again, if others have removed it since the last start. */
static int
open_notify(struct unit *u, struct err *reterr)
{
    _cleanup_free_ char *dir = mem_printf("%s/notify", u->direct->config.run_dir);
    if (u->notify_fd >= 0 && direct_is_there(u->notify_path, &u->notify_file))
        return 0;
    loop_fd_stop(&u->notify);
    cleanup_close(&u->notify_fd);
    int r = file_make_dirs(dir, 0700, reterr);
    if (r < 0)
        return r;
    u->notify_fd = notify_listen(u->notify_path, reterr);
    if (u->notify_fd < 0)
        return u->notify_fd;
    (void)!lstat(u->notify_path, &u->notify_file);
    r = loop_fd_start(u->direct->loop, &u->notify, u->notify_fd, LOOP_READ);
    return r < 0 ? err_set_errno(reterr, -r, "%s", u->notify_path) : 0;
}

/* We hear its standard error as the journal does: the priority in front of a line, and no time. */
static int
start_in_journal(struct unit *u, struct proc_wish *wish, struct err *reterr)
{
    char stream[64];
    struct stat st;
    if (fstat(u->output_fd, &st) < 0)
        return err_set_errno(reterr, errno, "the log of %s", u->service->name);
    (void)snprintf(stream, sizeof(stream), "JOURNAL_STREAM=%llu:%llu",
                   (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
    u->environ[0] = stream;
    wish->environ = u->environ;
    int r = proc_start(wish, &u->proc, reterr);
    u->environ[0] = NULL;
    return r;
}

static int
start_process(struct unit *u, struct err *reterr)
{
    struct direct *d = u->direct;
    _cleanup_close_ int group = -1, end = -1;
    int r = open_notify(u, reterr);
    if (r == 0)
        r = open_pipe(u, &end, reterr);
    if (r < 0)
        return r;
    make_environ(u);
    if (u->credentials)
        r = secrets_hand(u->credentials, u->service->secrets, u->service->secret_count, reterr);
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
    r = proc_watch_start(d->loop, &u->watch, &u->proc);
    if (r < 0) {
        struct proc_end ended;
        (void)!proc_signal(&u->proc, SIGKILL);
        (void)!proc_wait(&u->proc, &ended);
        return err_set_errno(reterr, -r, "watching %s", u->service->name);
    }
    u->runs = true;
    u->killed_at = 0;
    u->status.pid = (unsigned)u->proc.pid;
    return 0;
}

/* What is told of it, as it starts. */
static void
take_texts(struct unit *u)
{
    const struct service *s = u->service;
    set_text(u->status.kind, sizeof(u->status.kind), "%s", s->kind);
    set_text(u->status.address, sizeof(u->status.address), "%s", s->address ? s->address : "");
    set_text(u->status.at_start, sizeof(u->status.at_start), "%s", s->at_start ? s->at_start : "");
    set_text(u->status.engine, sizeof(u->status.engine), "%s", s->engine ? s->engine : "");
    free(u->credentials);
    u->credentials = s->secret_count
                         ? mem_printf("%s/credentials/%s", u->direct->config.run_dir, s->name)
                         : NULL;
}

void
unit_start(struct unit *u)
{
    struct err err;
    take_texts(u);
    u->ready_at = u->deadline_at = 0;
    u->explained = false;
    if (u->status.state == SERVICE_WAITING)
        u->status.reason[0] = '\0';
    if (start_process(u, &err) < 0) {
        set_reason(u, "%s", err.what);
        u->status.last_exit = EXIT_CODE_FAILED;
        fail(u);
        direct_consider(u->direct);
        return;
    }
    unit_enter(u, SERVICE_STARTING);
    extend(u, u->service->budget.start_us);
}

void
unit_wait(struct unit *u, const struct unit *blocker)
{
    char before[sizeof(u->status.reason)];
    memcpy(before, u->status.reason, sizeof(before));
    set_reason(u, "waits for %s, which is %s", blocker->service->name,
               service_state_word(blocker->status.state));
    if (u->status.state != SERVICE_WAITING)
        unit_enter(u, SERVICE_WAITING);
    else if (strcmp(before, u->status.reason) != 0)
        changed(u);
}

/* ---- stopping ---- */

bool
unit_is_dormant(const struct unit *u)
{
    return !u->runs && !u->clearing;
}

void
unit_stop(struct unit *u)
{
    unit_enter(u, SERVICE_STOPPING);
    (void)!proc_signal(&u->proc, SIGTERM); /* -ESRCH: its end is about to be told */
    loop_timer_start(u->direct->loop, &u->timer, u->killed_at ? give_up_us(u) : u->service->stop_us,
                     0);
}

void
unit_kill(struct unit *u)
{
    if (!u->runs)
        return;
    (void)!proc_signal(&u->proc, SIGKILL);
    if (u->killed_at == 0) {
        u->killed_at = loop_now_us(u->direct->loop);
        loop_timer_start(u->direct->loop, &u->timer, give_up_us(u), 0);
    }
}

static void
on_timer(struct loop_timer *timer)
{
    struct unit *u = container_of(timer, struct unit, timer);
    quantity_text text;
    if (u->clearing) {
        clear(u);
    } else if (u->runs && u->killed_at) {
        leave_first(u);
    } else if (u->runs) {
        set_status(u, "it has not ended in %s: it is killed",
                   quantity_print_us(u->service->stop_us, text));
        changed(u);
        unit_kill(u);
    } else if (u->wanted) {
        start_again(u);
    }
}

/* ---- what a person wants ---- */

void
unit_want(struct unit *u, bool wanted)
{
    u->wanted = wanted;
    u->again = wanted && (u->clearing || u->status.state == SERVICE_STOPPING);
    if (wanted)
        u->status.failures = u->not_now = 0;
    /* One that waits to be tried again, or was given up, is now as one that never ran. */
    if (unit_is_dormant(u) && u->status.state != SERVICE_STOPPED)
        unit_enter(u, SERVICE_STOPPED);
    direct_consider(u->direct);
}

void
unit_restart(struct unit *u)
{
    if (unit_is_dormant(u)) {
        unit_want(u, true);
        return;
    }
    u->wanted = u->again = true;
    u->status.failures = u->not_now = 0;
    if (u->runs && u->status.state != SERVICE_STOPPING)
        unit_stop(u);
}

void
unit_retry(struct unit *u)
{
    bool waits = u->status.state == SERVICE_NOT_NOW || u->status.state == SERVICE_BACKING_OFF;
    if (waits && u->wanted && unit_is_dormant(u))
        start_again(u);
}

/* ---- in and out ---- */

void
unit_define(struct unit *u, const struct service *service)
{
    u->service = service;
    u->log.path = service->log_path;
    set_text(u->status.log_path, sizeof(u->status.log_path), "%s", service->log_path);
    set_text(u->status.live, sizeof(u->status.live), "%s", service->live ? service->live : "");
    if (unit_is_dormant(u))
        take_texts(u);
}

int
unit_new(struct direct *d, const struct service *service, struct unit **ret_unit,
         struct err *reterr)
{
    struct unit *u = mem_new(struct unit);
    *u = (struct unit){.direct = d,
                       .proc = {.fd = -1},
                       .notify_fd = -1,
                       .output_fd = -1,
                       .log = {.fd = -1},
                       .watch = {.ended = on_ended},
                       .notify = {.ready = on_notify},
                       .output = {.ready = on_output},
                       .timer = {.expired = on_timer},
                       .watchdog = {.expired = on_watchdog},
                       .status = {.last_exit = -1, .since_us = clock_wall_us()}};
    set_text(u->status.name, sizeof(u->status.name), "%s", service->name);
    u->notify_path = mem_printf("%s/notify/%s", d->config.run_dir, service->name);
    unit_define(u, service);
    int r = log_file_open(&u->log, service->log_path, reterr);
    if (r == 0)
        r = open_notify(u, reterr);
    if (r == 0)
        *ret_unit = u;
    else
        unit_free(u);
    return r;
}

void
unit_free(struct unit *u)
{
    loop_fd_stop(&u->notify);
    loop_fd_stop(&u->output);
    loop_timer_stop(&u->timer);
    loop_timer_stop(&u->watchdog);
    proc_watch_stop(&u->watch);
    proc_close(&u->proc);
    if (u->notify_fd >= 0 && direct_is_there(u->notify_path, &u->notify_file))
        (void)unlink(u->notify_path);
    cleanup_close(&u->notify_fd);
    cleanup_close(&u->output_fd);
    log_file_close(&u->log);
    take_secrets_back(u);
    forget_environ(u);
    free(u->notify_path);
    free(u->credentials);
    free(u);
}
